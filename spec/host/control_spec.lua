-- A run under way, seen and steered from outside: signals, commands, a terminal, a pipe that closes.
local t = require "spec.helper"

local PLAY = [[
local sh = require "rollout.sh"
playbook "steer" { title = "Steer", environments = { "test" }, roles = { lead = { "%s" } } }
]]

local ME = t.run({ "id", "-un" }).out:match("%S+")

-- { run = the process, path, state, mark = a path that lets `hold` end }
local function start(body, options)
    options = options or {}
    local folder = t.temp()
    local mark = folder .. "/mark"
    local text = PLAY:format(ME) .. body:gsub("HOLD", ('sh.run "until test -e %s; do sleep 0.05; done"'):format(mark))
    local path = t.playbook(text, "steer", folder)
    local state = folder .. "/state"
    local command = { path, "--output", options.output or "plain", state = state, detached = options.detached }
    return { run = t.start_host(command), path = path, state = state, mark = mark, folder = folder }
end

local function host(steered, ...)
    return t.host { state = steered.state, ... }
end

local function let_go(steered)
    t.write(steered.mark, "")
end

local function id_of(steered)
    return steered.run.out:match("steer%-%d+%-%d+%-%x+")
end

local HOLD = [[stage("Work", function() step("hold", function() HOLD end) step("after", function() end) end)]]

describe("plain lines", function()
    it("name a stage in full, what is in it shortly, and each cause once", function()
        local run = t.host { t.playbook([[
            local sh = require "rollout.sh"
            playbook "plain" { environments = { "test" } }
            stage("Deployment", function()
                stage("Step 3", function()
                    step("one", { undo = function() sh.run { "true" } end }, function() sh.run { "echo", "said" } end)
                    commit "no way back"
                    step("two", { undo = function() sh.run { "true" } end }, function() sh.run { "true" } end)
                    parallel { north = function() step("deploy", function() sh.run { "true" } end) end }
                end)
                gate("p95 holds", function() return expect("p95", 612):below(500, "ms") end)
            end)
        ]], "plain"), "--output", "plain", state = t.temp() }
        assert.equal(3, run.code, run.out)
        for _, line in ipairs { "BEGIN stage Deployment/Step 3\n", "OUT   one | said\n", "DO    north/deploy: true\n",
            "FAIL  gate p95 holds 0.0s: p95 is 612 ms, not below 500 ms (", "OK    compensation undo two 0.0s\n",
            "END   undone: undo two\n", "END   kept: committed before, so not undone: undo one\n" } do
            assert.truthy(run.out:find(line, 1, true), line .. "\n" .. run.out)
        end
        for line in run.out:gmatch("[^\n]+") do
            local _, told = line:gsub("p95 is 612", "")
            assert.is_true(told <= 1, line)
            if line:find("FAIL  stage", 1, true) then assert.equal(0, told) end
        end
    end)
end)

describe("an interrupt", function()
    it("lets the effect in flight end, and pauses", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        steered.run:kill("sigint")
        steered.run:wait_for("NOTE +Pausing when the effect in flight has ended")
        let_go(steered)
        assert.equal(5, steered.run:wait().code, steered.run.out)
        assert.matches("OK +step hold", steered.run.out)
        assert.is_nil(steered.run.out:find("step after", 1, true))
        assert.matches("next: rollouthost resume " .. id_of(steered), steered.run.out, 1, true)
        local again = host(steered, "resume")
        assert.equal(0, again.code, again.out .. again.err)
        assert.matches("OK +step after", again.out)
        assert.is_nil(again.out:find("DO +hold"))
    end)
    it("twice cancels the effect in flight", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        steered.run:kill("sigint")
        steered.run:wait_for("NOTE +Pausing")
        steered.run:kill("sigint")
        steered.run:wait_for("NOTE +Cancelling")
        assert.equal(5, steered.run:wait(10).code, steered.run.out)
        let_go(steered)
        -- What a cancelled command had done by then, nobody knows but a person.
        local again = host(steered, "resume")
        assert.equal(7, again.code, again.out)
        assert.truthy(again.out:find("in doubt: Work/hold@1.1: until test", 1, true), again.out)
        -- The command can be pasted: it names the state folder, which is not the usual one.
        local command = ("rollouthost decide %s --state %s --done|--retry"):format(id_of(steered), steered.state)
        assert.truthy(again.out:find(command, 1, true), again.out)
        local wrong = host(steered, "decide", "steer", "Work/hodl", "--retry")
        assert.equal(2, wrong.code)
        assert.matches("Work/hold@1.1", wrong.err, 1, true)
        assert.equal(0, host(steered, "decide", "steer", "--retry").code)
        again = host(steered, "resume")
        assert.equal(0, again.code, again.out)
        assert.matches("DO +hold", again.out)
        assert.matches("OK +step after", again.out)
    end)
    it("by SIGTERM is one too", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        steered.run:kill("sigterm")
        steered.run:wait_for("NOTE +Pausing")
        let_go(steered)
        assert.equal(5, steered.run:wait().code)
    end)
end)

describe("a hang-up", function()
    it("makes the run quiet, and the run goes on", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        steered.run:kill("sighup")
        -- The signal is taken when another answer of the same loop is.
        local out = #steered.run.out
        let_go(steered)
        assert.equal(0, steered.run:wait().code)
        assert.equal("", steered.run.out:sub(out + 1))
        assert.matches("succeeded", host(steered, "runs").out)
    end)
    it("of a reader that is gone does not end it", function()
        local folder = t.temp()
        local path = t.playbook(PLAY:format(ME) .. [[
            for i = 1, 20 do step("s" .. i, function() sh.run { "echo", ("x"):rep(2000) } end) end
        ]], "steer", folder)
        local state = folder .. "/state"
        local result = t.run { "bash", "-c", ('"$0" "$1" --output plain | head -n 1; echo "${PIPESTATUS[0]}"'),
            t.binary, path, env = { ROLLOUTHOST_STATE = state } }
        assert.matches("\n0\n$", result.out, 1, result.err)
        assert.matches("succeeded", t.host({ "runs", state = state }).out)
    end)
    it("of a terminal does not end it", function()
        local folder = t.temp()
        local mark = folder .. "/mark"
        local path = t.playbook(PLAY:format(ME) .. HOLD:gsub("HOLD",
            ('sh.run "until test -e %s; do sleep 0.05; done"'):format(mark)), "steer", folder)
        local state = folder .. "/state"
        local terminal = t.start { "script", "-qec", ("'%s' '%s'"):format(t.binary, path), "/dev/null", input = true,
            env = { ROLLOUTHOST_STATE = state, TERM = "xterm", NO_COLOR = "1", SHELL = "/bin/sh" } }
        terminal:wait_for("until test %-e")
        terminal:kill("sigkill")
        terminal:wait()
        assert.matches("running", t.host({ "runs", state = state }).out)
        t.write(mark, "")
        t.eventually("the run ends", function()
            return t.host({ "runs", state = state }).out:find("succeeded", 1, true)
        end)
    end)
end)

describe("pause", function()
    it("asks the process that works on the run", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        local result = host(steered, "pause", "--reason", "lunch")
        assert.equal(0, result.code, result.err)
        assert.matches("asked to pause", result.out)
        let_go(steered)
        assert.equal(5, steered.run:wait().code)
        assert.matches("lunch", steered.run.out)
        result = host(steered, "pause")
        assert.equal(1, result.code)
        assert.matches("nothing to pause", result.err)
    end)
end)

describe("rollback", function()
    it("is done by the process that works on the run", function()
        local steered = start([[
            step("change", { undo = function() sh.run { "echo", "unchanged" } end }, function() sh.run { "true" } end)
            step("hold", function() HOLD end)
        ]])
        steered.run:wait_for("DO +hold")
        assert.equal(0, host(steered, "rollback", "--reason", "wrong day").code)
        let_go(steered)
        assert.equal(3, steered.run:wait().code, steered.run.out)
        assert.matches("OUT +[^\n]*| unchanged", steered.run.out)
        assert.matches("END +undone: undo change", steered.run.out)
    end)
    it("is done here where no process works on it", function()
        local steered = start([[
            step("change", { undo = function() sh.run { "echo", "unchanged" } end }, function() sh.run { "true" } end)
        ]])
        assert.equal(0, steered.run:wait().code)
        local result = host(steered, "rollback")
        assert.equal(3, result.code, result.out .. result.err)
        assert.matches("OUT +[^\n]*| unchanged", result.out)
        result = host(steered, "resume")
        assert.equal(3, result.code)
        assert.matches("Rolled back", result.out)
    end)
end)

describe("abort", function()
    it("ends a paused run for good", function()
        local steered = start(HOLD)
        steered.run:wait_for("DO +hold")
        steered.run:kill("sigint")
        steered.run:wait_for("Pausing")
        let_go(steered)
        steered.run:wait()
        local result = host(steered, "abort", "--reason", "no need")
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("Aborted", result.out)
        result = host(steered, "resume")
        assert.equal(1, result.code)
        assert.matches("no unfinished runs", host(steered, "status").out)
    end)
end)

describe("people", function()
    it("answer from elsewhere", function()
        local steered = start([[
            approve("Go", { role = "lead" })
            confirm("Login works")
            checklist("Smoke", { "Orders list loads", "Invoices print" })
        ]])
        steered.run:wait_for("WAIT +approve Go: approval by lead[^\n]*: rollouthost approve " .. "steer")
        local id = id_of(steered)
        local shown = host(steered, "show", id).out
        assert.matches("◷ Go +approval by lead", shown)
        assert.truthy(shown:find("rollouthost approve " .. id .. " Go", 1, true), shown)
        local wrong = host(steered, "approve", id, "Goo")
        assert.equal(2, wrong.code)
        assert.matches('did you mean "Go"?', wrong.err, 1, true)
        assert.equal(0, host(steered, "approve", id, "--comment", "good luck").code)
        steered.run:wait_for("OK +approve Go [^\n]*approved by " .. ME .. ": good luck")
        steered.run:wait_for("WAIT +confirm Login works")
        assert.equal(0, host(steered, "confirm", id, "--pass").code)
        steered.run:wait_for("WAIT +checklist Smoke")
        assert.equal(0, host(steered, "confirm", id, "Smoke", "--item", "Invoices print", "--na", "--reason",
            "no printer").code)
        steered.run:wait_for("SAID +Smoke: Invoices print: na by " .. ME .. ": no printer")
        assert.equal(0, host(steered, "confirm", id, "Smoke", "--item", "Orders list loads", "--pass").code)
        assert.equal(0, steered.run:wait().code, steered.run.out)
    end)
    it("reject with a reason", function()
        local steered = start([[approve("Go", { role = "lead" })]])
        steered.run:wait_for("WAIT +approve Go")
        assert.equal(0, host(steered, "reject", id_of(steered), "--reason", "not today").code)
        assert.equal(1, steered.run:wait().code)
        assert.matches("FAIL +approve Go [^\n]*not today", steered.run.out)
        assert.equal(2, host(steered, "approve", "steer").code)
    end)
    it("are asked at the terminal", function()
        local folder = t.temp()
        local path = t.playbook(PLAY:format(ME) .. [[confirm("Login works")]], "steer", folder)
        local terminal = t.start { "script", "-qec", ("'%s' '%s'"):format(t.binary, path), "/dev/null", input = true,
            env = { ROLLOUTHOST_STATE = folder .. "/state", TERM = "xterm", NO_COLOR = "1", SHELL = "/bin/sh" } }
        terminal:wait_for("confirm> ")
        terminal:write("perhaps\n")
        terminal:wait_for("type pass, fail and why, or na and why")
        terminal:write("pass\n")
        assert.equal(0, terminal:wait().code, terminal.out)
        assert.matches("✔ Login works +pass by " .. ME, terminal.out)
        assert.matches("✔ Succeeded", terminal.out)
    end)
end)

describe("log", function()
    it("tells what each step printed", function()
        local steered = start([[
            step("one", function() sh.run { "echo", "first" } end)
            step("two", function() sh.run { "echo", "second" } end)
        ]])
        steered.run:wait()
        assert.equal("==> one <==\nfirst\n\n==> two <==\nsecond\n", host(steered, "log").out)
        assert.equal("second\n", host(steered, "log", "steer", "two").out)
        local wrong = host(steered, "log", "steer", "tow")
        assert.equal(2, wrong.code)
        assert.matches('did you mean "two"?', wrong.err, 1, true)
    end)
    it("follows a step until it ends", function()
        local steered = start([[
            step("hold", function() sh.run "echo before" HOLD sh.run "echo behind" end)
            step("next", function() HOLD end)
        ]])
        steered.run:wait_for("| before")
        local log = t.start_host { "log", "steer", "hold", "-f", state = steered.state }
        log:wait_for("before\n")
        let_go(steered)
        log:wait_for("behind\n")
        assert.equal(0, log:wait().code)
        assert.equal("before\nbehind\n", log.out)
    end)
end)

describe("show", function()
    it("tells the whole run from its journal", function()
        local steered = start([[
            stage("Before", function()
                gate("fast enough", function() return expect("p95", 312):below(500, "ms") end)
                note("all is well")
            end)
            stage("Work", function()
                step("change", { undo = function() sh.run { "true" } end }, function() sh.run { "true" } end)
                step("not here", { when = false }, function() end)
                step("break", function() sh.run "echo it is broken >&2; exit 3" end)
            end)
        ]])
        assert.equal(3, steered.run:wait().code, steered.run.out)
        local result = host(steered, "show", "--detail")
        assert.equal(0, result.code, result.err)
        local last = 0
        for _, line in ipairs { "Steer · test", "Before", "✔ fast enough", "p95 is 312 ms, below 500 ms", "• all is well",
            "Work", "✔ change", "↷ not here", "when is false", "✘ break", "it is broken", "ROLLING BACK",
            "✔ undo change", "✘ Failed and rolled back completely", "undone   undo change", "state    rolled back" } do
            local at = result.out:find(line, last + 1, true)
            assert.truthy(at, line .. " is not there, or too early, in\n" .. result.out)
            last = at
        end
        local json = t.digest_events(host(steered, "show", "--output", "json"))
        assert.equal("run.start", json.events[2].type)
        assert.equal("rolled_back", json.events[#json.events].payload.status)
        assert.same(json.events[#json.events].payload, json.ended[""])
        for i, event in ipairs(json.events) do
            assert.equal(i, event.seq)
        end
    end)
    it("--verify finds an edited journal", function()
        local steered = start([[step("one", function() end)]])
        steered.run:wait()
        local whole = host(steered, "show", "--verify")
        assert.equal(0, whole.code, whole.err)
        assert.matches("the journal is whole, %d+ events", whole.out)
        local path = steered.state .. "/runs/" .. id_of(steered) .. "/journal.db"
        local bytes = t.read(path)
        local edited, count = bytes:gsub('"operator":"' .. ME, '"operator":"' .. ME:gsub(".", "x"))
        assert.is_true(count > 0)
        t.write(path, edited)
        local result = host(steered, "show", "--verify")
        assert.equal(8, result.code, result.out)
        assert.matches("^rollouthost: ", result.err)
    end)
end)

describe("plan", function()
    local PLANNED = [[
        stage("Work", function()
            step("change", { undo = function() sh.run { "echo", "back" } end }, function() sh.run { "echo", "there" } end)
            gate("well", { within = "2m" }, function() return sh.check { "true" } end)
        end)
    ]]
    local path
    lazy_setup(function() path = t.playbook(PLAY:format(ME) .. PLANNED, "steer") end)
    local function plan(...)
        local state = t.temp() .. "/state"
        local result = t.host { "plan", path, state = state, ... }
        assert.equal(0, result.code, result.out .. result.err)
        return result.out
    end
    it("prints text", function()
        local out = plan()
        for _, pattern in ipairs { "\n Work\n", "step change", "→ echo there +unsafe", "↶ undo change", "→ echo back",
            "gate well", "→ true +read" } do
            assert.matches(pattern, out)
        end
    end)
    it("prints Markdown", function()
        local out = plan("--format", "md")
        for _, line in ipairs { "\n## Work\n", "- [ ] step **change**", "    - `echo there` (unsafe)" } do
            assert.truthy(out:find(line, 1, true), line .. " is not in\n" .. out)
        end
    end)
    it("prints JSON", function()
        local items = require("dkjson").decode(plan("--format", "json"))
        assert.equal("stage", items[1].kind)
        assert.equal("Work/change", items[2].key)
    end)
end)
