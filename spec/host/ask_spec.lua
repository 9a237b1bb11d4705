local play = require "spec.host.play"
local t = require "spec.helper"

local RED = [[gate("red", { on_failure = "ask" }, function() return false end) note "on"]]

local function decide(run, choice, reason)
    play.drop(run, "decide", { choice = choice, reason = reason })
end

describe("on_failure = ask", function()
    it("waits for a decision, and takes it without a name where one unit waits", function()
        local run = play.start(RED)
        play.await(run, "gate.end")
        decide(run, "retry")
        t.eventually("the second failure", function() return #run:events("gate.end") == 2 end)
        decide(run, "skip", "known")
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("known", run:last("gate.end").reason)
        assert.equal(2, #run:events("check"))
    end)
    it("stops when it is told to, and asks again when the run is resumed", function()
        local run = play.start(RED)
        play.await(run, "gate.end")
        decide(run, "stop")
        run:wait()
        assert.equal(1, run.code, run.out .. run.err)
        local again = play.again(run, { "resume", started = true })
        play.await(again, "gate.end")
        decide(again, "done", "seen")
        again:wait()
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("on", again:last("note").text)
    end)
    it("does not skip what is required", function()
        local run = play.start [[step("must", { on_failure = "ask", required = true }, function() error "no" end)]]
        play.await(run, "step.end")
        decide(run, "skip", "tired")
        play.await(run, "decision")
        decide(run, "stop")
        run:wait()
        assert.equal(1, run.code, run.out .. run.err)
    end)
    it("tells people, and a resumed run does not tell them again", function()
        local files = [[notify = { team = function(message) require("rollout.fs").write("told", message.text) end },
            roles = { lead = { "dana" } }, escalation = { { "lead", after = "15m" } }]]
        local run = play.start(RED, { more = files })
        t.eventually("the call", function() return (run:last("call") or {}).done end)
        assert.matches('waits for a decision: red is false\nrollouthost decide %S+ red ', run:last("notify.begin").text)
        run:kill("sigint")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
        local again = play.again(run, { "resume", started = true })
        play.await(again, "run.resume")
        again:kill("sigint")
        again:wait()
        assert.is_nil(again:last("notify.begin"))
    end)
    it("asks about the branch that is named", function()
        local run = play.start [[
            parallel {
                a = function() gate("red", { on_failure = "ask" }, function() return false end) end,
                b = function() gate("red", { on_failure = "ask" }, function() return false end) end,
            }
            note "both"
        ]]
        play.await(run, "gate.end", "a/red")
        play.await(run, "gate.end", "b/red")
        play.drop(run, "decide", { key = "b/red", choice = "skip", reason = "b" })
        play.await(run, "decision", "b/red")
        play.drop(run, "decide", { key = "a/red", choice = "skip", reason = "a" })
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("b", run:last("gate.end", "b/red").reason)
        assert.equal("a", run:last("gate.end", "a/red").reason)
    end)
end)
