local play = require "spec.host.play"
local t = require "spec.helper"

-- Channels are Lua functions: these write what they get into files.
local FILES = [[notify = {
    team = function(message)
        require("rollout.fs").write("team-" .. message.text:gsub("%W", "_"), message.run.playbook)
    end,
    stakeholders = function() error "no route" end,
}]]

describe("notify", function()
    it("reaches the team unless it is told whom", function()
        local result = play.run('notify "it begins"', { more = FILES })
        assert.equal(0, result.code, result.out .. result.err)
        assert.same({ "team" }, result:last("notify.end").value.delivered)
        assert.equal("demo", t.read(result.folder .. "/team-it_begins"))
    end)
    it("that fails is recorded, and fails the run only if it is required", function()
        local result = play.run('notify { to = "stakeholders", text = "hello" } note "on"', { more = FILES })
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("no route", result:last("notify.end").value.failed[1].error.message)
        assert.equal("on", result:last("note").text)
        result = play.run('notify { to = { "team", "stakeholders" }, text = "hello", required = true }', { more = FILES })
        assert.equal(1, result.code)
        assert.matches("stakeholders was not reached: no route", play.message(result), 1, true)
    end)
    it("is sent once, also when the run is resumed", function()
        local result = play.run([[notify "once" gate("red", function() return false end)]], { more = FILES })
        assert(os.remove(result.folder .. "/team-once"))
        local again = play.again(result, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.is_false(t.exists(result.folder .. "/team-once"))
    end)
    it("that was in flight when the host died is in doubt, never sent twice", function()
        local body = 'notify "slow" note "on"'
        local more = [[notify = { team = function()
            require("rollout.http").post("http://127.0.0.1:%d/hook", { json = { text = "slow" }, timeout = "20s" })
        end }]]
        local seen = 0
        local port = t.serve(function(_, bytes)
            if bytes and bytes:find("POST", 1, true) then seen = seen + 1 end
        end)
        local run = play.start(body, { more = more:format(port) })
        t.eventually("the message", function() return seen == 1 end)
        run:kill("sigkill")
        run:wait()
        local again = play.again(run, { "resume" })
        assert.equal(7, again.code, again.out .. again.err)
        assert.equal(1, seen)
        local decided = t.host { "decide", play.id(run), "--done", "--reason", "it is in the channel", state = run.state }
        assert.equal(0, decided.code, decided.out .. decided.err)
        again = play.again(run, { "resume" })
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("on", again:last("note").text)
        assert.equal(1, seen)
    end)
    it("without channels is recorded only; to one that is not there is refused", function()
        local result = play.run 'notify "nobody listens"'
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("nobody listens", result:last("notify.begin").text)
        result = play.run('notify { to = "taem", text = "x" }', { more = FILES })
        assert.matches('no channel "taem"', play.message(result), 1, true)
    end)
end)

describe("note and attach", function()
    it("stand in the journal once", function()
        local result = play.run [[
            note "top"
            step("s", function() note "inside" end)
            gate("red", function() return false end)
        ]]
        assert.equal(2, #result:events("note"))
        local again = play.again(result, { "resume" })
        assert.equal(0, #again:events("note"), again.out)
    end)
    it("have no place in a check", function()
        local result = play.run 'gate("g", function() note "x" return true end)'
        assert.equal(1, result.code)
        assert.matches("note leaves a trace", play.message(result))
    end)
    it("keep a masked copy of a file", function()
        local folder = t.temp()
        t.write(folder .. "/migration.log", "with s3cret-of-mine in it\n")
        local result = play.run([[secret "TOKEN" attach "migration.log" attach("migration.log", "again.log")]],
            { folder = folder, env = { TOKEN = "s3cret-of-mine" } })
        assert.equal(0, result.code, result.out .. result.err)
        local kept = result:last("attach", "attach")
        assert.equal("with ‹secret TOKEN› in it\n", t.read(kept.path))
        assert.equal(#t.read(kept.path), kept.bytes)
        assert.equal("again.log", result:last("attach", "attach#2").name)
    end)
    it("that cannot be kept is a warning", function()
        local result = play.run 'attach "there-is-none.log" note "on"'
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("there%-is%-none.log", result:last("attach").missing)
    end)
end)

describe("fail", function()
    it("fails the run with its reason and line", function()
        local result = play.run 'fail "the numbers are wrong"'
        assert.equal(1, result.code)
        assert.equal("the numbers are wrong", play.message(result))
        assert.matches("demo.lua:2", result:last("run.pause").error.where)
    end)
end)
