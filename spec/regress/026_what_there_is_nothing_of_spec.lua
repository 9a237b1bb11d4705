-- No data is no pass, and no reason to roll back: files of a revision that were not there passed as free of what they lack, and
-- .env in one as no secret; a page instead of metrics, and coverage of nothing, were errors of the playbook, which end a soak at
-- once.
local stand_in = require "spec.world.stand_in"
local t = require "spec.helper"

local function play(text, options)
    options = options or {}
    options.state = t.temp()
    local run = t.play('playbook "spec" { environments = { "test" } }\n' .. text, options)
    local verdicts = {}
    for _, event in ipairs(run.events) do
        if event.type == "check" then
            for _, one in ipairs(event.payload.expectations or { event.payload }) do
                verdicts[#verdicts + 1] = one.verdict
            end
        end
    end
    return table.concat(verdicts, " "), run
end

it("a revision without such files is unknown to repo, and one with .env is found", function()
    local folder = t.temp()
    local function git(...)
        assert.equal(0, t.run({ cwd = folder, "git", "-c", "user.name=s", "-c", "user.email=s@s", ... }).code)
    end
    git("init", "-q")
    t.write(folder .. "/src/a.ts", "fine\n")
    git("add", "-A")
    git("commit", "-qm", "a")
    git("tag", "v1")
    local function gate(check)
        return play(('local tree = require "rollout.repo".tree "."\ngate("it", function() return %s end)'):format(check),
            { folder = folder })
    end
    assert.equal("pass", (gate 'tree:lacks("console.log", { at = "v1", files = { "src/*.ts" } })'))
    assert.equal("unknown", (gate 'tree:lacks("console.log", { at = "v1", files = { "*.py" } })'))
    assert.equal("unknown", (gate 'tree:lacks("console.log", { at = "v1", except = { "src/*" } })'))
    assert.equal("pass", (gate 'tree:no_secrets { at = "v1" }'))
    t.write(folder .. "/.env", "PORT=3000\n")
    git("add", "-A", "-f")
    git("commit", "-qm", "b")
    git("tag", "v2")
    git("rm", "-q", "--cached", ".env")
    git("commit", "-qm", "c")
    assert.equal("fail", (gate 'tree:no_secrets { at = "v2" }'))
    assert.equal("pass", (gate 'tree:no_secrets { at = "v2", except = { ".env" } }'))
end)

it("a page instead of metrics is unknown", function()
    local pages = 0
    local server = stand_in.start(function()
        pages = pages + 1
        return 200, pages == 2 and "<html>busy</html>" or { requests = 10, error_rate = 0.01, p95_ms = 100 }
    end)
    local verdicts, run = play(([[
        local source = require "rollout.metrics".source("%s", "1s")
        local before = step("before", function() return source:measure() end)
        soak("calm", { duration = "300ms", every = "100ms" }, function()
            return source:rises_at_most({ errors = "5%%", latency = "50%%" }, before)
        end)
    ]]):format(server.url))
    assert.equal(0, run.code, run.out .. run.err)
    assert.matches("^unknown pass pass", verdicts)
end)

it("coverage of nothing is unknown", function()
    local folder = t.temp()
    t.write(folder .. "/coverage/coverage-summary.json", [[{ "total": { "lines": { "total": 0, "pct": "Unknown" } } }]])
    assert.equal("unknown", (play([[
        local app = require "rollout.node".project { manager = "npm" }
        gate("it", function() return app:coverage { lines = "80%" } end)
    ]], { folder = folder })))
end)
