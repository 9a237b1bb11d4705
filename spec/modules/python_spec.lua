local t = require "spec.helper"
local alembic = require "spec.world.alembic"
local play = require "spec.modules.migrate_play"

describe("python", function()
    local folder

    before_each(function()
        folder = t.temp()
    end)

    -- The verdict and the text of a gate.
    local function gate(check)
        local run = t.play(([[
            local python = require "rollout.python"
            playbook "spec" { environments = { "test" } }
            local app = python.project { interpreter = %q, cwd = "app", env = { PYTHONDONTWRITEBYTECODE = "1" } }
            gate("it", function() return %s end)
        ]]):format(alembic.python, check), { folder = folder })
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                return event.payload.expectations[1].verdict, event.payload.text, run
            end
        end
        error(run.out .. run.err)
    end

    it("counts what pytest found", function()
        t.write(folder .. "/app/tests/test_a.py", "def test_a(): pass\ndef test_b(): pass\n")
        local verdict, text = gate 'app:pytest("tests", "-q")'
        assert.equal("pass", verdict)
        assert.matches("2 passed, 0 failed, 0 skipped", text)
        t.write(folder .. "/app/tests/test_c.py",
            "import pytest\ndef test_c(): assert 1 == 2\n@pytest.mark.skip\ndef test_d(): pass\n")
        verdict, text = gate 'app:pytest("tests", "-q")'
        assert.equal("fail", verdict)
        assert.matches("2 passed, 1 failed, 1 skipped: tests.test_c.test_c", text)
    end)

    it("takes no test, or tests that are all skipped, for no pass", function()
        t.write(folder .. "/app/tests/nothing.py", "")
        local verdict, text = gate 'app:pytest("tests")'
        assert.equal("fail", verdict)
        assert.matches("found no test", text)
        t.write(folder .. "/app/tests/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_d(): pass\n")
        assert.equal("fail", (gate 'app:pytest("tests")'))
    end)

    it("knows a broken test file and a wrong call from a failed test", function()
        t.write(folder .. "/app/tests/test_a.py", "import nothing_of_that_name\n")
        local verdict, text = gate 'app:pytest("tests")'
        assert.not_equal("pass", verdict)
        assert.matches("interrupted", text)
        verdict = gate 'app:pytest("elsewhere")'
        assert.equal("unknown", verdict)
    end)

    it("holds coverage against a limit", function()
        t.write(folder .. "/app/shop.py", "def one():\n    return 1\n\ndef two():\n    return 2\n")
        t.write(folder .. "/app/test_shop.py", "import shop\ndef test_one(): assert shop.one() == 1\n")
        assert.equal("unknown", (gate "app:coverage '80%'"))
        assert.equal(0, t.run { alembic.python, "-m", "coverage", "run", "--include=shop.py", "-m", "pytest", "-q",
            cwd = folder .. "/app" }.code)
        local verdict, text = gate "app:coverage '80%'"
        assert.equal("fail", verdict, text)
        assert.matches("75", text)
        assert.equal("pass", (gate "app:coverage '70%'"))
    end)

    it("checks by a module", function()
        t.write(folder .. "/app/good.py", "x = 1\n")
        assert.equal("pass", (gate 'app:check("py_compile", "good.py")'))
        t.write(folder .. "/app/bad.py", "x = (\n")
        local verdict, text = gate 'app:check("py_compile", "bad.py")'
        assert.equal("fail", verdict)
        assert.matches("bad.py", text)
    end)

    it("migrates by alembic", function()
        local server = t.mariadb()
        play.fresh(server)
        alembic.project(folder)
        alembic.revision(folder, "aa01", nil, [[op.execute("ALTER TABLE clients ADD COLUMN plan TEXT")]])
        local run = play.run(server:url(), ([[
            local python = require "rollout.python"
            local app = python.project { interpreter = { %q }, env = { DATABASE_URL = cfg.DATABASE_URL } }
            return app:migrate("migrate", { db = db, backup = backup })]]):format(alembic.python), { folder = folder })
        assert.equal(0, run.code, run.said)
        assert.same({ "aa01" }, run.result.applied)
    end)
end)
