-- What a playbook relies on: steps once, values as journaled, arming, unwinding, policies. The ledger is a file that the
-- playbook's own commands append to.
local t = require "spec.helper"

local HEAD = [[
local sh = require "rollout.sh"
playbook "spec" { title = "Spec", environments = { "staging", { "production", protected = true } } }
local function log(word) return sh.run("echo " .. word .. " >> ledger") end
local function do_step(name, opts) return step(name, opts or {}, function() log(name) return name end) end
local function fails(name, opts) return step(name, opts or {}, function() log(name) sh.run "exit 3" end) end
]]

local function open(text, name)
    local path, folder = t.playbook(HEAD .. text, name or "spec")
    local world = { path = path, folder = folder, state = folder .. "/state" }
    function world.host(...)
        local command = { ... }
        command.state, command.cwd = world.state, folder
        return t.host(command)
    end
    function world.start(...)
        local command = { ... }
        command.state, command.cwd = world.state, folder
        return t.start_host(command)
    end
    function world.run(...) return world.host(path, "--env", "staging", ...) end
    function world.ledger()
        local words = {}
        if not t.exists(folder .. "/ledger") then return "" end
        for line in t.read(folder .. "/ledger"):gmatch("[^\n]+") do words[#words + 1] = line end
        return table.concat(words, " ")
    end
    return world
end

local function expect(text, code, ledger, pattern)
    local world = open(text)
    local result = world.run()
    assert.equal(code, result.code, result.out .. result.err)
    if ledger then assert.equal(ledger, world.ledger()) end
    if pattern then assert.matches(pattern, result.out .. result.err) end
    return world, result
end

describe("a step", function()
    it("returns the value as the journal keeps it", function()
        expect([[
            local v = step("v", function() return { n = 9007199254740993, f = 0.1 + 0.2, list = { 1, 2 }, none = {} } end)
            gate("same", function()
                return { expect("n", v.n):equals(9007199254740993), expect("f", v.f == 0.1 + 0.2):equals(true),
                    expect("type", math.type(v.n)):equals("integer"), expect("list", #v.list):equals(2) }
            end)
        ]], 0)
    end)

    it("fails when it assigns to a variable around it, directly or through a function", function()
        expect('local x; step("a", function() x = 1 end)', 1, "", "assigns to `x`: return it")
        expect('local x; local function set() x = 1 end; step("a", function() set() end)', 1, "", "assigns to `x`")
        expect('local t = {}; step("a", function() t.x = 1 end)', 1, "", "changes the table `t`")
    end)

    it("refuses functions as results and names the path", function()
        expect('step("a", function() return { rows = { { fn = print_ } }, f = function() end } end)', 1, "", "print_")
        expect('step("a", function() return { rows = { { f = function() end } } } end)', 1, "", "rows%[1%]%.f")
    end)

    it("numbers the second of a name, and takes a key in a loop", function()
        expect([[
            do_step "a" do_step "a"
            for _, name in ipairs { "x", "y" } do step("loop", { key = name }, function() log(name) end) end
        ]], 0, "a a x y")
        expect('for i = 1, 2 do step("loop", { key = "same" }, function() end) end', 1, "", "used twice")
    end)

    it("tries again as often as it was told, with a new attempt each time", function()
        local world = expect([[
            step("flaky", { retry = { times = 3, backoff = "10ms" } }, function()
                log "try" sh.run "test $(wc -l < ledger) -ge 3"
            end)
        ]], 0, "try try try")
        assert.matches("attempt", world.host("show", "spec").out)
        expect('fails("flaky", { retry = { times = 2, backoff = "1ms" } })', 1, "flaky flaky", "exited with 3")
    end)

    it("is not retried for an error of the playbook itself", function()
        expect('step("a", { retry = { times = 3 } }, function() log "once" local x = nil; return x.y end)', 1, "once",
            "attempt to index a nil value")
    end)

    it("is ended by its timeout, command and all", function()
        local world, result = expect('step("a", { timeout = "200ms" }, function() sh.run "sleep 60" end)', 1, "", "200ms")
        assert.matches('step "a"', result.out .. result.err)
        assert.equal("", world.ledger())
    end)

    it("takes its done probe's value instead of running", function()
        expect([[
            local v = step("a", { done = function() return "already" end }, function() log "ran" return "ran" end)
            gate("v", function() return expect("v", v):equals("already") end)
        ]], 0, "")
    end)

    it("is skipped by when and only, with the reason in the record", function()
        local world = expect([[
            do_step("a", { when = false }) do_step("b", { only = { "production" } }) do_step("c", { only = "staging" })
        ]], 0, "c")
        local shown = world.host("show", "spec").out
        assert.matches("when is false", shown)
        assert.matches("only in production", shown)
    end)

    it("holds effects only", function()
        expect('step("a", function() step("b", function() end) end)', 1, "", "stands inside step")
        expect('step("a", function() gate("b", function() return true end) end)', 1, "", "stands inside step")
        expect('sh.run "echo x"', 2, "", "spec.lua:6.*top%-level code only computes")
    end)
end)

describe("a failure", function()
    it("rolls back what is armed, last in first out", function()
        expect([[
            do_step "one" rollback("r1", function() do_step "undo-one" end)
            do_step "two" rollback("r2", function() do_step "undo-two" end)
            do_step "three" fails "bad"
        ]], 3, "one two three bad undo-two undo-one")
    end)

    it("restores nothing when no later step had begun", function()
        expect([[
            do_step "backup" rollback("restore", function() do_step "restore" end)
            gate("red", function() return expect("x", 2):below(1) end)
        ]], 1, "backup", "x is 2, not below 1")
    end)

    it("undoes the half-done step itself, with no result", function()
        expect([[
            step("half", { undo = function(result) log("undo-" .. tostring(result)) end }, function()
                log "half" sh.run "exit 1"
            end)
        ]], 3, "half undo-nil")
        expect([[
            step("whole", { undo = function(result) log("undo-" .. result) end }, function() log "whole" return 7 end)
            fails "bad"
        ]], 3, "whole bad undo-7")
    end)

    it("drops compensations at a commit, by name", function()
        local world = open [[
            do_step "one" rollback("r1", function() do_step "undo-one" end) do_step "two"
            commit "traffic moved" fails "bad"
        ]]
        local result = world.run("--output", "json")
        assert.equal(1, result.code)
        assert.equal("one two bad", world.ledger())
        assert.matches('"dropped":%["r1"%]', result.out)
    end)

    it("undoes its stage alone with on_failure = stage", function()
        expect([[
            stage("first", function() do_step "one" rollback("r1", function() do_step "undo-one" end) do_step "more" end)
            stage("second", { on_failure = "stage" }, function()
                do_step "two" rollback("r2", function() do_step "undo-two" end) fails "bad"
            end)
        ]], 1, "one more two bad undo-two")
    end)

    it("goes on with on_failure = alert, and stops with stop", function()
        expect([[do_step "one" rollback("r", function() do_step "undo" end) fails("bad", { on_failure = "alert" }) do_step "two"]],
            0, "one bad two")
        expect([[do_step "one" rollback("r", function() do_step "undo" end) fails("bad", { on_failure = "stop" })]],
            1, "one bad")
    end)

    it("is not swallowed by pcall, xpcall or a coroutine", function()
        expect('pcall(function() fails "bad" end) do_step "never"', 1, "bad")
        expect('xpcall(function() fails "bad" end, function() return 1 end) do_step "never"', 1, "bad")
        expect('pcall(gate, "red", function() return false end) do_step "never"', 1, "")
    end)

    it("of an effect can be handled inside the body", function()
        expect('step("a", function() local ok, e = pcall(sh.run, "exit 4"); log(e.code .. e.detail.code) end)', 0, "exit4")
    end)

    it("runs the hooks that belong to its end", function()
        local hooks = [[
            for _, name in ipairs { "succeeded", "failed", "rolled_back", "finished" } do
                on[name](function() step("hook", function() log(name) end) end)
            end
        ]]
        expect(hooks .. 'do_step "a"', 0, "a succeeded finished")
        expect(hooks .. 'fails "a"', 1, "a failed finished")
        expect(hooks .. 'step("a", { undo = function() log "undo" end }, function() sh.run "exit 1" end)', 3,
            "undo rolled_back failed finished")
    end)

    it("cannot have hooks that it would come before", function()
        expect('do_step "a" on.finished(function() end)', 1, "a", "above them")
    end)

    it("in one branch cancels the others and is awaited", function()
        local world = open [[
            parallel {
                slow = function() step("slow", { undo = function() log "undo-slow" end }, function()
                    sh.run "echo slow >> ledger; sleep 60" end) end,
                bad = function() step("bad", function() sh.run "until grep -q slow ledger; do sleep 0.05; done; exit 1" end) end,
            }
            do_step "never"
        ]]
        local result = world.run()
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("slow undo-slow", world.ledger())
    end)

    it("of a compensation stops the unwinding until a human decides", function()
        local world = expect([[
            do_step "one" rollback("r1", function() do_step "undo-one" end)
            do_step "two" rollback("r2", function() step("undo-two", function() log "try" sh.run "test -e mended" end) end)
            fails "bad"
        ]], 4, "one two bad try")
        assert.equal(4, world.host("resume").code)
        t.write(world.folder .. "/mended", "")
        assert.equal(3, world.host("resume").code)
        assert.equal("one two bad try try try undo-one", world.ledger())
    end)
end)

describe("a resumed run", function()
    it("retries the step that failed, and nothing that was done", function()
        local world = expect('do_step "one" step("two", function() log "two" sh.run "test -e mended" return 5 end) do_step "three"',
            1, "one two")
        t.write(world.folder .. "/mended", "")
        local result = world.host("resume")
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("one two two three", world.ledger())
    end)

    it("prints its end and exits with its code once it has ended", function()
        local world = expect('do_step "one"', 0, "one")
        assert.equal(0, world.host("resume").code)
        assert.equal("one", world.ledger())
    end)

    it("executes the bytes it began with", function()
        local world = expect('do_step "one" step("two", function() sh.run "test -e mended" end) do_step "three"', 1, "one")
        t.write(world.path, "this is no Lua")
        t.write(world.folder .. "/mended", "")
        assert.equal(0, world.host("resume").code)
        assert.equal("one three", world.ledger())
    end)

    it("stops before its first new effect where it would do something else than before", function()
        local world = expect([[
            local hidden = setmetatable({}, {}) -- what no check of upvalues sees
            step("a", function() hidden.value = 1 end)
            if hidden.value then do_step "one" else do_step "other" end
            step("two", function() sh.run "test -e mended" end)
        ]], 1, "one")
        local result = world.host("resume")
        assert.equal(8, result.code)
        assert.matches("other", result.out .. result.err)
        assert.matches("spec.lua:%d+", result.out .. result.err)
        assert.equal("one", world.ledger())
    end)

    it("ends with its stage the service that the process before it started", function()
        local world = open [[
            stage("serve", function()
                step("start", function()
                    sh.start { "sh", "-c", "echo $$ > pid; echo up >> ledger; trap 'echo down >> ledger; exit' TERM; "
                        .. "while :; do sleep 0.1; done" }
                    sh.run "until test -s pid; do sleep 0.05; done"
                end)
                step("slow", function() sh.run "echo slow >> ledger; until test -e go; do sleep 0.05; done" end)
            end)
            step("after", function() sh.run "until ! kill -0 $(cat pid); do sleep 0.05; done; echo after >> ledger" end)
        ]]
        local host = world.start(world.path, "--env", "staging")
        t.eventually("the slow step", function() return world.ledger():find("slow") end)
        host:kill("sigkill")
        host:wait()
        t.write(world.folder .. "/go", "")
        local result = world.host("resume")
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("up slow down after", world.ledger())
    end)

    it("unwinds on where it was killed while unwinding", function()
        local world = open [[
            do_step "one" rollback("r1", function() do_step "undo-one" end)
            do_step "two" rollback("r2", function()
                do_step "undo-two"
                step("slow", function() sh.run "echo slow >> ledger; until test -e go; do sleep 0.05; done" end)
            end)
            fails "bad"
        ]]
        local host = world.start(world.path, "--env", "staging")
        t.eventually("the slow step", function() return world.ledger():find("slow") end)
        host:kill("sigkill")
        host:wait()
        t.write(world.folder .. "/go", "")
        local result = world.host("resume")
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("one two bad undo-two slow undo-one", world.ledger())
    end)

    it("asks what became of an unsafe effect that the crash took along, and takes the answer", function()
        local heard
        local port = t.serve(function(_, bytes) heard = heard or bytes end) -- takes the request and never answers
        local world = open(([[
            local http = require "rollout.http"
            step("post", { undo = function() log "undo" end }, function()
                log "before" return http.post("http://127.0.0.1:%d/", {}).status end)
            do_step "after"
        ]]):format(port))
        local host = world.start(world.path, "--env", "staging")
        t.eventually("the request", function() return heard end)
        host:kill("sigkill")
        host:wait()
        local result = world.host("resume")
        assert.equal(7, result.code, result.out .. result.err)
        assert.matches("decide", result.out .. result.err)
        assert.equal(0, world.host("decide", "spec", "--done", "--result", '{"status":200}', "--reason", "seen").code)
        result = world.host("resume")
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("before after", world.ledger())
    end)
end)

describe("a run that stopped", function()
    it("can be aborted, which ends it and lets the environment go", function()
        local world = expect([[
            do_step "one" rollback("r1", function() do_step "undo-one" end) fails("bad", { on_failure = "stop" })
        ]], 1, "one bad")
        assert.equal(6, world.run().code)
        local result = world.host("abort", "--reason", "given up")
        assert.equal(1, result.code)
        assert.matches("[Aa]borted", result.out)
        assert.equal("one bad", world.ledger())
        assert.equal(1, world.run().code)
    end)

    it("can be rolled back", function()
        local world = expect([[
            do_step "one" rollback("r1", function() do_step "undo-one" end) fails("bad", { on_failure = "stop" })
        ]], 1, "one bad")
        local result = world.host("rollback", "--reason", "back")
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("one bad undo-one", world.ledger())
    end)
end)

describe("a run that succeeded", function()
    it("can still be rolled back, as far as it was not committed", function()
        local world = expect([[
            do_step "one" rollback("r1", function() do_step "undo-one" end) commit "sure"
            do_step "two" rollback("r2", function() do_step "undo-two" end)
        ]], 0, "one two")
        local result = world.host("rollback", "--reason", "customers complain")
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("one two undo-two", world.ledger())
        assert.equal(3, world.host("resume").code)
    end)
end)

describe("a protected environment", function()
    it("refuses what destroys data, before it starts, unless a reason is given", function()
        local world = open 'step("reset", function() log "before" sh.run "pnpm db:reset" end)'
        local result = world.host(world.path, "--env", "production")
        assert.equal(1, result.code)
        assert.matches("db:reset", result.out .. result.err)
        assert.matches("spec.lua:%d+", result.out .. result.err)
        world = open 'step("reset", { destructive = "empty by design" }, function() sh.run "echo db:reset >> ledger" end)'
        assert.equal(0, world.host(world.path, "--env", "production").code)
        assert.equal("db:reset", world.ledger())
    end)

    it("is locked after a rollback until someone unlocks it", function()
        local world = open 'step("a", { undo = function() log "undo" end }, function() sh.run "exit 1" end)'
        assert.equal(3, world.host(world.path, "--env", "production").code)
        local again = world.host(world.path, "--env", "production")
        assert.equal(6, again.code)
        assert.matches("unlock", again.err)
        assert.equal(0, world.host("unlock", world.path, "production", "--reason", "mended").code)
        assert.equal(3, world.host(world.path, "--env", "production").code)
    end)
end)

describe("two runs for one environment", function()
    it("exclude each other, and the second leaves nothing behind", function()
        local world = open 'step("hold", function() sh.run "echo held >> ledger; until test -e go; do sleep 0.05; done" end)'
        local first = world.start(world.path, "--env", "staging")
        t.eventually("the first", function() return world.ledger() == "held" end)
        local second = world.run()
        assert.equal(6, second.code)
        assert.matches("root", second.err)
        assert.equal(1, #t.list(world.state .. "/runs"))
        t.write(world.folder .. "/go", "")
        assert.equal(0, first:wait().code)
    end)

    it("come one after the other with --wait", function()
        local world = open 'step("hold", function() sh.run "echo held >> ledger; until test -e go; do sleep 0.05; done" end)'
        local first = world.start(world.path, "--env", "staging")
        t.eventually("the first", function() return world.ledger() == "held" end)
        local second = world.start(world.path, "--env", "staging", "--wait")
        second:wait_for("is held by")
        t.write(world.folder .. "/go", "")
        assert.equal(0, first:wait().code)
        assert.equal(0, second:wait().code)
        assert.equal("held held", world.ledger())
        assert.equal(2, #t.list(world.state .. "/runs"))
    end)

    it("take turns where a stage lets go of the lock while it waits", function()
        local world = open [[
            stage("patient", { holds_lock = false }, function()
                do_step "one"
                gate("go", { within = "20s", every = "50ms" }, function() return sh.check "test -e go" end)
                do_step "two"
            end)
        ]]
        local first = world.start(world.path, "--env", "staging")
        t.eventually("the first", function() return world.ledger() == "one" end)
        local other = t.playbook(HEAD .. 'do_step "other"', "other", world.folder)
        t.eventually("the other", function() return world.host(other, "--env", "staging").code == 0 end)
        t.write(world.folder .. "/go", "")
        assert.equal(0, first:wait().code)
        assert.equal("one other two", world.ledger())
        world = open [[
            do_step "one" rollback("r", function() end)
            stage("patient", { holds_lock = false }, function() end)
        ]]
        local result = world.run()
        assert.equal(1, result.code)
        assert.matches("a compensation is registered already", result.out)
    end)
end)
