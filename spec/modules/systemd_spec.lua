local plays = require "spec.modules.service_play"
local t = require "spec.helper"

describe("systemd", function()
    local folder, play

    local function unit(name, command, more)
        t.write(folder .. "/" .. name .. ".service.json", ('{ "command": ["sh", "-c", "%s"] %s }'):format(command, more or ""))
    end

    local function pid(name)
        return t.read(folder .. "/" .. name .. ".service.json"):match '"pid": (%d+)'
    end

    before_each(function()
        folder = t.temp()
        play = plays(([[
            local systemd = require "rollout.systemd"
            playbook "spec" { environments = { "test" } }
            local units = systemd.with { command = { "%s/spec/world/systemctl" }, journal = { "%s/spec/world/systemctl" } }
        ]]):format(t.root, t.root), { UNITS = folder })
        unit("good", "exec sleep 300")
        unit("bad", "echo no database; exit 1", ', "again": 2')
    end)

    after_each(function()
        for _, name in ipairs { "good", "bad" } do
            local id = pid(name)
            if id then t.run { "kill", id } end
        end
    end)

    it("starts, restarts and stops, and waits until it keeps running", function()
        local value, problem = play.step [[
            local first = units:start("good", { stable = "300ms" })
            local again = units:restart("good.service", { stable = "300ms" })
            local checks = units:check("good", { restarts = 0, enabled = true })
            local reloaded = units:status "good"
            local stopped = { units:stop "good", units:stop "good" }
            return { first, again, checks[1].verdict, checks[2].verdict, checks[3].verdict, stopped[2].active,
                units:check("good")[1].verdict, reloaded.pid }]]
        assert.is_nil(problem)
        assert.equal("active", value[1].active)
        assert.not_equal(value[1].invocation, value[2].invocation)
        assert.same({ "pass", "pass", "pass", "inactive", "fail" }, { value[3], value[4], value[5], value[6], value[7] })
        assert.equal(value[2].pid, value[8])
    end)

    it("takes what does not keep running for a failure, with its last words", function()
        local _, problem = play.step 'units:start("bad", { stable = "2s", within = "10s" })'
        assert.equal("unhealthy", problem.code)
        assert.matches("result exit%-code, exit 1", problem.message)
        assert.matches("no database", problem.message)
    end)

    it("restarts once, whatever becomes of the host", function()
        assert(play.step 'return units:start("good", { stable = "100ms" })')
        local path, home = t.playbook([[
            local systemd = require "rollout.systemd"
            playbook "spec" { environments = { "test" } }
            local units = systemd.with { command = { "]] .. t.root .. [[/spec/world/systemctl" } }
            step("it", function() return units:restart("good", { stable = "3s" }).invocation end)
        ]])
        local run = t.start_host { path, "--output", "json", cwd = home, state = home .. "/state", env = { UNITS = folder } }
        local before = pid "good"
        t.eventually("the restart", function() return pid "good" ~= before end)
        run:kill "sigkill"
        run:wait()
        local result = t.host { "resume", "--output", "json", cwd = home, state = home .. "/state", env = { UNITS = folder } }
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(1, select(2, t.read(folder .. "/said"):gsub("restart good", "")))
    end)

    it("knows no such unit, and takes no systemd for unknown", function()
        local _, problem = play.step 'units:restart "backend"'
        assert.equal("not_found", problem.code)
        assert.equal("unknown", play.checked 'return units:check "backend"'.verdict)
        assert.equal("unknown", play.checked 'return systemd.with({ command = { "true" } }):check "good"'.verdict)
        assert.equal("unknown", play.checked 'return systemd.with({ command = { "false" } }):check "good"'.verdict)
    end)
end)
