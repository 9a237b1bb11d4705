-- Ctrl-C and SIGTERM while the run waits: it pauses at once, can be resumed, and what it waited for still holds.
local t = require "spec.helper"

local PLAY = [[
local sh = require "rollout.sh"
playbook "demo" { environments = { "staging" } }
step("before", function() sh.run "echo before >>ledger" end)
%s
step("after", function() sh.run "echo after >>ledger" end)
]]

-- What waits, what says so, and what lets it go on.
local WAITS = {
    approve = { [[approve "Go"]], "approve %S+ Go", { "approve", "RUN", "Go" } },
    confirm = { [[confirm "Sure"]], "confirm %S+ Sure", { "confirm", "RUN", "Sure", "--pass" } },
    checklist = { [[checklist("All", { "One" })]], "confirm %S+",
        { "confirm", "RUN", "All", "--item", "One", "--pass" } },
    wait = { [[wait "3s"]], "wait 3s" },
    soak = { [[soak("holds", { duration = "3s", every = "3s" }, function() return sh.check { "true" } end)]], "1 of 2" },
    gate = { [[gate("opens", { within = "1m", every = "2s" }, function() return sh.check { "test", "-e", "open" } end)]],
        "try 2" },
    backoff = { [[step("flaky", { retry = { times = 2, backoff = "2s" } }, function() sh.run "test -e open" end)]],
        "attempt 2 of 2" },
    ask = { [[step("bad", { on_failure = "ask" }, function() sh.run "test -e open" end)]], "decide",
        { "decide", "RUN", "--retry" } },
}

local function start(body)
    local path, folder = t.playbook(PLAY:format(body), "demo")
    local run = { folder = folder, state = folder .. "/state" }
    run.host = t.start_host { path, "--output", "plain", state = run.state, cwd = folder }
    return run
end

local function command(run, words)
    local list = { state = run.state, cwd = run.folder, timeout = 30 }
    for i, word in ipairs(words) do
        list[i] = word == "RUN" and "demo" or word
    end
    return t.host(list)
end

describe("a run that waits", function()
    for kind, facts in pairs(WAITS) do
        for _, signal in ipairs { "sigint", "sigterm" } do
            it(("(%s) pauses at once by %s"):format(kind, signal), function()
                local run = start(facts[1])
                run.host:wait_for("WAIT +[^\n]*" .. facts[2])
                local asked = os.time()
                run.host:kill(signal)
                run.host:wait()
                assert.equal(5, run.host.code, run.host.out .. run.host.err)
                assert(os.time() - asked < 25, "it waited, as for an effect in flight, which has 30 s")
                if facts[3] then
                    local answer = command(run, facts[3])
                    assert.equal(0, answer.code, answer.out .. answer.err)
                end
                t.write(run.folder .. "/open", "")
                local again = command(run, { "resume" })
                assert.equal(0, again.code, again.out .. again.err)
                assert.equal("before\nafter\n", t.read(run.folder .. "/ledger"))
            end)
        end
    end
end)

describe("a second Ctrl-C", function()
    it("ends also a command that ignores TERM, and its children", function()
        local path, folder = t.playbook([[
            local sh = require "rollout.sh"
            playbook "demo" { environments = { "staging" } }
            step("deaf", function()
                sh.run("trap '' TERM INT; sleep 300 & echo $! >child; echo up >>ledger; wait; wait", { grace = "300ms" })
            end)
        ]], "demo")
        local run = t.start_host { path, "--output", "plain", state = folder .. "/state", cwd = folder }
        t.eventually("it runs", function() return t.exists(folder .. "/ledger") end)
        run:kill("sigint")
        run:wait_for("Pausing")
        run:kill("sigint")
        run:wait(20)
        assert.equal(5, run.code, run.out)
        local child = t.read(folder .. "/child"):match "%d+"
        t.eventually("its child ends", function() return not t.exists("/proc/" .. child) end)
        local again = t.host { "resume", state = folder .. "/state", cwd = folder }
        assert.equal(7, again.code, again.out)
        assert.equal("up\n", t.read(folder .. "/ledger"))
    end)
end)
