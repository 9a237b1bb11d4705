-- A connection's watch was given back when Lua collected it, long after its socket: whatever had the socket's number by then,
-- such as the watch of the inbox, was taken out of the kernel's set, and no answer came through any more.
local t = require "spec.helper"

describe("an answer", function()
    it("is heard after connections were closed and collected", function()
        local server = t.mariadb()
        server:sql("CREATE TABLE t (id INT)", "app")
        local path, folder = t.playbook([[
            local mysql, sh = require "rollout.mysql", require "rollout.sh"
            playbook "demo" { environments = { "staging" } }
            local db = mysql.database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
            step("close some", function() for _ = 1, 4 do db:fingerprints() end end)
            step("the inbox is watched", function() sh.run "sleep 0.4" end)
            step("collect", function()
                for i = 1, 300000 do local _ = { i } end
                return db:value "SELECT 1"
            end)
            approve "go"
        ]], "demo")
        local run = t.start_host { path, "--output", "plain", state = folder .. "/state", env = { DATABASE_URL = server:url() } }
        t.eventually("it asks", function() return run.code or run.out:find " WAIT " end, 30)
        local said = t.host { "approve", t.list(folder .. "/state/runs")[1], "go", state = folder .. "/state" }
        assert.equal(0, said.code, said.out .. said.err)
        run:wait(20)
        assert.equal(0, run.code, run.out .. run.err)
    end)
end)
