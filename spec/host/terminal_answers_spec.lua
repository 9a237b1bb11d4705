local play = require "spec.host.play"
local t = require "spec.helper"

-- script(1) gives the run a terminal and passes on what is typed.
local function at_terminal(body, modules)
    local path, folder = t.playbook(play.text(body, ('roles = { lead = { "%s" }, dba = { "nobody" } }'):format(play.me())),
        "demo")
    local command = ("%s %s --env staging --state %s/state"):format(t.binary, path, folder)
    local run = t.start { "script", "-qec", command, "/dev/null", input = true, cwd = folder,
        env = { TERM = "xterm", NO_COLOR = "1", ROLLOUTHOST_MODULES = modules } }
    run.state = folder .. "/state"
    local seen = 0
    -- Types a line behind the next prompt.
    function run:answer(prompt, line)
        t.eventually(("%q\n%s"):format(prompt, self.out), function()
            local _, last = self.out:find(prompt, seen + 1, true)
            seen = last or seen
            return last
        end)
        self:write(line .. "\n")
    end
    return run
end

describe("at its own terminal a run asks its operator", function()
    it("for approvals and confirmations, again where the answer is none", function()
        local run = at_terminal [[
            local given = approve("Go", { role = "lead", evidence = { version = "v1" } })
            local login = confirm "Login works"
            local list = checklist("Smoke", { "a", "b" })
            note("answers: " .. given.comment .. ", " .. login.verdict .. ", " .. list[2].reason)
        ]]
        run:answer("approve> ", "perhaps")
        run:answer("approve> ", "no")
        run:answer("approve> ", "yes looks good")
        run:answer("confirm> ", "fail")
        run:answer("confirm> ", "pass")
        run:answer("confirm> ", "pass")
        run:answer("confirm> ", "na: no b here")
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches("answers: looks good, pass, no b here", run.out, 1, true)
        assert.matches('{"version":"v1"}', run.out, 1, true)
    end)
    it("and takes a rejection", function()
        local run = at_terminal 'approve("Go", { role = "lead" })'
        run:answer("approve> ", "no the numbers are wrong")
        run:wait()
        assert.equal(1, run.code, run.out)
        assert.matches("rejected by " .. play.me() .. ": the numbers are wrong", run.out, 1, true)
    end)
    it("what an effect asks in its middle, with what it is decided by", function()
        local modules = require("spec.world.module").build("lose", [[
            local native, rt = ...
            return { rows = rt.effect { name = "lose.rows", class = "unsafe", args = function() return {} end,
                call = function(_, ctx) return ctx.approve { question = "Lose them?", evidence = { rows = 12 } } end } }]])
        local run = at_terminal('local lose = require "rollout.lose" step("restore", function() return lose.rows() end)',
            modules)
        run:answer("approve> ", "yes they are tests")
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches('Approve "restore"? Lose them?', run.out, 1, true)
        assert.matches('{"rows":12}', run.out, 1, true)
    end)
    it("what to do about a failure", function()
        local run = at_terminal 'gate("red", { on_failure = "ask" }, function() return false end) note "went on"'
        run:answer("decide> ", "skip")
        run:answer("decide> ", "skip known")
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches("went on", run.out, 1, true)
    end)
    it("but not for what somebody else must answer, and an answer from elsewhere ends the question", function()
        local run = at_terminal 'approve("Schema", { role = "dba", timeout = "300ms" })'
        run:wait()
        assert.equal(1, run.code, run.out)
        assert.is_nil(run.out:find("approve> ", 1, true))
        run = at_terminal 'approve("Go", { role = "lead" }) note "went on"'
        t.eventually("the question", function() return run.out:find("approve> ", 1, true) end)
        play.drop(run, "approve", { name = "Go" })
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches("went on", run.out, 1, true)
    end)
    it("of branches one after the other", function()
        local run = at_terminal [[
            parallel { a = function() confirm "A works" end, b = function() confirm "B works" end }
            note "both"
        ]]
        run:answer("confirm> ", "pass")
        run:answer("confirm> ", "pass")
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches("both", run.out, 1, true)
    end)
end)
