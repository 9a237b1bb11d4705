-- A person is asked in the middle of an effect: ctx.approve.
local module = require "spec.world.module"
local play = require "spec.host.play"
local t = require "spec.helper"

-- ask.change{ question, … } asks, appends "done" to the file `ledger`, and takes so many seconds or, `held`, as long as
-- the file `hold` is there.
local ASK = [[
local native, rt = ...
local M = {}
local function effect(name, class)
    return rt.effect { name = "ask." .. name, class = class,
        args = function(opts) return opts or {} end,
        describe = function(args) return "ask " .. tostring(args.question) end,
        probe = function() return "undone" end,
        call = function(args, ctx)
            local sh = rt.require "sh"
            if args.first then sh.run(args.first) end
            local evidence = args.evidence or args.measure and sh.read("cat rows").out or nil
            local said = ctx.approve { question = args.question or "12 rows are lost. Restore?", evidence = evidence,
                role = args.role, not_operator = args.not_operator }
            sh.run "echo done >> ledger"
            if args.take then sh.run { "sleep", args.take } end
            if args.held then sh.run "while test -e hold; do sleep 0.02; done" end
            return said
        end, sample = function() return {} end }
end
M.change, M.probed, M.look = effect("change", "unsafe"), effect("probed", "probed"), effect("look", "read")
return M
]]

local me = play.me()
local MORE = ('roles = { lead = { "%s" }, dba = { "nobody" } }'):format(me)
local env

setup(function() env = { ROLLOUTHOST_MODULES = module.build("ask", ASK) } end)

local function start(text, options)
    options = options or {}
    options.env, options.more = env, options.more or MORE
    return play.start('local ask, sh = require "rollout.ask", require "rollout.sh"\n' .. text, options)
end

local function resume(run, more)
    local words = { "resume", env = env, started = true }
    for key, value in pairs(more or {}) do words[key] = value end
    return play.again(run, words)
end

local function ledger(run)
    local path = run.folder .. "/ledger"
    return t.exists(path) and t.read(path) or ""
end

local function command(run, ...)
    local words = { ... }
    words.state = run.state
    return t.host(words)
end

-- The question, once it is where commands find it, too: it is printed a moment before it is on disk.
local function asked(run)
    local begun = play.await(run, "approve.begin")
    t.eventually("the question on disk", function()
        return command(run, "show", play.id(run)).out:find("approval", 1, true)
    end)
    return begun
end

describe("an effect that asks a person", function()
    it("goes on when one says yes by the command, and returns who it was", function()
        local run = start [[step("restore", function() return ask.change { evidence = { lost = 12 }, role = "lead" } end)]]
        local begun = asked(run)
        assert.equal("12 rows are lost. Restore?", begun.question)
        assert.same({ lost = 12 }, begun.evidence)
        assert.same({ me }, begun.users)
        t.eventually("it to be shown", function()
            local out = command(run, "show", play.id(run)).out
            return out:find("12 rows are lost. Restore?", 1, true) and out:find("rollouthost approve " .. play.id(run), 1, true)
        end)
        assert.equal("", ledger(run))
        assert.matches(play.id(run), command(run, "status").out, 1, true)
        local said = command(run, "approve", play.id(run), "restore", "--comment", "they are tests")
        assert.equal(0, said.code, said.out .. said.err)
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        assert.same({ by = me, comment = "they are tests" }, run:last("step.end", "restore").value)
        assert.equal("done\n", ledger(run))
        assert.matches("approved by " .. me, command(run, "show", play.id(run)).out, 1, true)
    end)

    it("fails when one says no, is not tried again by itself, and asks again when it is resumed", function()
        local run = start [[step("restore", { retry = { times = 3 } }, function() return ask.change() end)]]
        asked(run)
        local said = command(run, "reject", play.id(run), "--reason", "too many")
        assert.equal(0, said.code, said.out .. said.err)
        run:wait()
        assert.equal(1, run.code, run.out .. run.err)
        local err = run:last("effect.end", "restore@1.1").error
        assert.equal("rejected", err.code)
        assert.equal("rejected by " .. me .. ": too many", err.message)
        assert.equal("", ledger(run))
        local again = resume(run)
        asked(again)
        play.drop(run, "approve", { name = "restore" })
        again:wait()
        assert.equal(0, again.code, again.out .. again.err)
    end)

    it("is asked once and answered once, whatever dies meanwhile", function()
        local run = start [[step("restore", function() return ask.probed { take = "2" } end)]]
        asked(run)
        run:kill("sigkill")
        run:wait()
        local second = resume(run)
        play.await(second, "run.resume")
        play.drop(run, "approve", { comment = "yes" })
        play.await(second, "approve.end")
        t.eventually("the change", function() return ledger(run) == "done\n" end)
        second:kill("sigkill")
        second:wait()
        assert.is_nil((second:last("approve.begin")))
        local third = resume(run)
        third:wait()
        assert.equal(0, third.code, third.out .. third.err)
        assert.same({ by = me, comment = "yes" }, third:last("step.end", "restore").value)
        assert.is_nil((third:last("approve.begin")))
        assert.is_nil((third:last("approve.answer")))
    end)

    it("of class unsafe is called again where it had only asked, and in doubt once it was answered", function()
        local run = start [[step("restore", function() return ask.change { held = true } end)]]
        t.write(run.folder .. "/hold", "")
        asked(run)
        run:kill("sigint")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
        play.drop(run, "approve", { name = "restore" })
        local again = resume(run)
        t.eventually("the change", function() return ledger(run) == "done\n" end)
        again:kill("sigkill")
        again:wait()
        local third = resume(run)
        third:wait()
        assert.equal(7, third.code, third.out .. third.err)
        assert.equal("done\n", ledger(run))
        os.remove(run.folder .. "/hold") -- a run that may be resumed leaves its commands running
    end)

    it("asks again for other evidence only", function()
        local run = start([[step("restore", function() return ask.probed { measure = true } end)]],
            { folder = t.write(t.temp() .. "/rows", "12"):match("^(.*)/") })
        asked(run)
        run:kill("sigint")
        run:wait()
        t.write(run.folder .. "/rows", "15")
        local again = resume(run)
        assert.equal("15", asked(again).evidence)
        play.drop(run, "approve", { bound = "12" })
        assert.matches("other evidence", play.await(again, "answer.ignored").why)
        play.drop(run, "approve", { name = "restore" })
        again:wait()
        assert.equal(0, again.code, again.out .. again.err)
    end)

    it("counts an answer only of who may give it", function()
        local run = start [[step("restore", function() return ask.change { role = "lead", not_operator = true } end)]]
        asked(run)
        local said = command(run, "approve", play.id(run))
        assert.equal(1, said.code)
        assert.matches("you operate this run, and somebody else must approve it", said.err, 1, true)
        play.drop(run, "approve", { name = "restore" })
        assert.matches("somebody else must approve", play.await(run, "answer.ignored").why)
        run:kill("sigint")
        run:wait()
    end)

    it("refuses a role that nobody has declared", function()
        local run = start [[step("restore", function() return ask.change { role = "leed" } end)]]
        run:wait()
        assert.equal(1, run.code)
        assert.matches('no role "leed": did you mean "lead"', run:last("effect.end").error.message, 1, true)
    end)

    it("has no time limit while it asks: the step's clock stands still, and goes on afterwards", function()
        local run = start [[
            step("restore", { timeout = "3s" }, function() return ask.probed { take = "0.5" } end)
            step("later", { timeout = "3s" }, function() return ask.probed { first = "sleep 2", take = "20" } end)
        ]]
        asked(run)
        t.run { "sleep", "3.5" } -- what is measured is that time passes
        play.drop(run, "approve", { key = select(2, run:last("approve.begin")).key })
        play.await(run, "step.end", "restore")
        assert.equal("ok", run:last("step.end", "restore").status)
        t.eventually("the second question", function() return #run:events "approve.begin" == 2 end)
        play.drop(run, "approve", { name = "later" })
        run:wait()
        assert.equal(1, run.code, run.out .. run.err)
        assert.matches("was not finished within 3s", run:last("step.end", "later").error.message, 1, true)
    end)

    it("does not hold up the time of its stage", function()
        local run = start [[stage("Short", { timeout = "1s" }, function()
            step("restore", function() return ask.change() end)
        end)]]
        run:wait()
        assert.equal(1, run.code, run.out .. run.err)
        assert.matches("within 1s", run:last("stage.end").error.message, 1, true)
        assert.equal("cancelled", run:last("approve.end").status)
    end)

    it("asks in a rollback as well, beyond the rollback's own time", function()
        local run = start [[
            rollback("put back", { timeout = "3s" }, function()
                step("restore", function() return ask.change() end)
            end)
            step("change", function() end)
            gate("red", function() return false end)
        ]]
        asked(run)
        t.run { "sleep", "3.5" }
        local said = command(run, "approve", play.id(run))
        assert.equal(0, said.code, said.out .. said.err)
        run:wait()
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("done\n", ledger(run))
    end)

    it("keeps the environment's lock, also in a stage that waits without it", function()
        local run = start [[stage("S", { holds_lock = false }, function() step("restore", function() return ask.change() end) end)]]
        asked(run)
        local other = play.run("", { folder = run.folder })
        assert.equal(6, other.code, other.out .. other.err)
        play.drop(run, "approve", { name = "restore" })
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
    end)

    it("calls people as any approval does, and says what is asked", function()
        local run = start([[step("restore", function() return ask.change { role = "lead" } end)]], { more = MORE
            .. [[, notify = { team = function(message)
                require("rollout.sh").run({ "bash", "-c", "cat >> told" }, { stdin = message.text .. "\n" })
            end }]] })
        t.eventually("the call", function()
            return t.exists(run.folder .. "/told") and t.read(run.folder .. "/told"):find "rollouthost"
        end)
        assert.matches('"restore" waits for approval by lead (' .. me .. '): 12 rows are lost. Restore?\nrollouthost approve '
            .. play.id(run) .. " restore", t.read(run.folder .. "/told"), 1, true)
        play.drop(run, "approve", { name = "restore" })
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
    end)

    it("is no check, and needs a person: --yes is none", function()
        local run = start [[gate("g", function() return ask.look() end)]]
        run:wait()
        assert.matches("a check asks nobody", run.out, 1, true)
        local yes = start([[step("restore", { timeout = "1s" }, function() return ask.change() end)]], { "--yes" })
        asked(yes)
        yes:kill("sigint")
        yes:wait()
        assert.equal(5, yes.code, yes.out .. yes.err)
    end)

    it("shows no secret in what it asks", function()
        local folder = t.temp()
        t.write(folder .. "/rows", "key swordfish-1")
        env.TOKEN = "swordfish-1"
        local run = start([[local key = secret "TOKEN"
            step("restore", function()
                return ask.change { question = "Restore " .. key .. "?", evidence = { key = key, again = sh.read("cat rows").out } }
            end)]], { folder = folder })
        env.TOKEN = nil
        assert.matches("key ‹secret TOKEN›", asked(run).evidence.again, 1, true)
        play.drop(run, "approve", { name = "restore" })
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        assert.is_nil(run.out:find("swordfish", 1, true))
        assert.equal("", t.run { "grep", "-r", "swordfish", run.state }.out)
    end)

    it("cannot ask in `rollouthost lua`, and says that a person is needed", function()
        local path = t.write(t.temp() .. "/x.lua", [[
            local ok, err = pcall(require "rollout.ask".change)
            print(ok, err.code, err.message)]])
        local result = t.host { "lua", path, env = env }
        assert.equal(0, result.code, result.err)
        assert.matches("false\tperson\ta person has to say yes, and `rollouthost lua` can ask nobody: 12 rows are lost. Restore?",
            result.out, 1, true)
    end)
end)
