local t = require "spec.helper"

describe("repo", function()
    local folder

    local function git(...)
        local result = t.run { cwd = folder .. "/app", "git", "-c", "user.name=s", "-c", "user.email=s@s", ... }
        assert.equal(0, result.code, result.err)
    end

    local function commit(name, text)
        t.write(folder .. "/app/" .. name, text)
        git("add", "-A", "-f")
        git("commit", "-qm", name)
    end

    before_each(function()
        folder = t.temp()
        t.run { "git", "init", "-q", "-b", "main", folder .. "/app" }
        commit("src/good.ts", "logger.info('x')\nconst p = process.env.DB_PASSWORD\n")
    end)

    -- All verdicts and texts of the gate, and the run.
    local function gate(check, environment)
        local run = t.play(([[
            local repo = require "rollout.repo"
            playbook "spec" { environments = { %q } }
            local tree = repo.tree "app"
            gate("it", function() return %s end)
        ]]):format(environment or "test", check), { folder = folder, state = t.temp() })
        local verdicts, texts = {}, {}
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                for i, one in ipairs(event.payload.expectations or { event.payload }) do
                    verdicts[i], texts[i] = one.verdict, one.text
                end
                return table.concat(verdicts, " "), table.concat(texts, "\n") .. "\n" .. event.payload.text, run
            end
        end
        error(run.out .. run.err)
    end

    it("finds what must not be there, in tracked files", function()
        assert.equal("pass", (gate 'tree:lacks("console.log", { files = { "src/*.ts" } })'))
        commit("src/deep/bad.ts", "a\nconsole.log(1)\nb\n")
        commit("src/bad.test.ts", "console.log(1)\n")
        commit("docs/readme.md", "console.log\n")
        t.write(folder .. "/app/src/untracked.ts", "console.log(1)\n")
        local verdict, text = gate 'tree:lacks("console.log", { files = { "src/*.ts" }, except = { "*.test.ts" } })'
        assert.equal("fail", verdict)
        assert.matches("no console.log: 1: src/deep/bad.ts:2", text, 1, true)
    end)

    it("looks for what destroys data where that is guarded against", function()
        commit("migrations/1.sql", "CREATE TABLE a (id int);\n")
        local check = 'tree:lacks({ "DROP TABLE", "TRUNCATE", "rm -rf /" }, { files = { "migrations/*" }, ignore_case = true })'
        assert.equal("pass", (gate(check, "production")))
        commit("migrations/2.sql", "-- more\ntruncate a;\n")
        local verdict, text = gate(check, "production")
        assert.equal("fail", verdict)
        assert.matches("1: migrations/2.sql:2", text, 1, true)
    end)

    it("takes texts as they are, unless they are meant as expressions", function()
        commit("src/q.ts", "sql`x = ANY(${ids})`\n")
        assert.equal("fail", (gate 'tree:lacks { "= ANY(", "DROP TABLE" }'))
        assert.equal("pass", (gate 'tree:lacks("=.ANY")'))
        assert.equal("fail", (gate 'tree:lacks("=\\\\s*any\\\\(", { regex = true, ignore_case = true })'))
    end)

    it("looks at a revision", function()
        git("tag", "v1")
        commit("src/bad.ts", "console.log(1)\n")
        assert.equal("pass", (gate 'tree:lacks("console.log", { at = "v1" })'))
        local verdict, text = gate 'tree:lacks("console.log", { at = "main" })'
        assert.equal("fail", verdict)
        assert.matches("1: src/bad.ts:1", text, 1, true)
    end)

    it("takes nothing to look at, and no repository, for unknown", function()
        assert.equal("unknown", (gate 'tree:lacks("x", { files = { "nowhere/*" } })'))
        assert.equal("unknown", (gate 'tree:no_secrets { files = { "nowhere/*" } }'))
        t.remove(folder .. "/app/.git")
        t.run { "rm", "-rf", folder .. "/app/.git" }
        assert.not_equal("pass", (gate 'tree:lacks "x"'))
    end)

    it("finds secrets and says where, never what", function()
        assert.equal("pass", (gate "tree:no_secrets()"))
        local key = "AKIA" .. "QX7ZT3LMNO5PRS2W"
        commit("src/config.ts", "export const id = '" .. key .. "'\n")
        commit("deploy.sh", "\n\npsql postgres://app:" .. "Tr0ub4dor9@db.internal/app\n")
        commit("keys/server.pem", "-----BEGIN " .. "PRIVATE KEY-----\nMIIE\n")
        commit("settings.py", 'JWT_SECRET = "' .. "q8Zr2Lw9Xk4Vt7Nb" .. '"\nAPI_KEY = "your-api-key-here"\n')
        commit(".env.production", "PORT=3000\n")
        commit(".env.example", "PORT=3000\n")
        local verdict, text, run = gate "tree:no_secrets()"
        assert.equal("fail fail fail fail fail", verdict)
        for _, place in ipairs { "an AWS access key: 1: src/config.ts:1", "a password in a URL: 1: deploy.sh:3",
            "a private key: 1: keys/server.pem:1", "a password or key that is assigned: 1: settings.py:1",
            "files that are credentials: 1: .env.production" } do
            assert.matches(place, text, 1, true)
        end
        for _, secret in ipairs { key, "Tr0ub4dor9", "q8Zr2Lw9Xk4Vt7Nb" } do
            assert.equal("", t.run({ "grep", "-rlF", secret, run.state }).out)
            assert.is_nil((run.out .. run.err):find(secret, 1, true))
        end
        assert.equal("pass", (gate 'tree:no_secrets { except = { "src/*", "*.sh", "keys", "settings.py", ".env.production" } }'))
    end)

    it("demands that .env is ignored and not tracked", function()
        local verdict, text = gate 'tree:ignores(".env", ".env.local")'
        assert.equal("fail fail", verdict)
        assert.matches("add it to .gitignore", text, 1, true)
        commit(".gitignore", ".env*\n")
        assert.equal("pass pass", (gate 'tree:ignores(".env", ".env.local")'))
        commit(".env", "X=1\n")
        verdict, text = gate 'tree:ignores(".env")'
        assert.equal("fail", verdict)
        assert.matches("git rm --cached .env", text, 1, true)
    end)
end)
