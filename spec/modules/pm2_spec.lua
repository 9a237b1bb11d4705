local npm = require "spec.world.npm"
local t = require "spec.helper"

describe("pm2", function()
    local folder, pm2

    setup(function()
        pm2 = npm.package "pm2" .. "/bin/pm2"
    end)

    before_each(function()
        folder = t.temp()
        t.write(folder .. "/good.js", "setInterval(() => {}, 1000)\n")
        t.write(folder .. "/bad.js", "console.error('no database'); process.exit(1)\n")
        t.write(folder .. "/ecosystem.config.js", [[module.exports = { apps: [
            { name: "good", script: "./good.js", env: { PASSWORD: "pm2-hunter2-spec" } },
            { name: "bad", script: "./bad.js", min_uptime: 1000, max_restarts: 2, restart_delay: 50 } ] }]])
    end)

    after_each(function()
        t.run { "node", pm2, "kill", env = { PM2_HOME = folder .. "/pm2" } }
    end)

    local function play(body)
        return t.play(([[
            local pm2 = require "rollout.pm2"
            playbook "spec" { environments = { "test" } }
            local apps = pm2.with { home = %q, command = { "node", %q } }
            %s
        ]]):format(folder .. "/pm2", pm2, body), { folder = folder, state = t.temp() })
    end

    local function outcome(body)
        return t.outcome(play('step("it", { timeout = "50s" }, function() ' .. body .. " end)"))
    end

    local function gate(check)
        local run = play(('gate("it", function() return %s end)'):format(check))
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                return event.payload.verdict, event.payload.text
            end
        end
        error(run.out .. run.err)
    end

    it("starts, checks, restarts and stops", function()
        local value, problem, run = outcome [[
            local function verdict(name, options)
                local worst = "pass"
                for _, one in ipairs { table.unpack(apps:check(name, options)) } do
                    worst = one.verdict ~= "pass" and one.verdict or worst
                end
                return worst
            end
            local started = apps:start("good", { config = "ecosystem.config.js", stable = "500ms" })
            local again = apps:restart("good", { stable = "500ms" })
            local verdicts = {
                verdict("good", { instances = 1, uptime = "100ms", restarts = 1, memory = "1GiB" }),
                verdict("good", { uptime = "1h" }), verdict("good", { restarts = 0 }), apps:check("other").verdict }
            apps:stop "good"
            local stopped = apps:stop "good"
            return { started, again, verdicts, stopped, verdict "good" }]]
        assert.is_nil(problem)
        assert.equal("online", value[1][1].status)
        assert.not_equal(value[1][1].pid, value[2][1].pid)
        assert.equal(1, value[2][1].restarts)
        assert.same({ "pass", "fail", "fail", "fail" }, value[3])
        assert.equal("stopped", value[4][1].status)
        assert.equal("fail", value[5])
        assert.equal("", t.run({ "grep", "-rlF", "pm2-hunter2-spec", run.state }).out)
    end)

    it("takes what does not keep running for a failure, with its last words", function()
        local _, problem = outcome 'return apps:start("bad", { config = "ecosystem.config.js", stable = "2s", within = "20s" })'
        assert.equal("unhealthy", problem.code)
        assert.matches("no database", problem.message)
        _, problem = outcome 'apps:restart "badd"'
        assert.equal("not_found", problem.code)
        assert.matches('did you mean "bad"', problem.message)
    end)

    it("takes no PM2, or garbage, for unknown", function()
        assert.equal("unknown", (gate 'pm2.with({ command = { "no-such-pm2" } }):check "good"'))
        assert.equal("unknown", (gate 'pm2.with({ command = { "echo", "[PM2] nothing" } }):check "good"'))
    end)
end)
