-- The contract's sentences that no other spec holds on to: what nothing swallows, what a body cannot do, what a value is.
local play = require "spec.host.play"
local t = require "spec.helper"

local HEAD = [[
local sh = require "rollout.sh"
local function log(word) return sh.run("echo " .. word .. " >> ledger") end
local function red() gate("red", function() return false end) end
]]

local function ledger(result)
    local path = result.folder .. "/ledger"
    return t.exists(path) and t.read(path):gsub("\n", " "):gsub(" $", "") or ""
end

-- The playbook's exit code, what its ledger holds and, where a pattern is given, what it says.
local function expect(code, written, text, pattern, options)
    local result = play.run(HEAD .. text, options)
    assert.equal(code, result.code, text .. "\n" .. result.out .. result.err)
    assert.equal(written, (ledger(result)), text)
    if pattern then assert.matches(pattern, play.message(result)) end
    return result
end

local CLOSING = "setmetatable({}, { __close = function() %s end })"

local function closing(text) return CLOSING:format(text) end

describe("nothing swallows a red gate:", function()
    for name, text in pairs {
        ["a __close handler"] = "pcall(function() local c <close> = " .. closing 'error "other"' .. " red() end)",
        ["a message handler"] = "xpcall(red, function() return 'fine' end)",
        ["in a message handler"] = "xpcall(error, red)",
        ["a comparison"] = "pcall(table.sort, { 3, 2, 1 }, red)",
        ["a replacement"] = 'pcall(string.gsub, "abc", ".", red)',
        ["a metamethod"] = "pcall(function() return setmetatable({}, { __index = red }).x end)",
        ["a __pairs"] = "pcall(pairs, setmetatable({}, { __pairs = red }))",
        ["a module's require"] = 'pcall(require, "half")',
    } do
        it(name, function()
            local folder = t.temp()
            t.write(folder .. "/modules/half.lua", 'gate("red", function() return false end)')
            expect(1, "", text .. ' step("never", function() log "never" end)', "red is false", { folder = folder })
        end)
    end

    it("and what is misplaced in a coroutine of the playbook's own", function()
        for _, text in ipairs {
            "coroutine.resume(coroutine.create(red))", "pcall(coroutine.wrap(red))",
            "local co = coroutine.create(function() local c <close> = " .. closing "red()" .. [[ coroutine.yield() end)
                coroutine.resume(co) coroutine.close(co)]],
        } do
            expect(2, "", text .. ' step("never", function() log "never" end)', 'gate "red".*coroutine of your own: use parallel')
        end
        expect(1, "", 'step("a", function() pcall(coroutine.wrap(function() log "x" end)) end)', "sh.run.*use parallel")
    end)

    it("nor a fail, nor a slip of the pen", function()
        expect(1, "", 'pcall(fail, "mine") step("never", function() log "never" end)', "mine")
        expect(1, "", 'step("a", function() pcall(fail, "mine") end)', "mine")
        expect(2, "", "pcall(function() local c <close> = " .. closing 'error "other"' .. " run.typo = 1 end)", "read%-only")
    end)
end)

describe("after a timeout", function()
    it("nothing more is begun, in no handler", function()
        expect(1, "", 'step("a", { timeout = "100ms" }, function() local c <close> = ' .. closing 'log "closing"'
            .. ' sh.run "sleep 5" end)', "not finished within 100ms")
        expect(1, "", 'step("a", { timeout = "100ms" }, function() pcall(function() local c <close> = '
            .. closing 'error "other"' .. ' sh.run "sleep 5" end) log "after" end)', "not finished within 100ms")
    end)
end)

describe("an error", function()
    it("that only looks like the host's is the playbook's own", function()
        expect(2, "", 'error { control = true, code = "paused", message = "mine" }', "mine")
        expect(1, "", 'step("a", function() error { control = true, code = "doubt", message = "mine" } end)', "mine")
        expect(1, "", 'step("a", function() error(42) end)', "42")
        expect(2, "", "error(setmetatable({}, { __index = error, __tostring = error }))", "error of type table")
        expect(1, "", [[step("a", function() local _, e = pcall(sh.run, "exit 3") getmetatable(e).__tostring = 1 end)]], "boolean")
    end)
end)

describe("a loop without an end", function()
    it("fails its step with its line, and what was done is undone", function()
        local result = expect(3, "x undo", [[step("a", { undo = function() log "undo" end }, function() log "x"
            while true do pcall(coroutine.wrap(function() while true do end end)) end
        end)]], "endless loop")
        assert.matches("demo.lua:6", result:last("step.end", "a").error.where)
    end)

    it("in a pattern ends the host, and the run is kept", function()
        local result = play.run(HEAD .. [[step("a", function() log "x" end)
            step("b", function() return (("a"):rep(40)):match(("a*"):rep(12) .. "b") end)]], { timeout = 100 })
        assert.equal(8, result.code)
        assert.matches("does not come back from \"b\" (a pattern match", result.err, 1, true)
        assert.equal("x", (ledger(result)))
        assert.equal(1, play.again(result, { "abort" }).code)
    end)
end)

describe("memory", function()
    it("has a limit, and the run says so", function()
        expect(1, "", [[step("a", function()
            local list, text = {}, ("x"):rep(1 << 16) -- repeated itself: a byte at a time it may take too long
            for i = 1, 64 do list[i] = text:rep(1 << 8) .. i end
        end)]], "more memory than it may have")
    end)
end)

describe("a playbook's Lua", function()
    it("shows no addresses and no bytecode", function()
        expect(1, "", 'step("a", function() return ("%p"):format({}) end)', "addresses differ")
        expect(0, "", [[step("a", function()
            assert(("x").dump == nil and string.dump == nil and tostring({}) == "table" and ("%s"):format({}) == "table")
            assert(load("\27Lua", "x", "b") == nil and load(function() end) == nil and getmetatable("") == false)
        end)]])
    end)

    it("keeps nothing behind the journal's back", function()
        for text, pattern in pairs {
            ["x = 1"] = "never declared", ["_G.x = 1"] = "never declared", ['rawset(_G, "x", 1)'] = "read%-only",
            ['rawset(run, "environment", "production")'] = "read%-only", ["string.x = 1"] = "string.x cannot be assigned",
            ["setmetatable(_G, nil)"] = "protected", ["return os.time()"] = "run.now", ["return io.open"] = "rollout.fs",
        } do
            expect(2, "", text, pattern)
        end
    end)

    it("goes through tables in order, or not at all", function()
        expect(0, "", [[
            local seen = ""
            for key in pairs { z = 1, a = 2, [3] = 3, [1] = 1, [true] = 5 } do seen = seen .. tostring(key) end
            for key in next, { z = 1, a = 2 } do seen = seen .. key end
            if seen ~= "13aztrueaz" then fail(seen) end
        ]])
        expect(2, "", "for _ in pairs { [{}] = 1, [{}] = 2 } do end", "no order")
        expect(2, "", "for _ in next, { [{}] = 1, [{}] = 2 } do end", "no order")
    end)
end)

describe("a step's result", function()
    it("is the same live and replayed, whatever it holds", function()
        local first = expect(1, "", [[
            local v = step("v", function() return { nan = 0/0, inf = 1/0, low = math.mininteger, high = math.maxinteger,
                zero = -0.0, nul = "a\0b", bytes = "\xff\xfe\0\x80", long = ("x"):rep(1 << 20), none = {} } end)
            step("same", { key = run.mode }, function()
                assert(v.nan ~= v.nan and v.inf == 1/0 and v.low == math.mininteger and v.high == math.maxinteger)
                assert(1 / v.zero == -1/0 and v.nul == "a\0b" and v.bytes == "\xff\xfe\0\x80" and #v.long == 1 << 20)
                sh.run "test -e go"
            end)
        ]], "test %-e go")
        t.write(first.folder .. "/go", "")
        assert.equal(0, play.again(first, { "resume" }).code)
    end)

    it("that cannot be kept fails the step, by its policy", function()
        expect(0, "b", [[step("a", { undo = function() log "undo" end, on_failure = "alert" }, function() return log end)
            step("b", function() log "b" end)]])
        expect(1, "", 'step("a", function() return { 1, nil, 3, n = 3 } end)', "mixed keys")
        expect(1, "", 'step("a", function() return { [10] = 1 } end)', "holes")
        expect(1, "", 'step("a", function() local x = {} x.x = x return x end)', "contains itself")
    end)
end)

describe("every verb's options", function()
    it("are heeded: a timeout", function()
        for text, pattern in pairs {
            ['stage("s", { timeout = "100ms" }, function() step("a", function() sh.run "sleep 9" end) end)'] = 'stage "s"',
            ['stage("s", { timeout = "100ms" }, function() wait "9s" end)'] = 'stage "s"',
            ['parallel({ a = function() wait "9s" end }, { timeout = "100ms" })'] = 'stage "parallel"',
            ['gate("g", { timeout = "100ms" }, function() sh.read "sleep 9" end)'] = 'gate "g"',
            ['soak("k", { duration = "9s", every = "1s", timeout = "100ms" }, function() return true end)'] = 'soak "k"',
            ['approve("a", { timeout = "100ms" })'] = "nobody approved it",
            ['confirm("c", { timeout = "100ms" })'] = "nobody answered",
        } do
            expect(1, "", text, pattern .. ".*100ms")
        end
        expect(4, "a", [[rollback("r", { timeout = "100ms" }, function() step("u", function() sh.run "sleep 9" end) end)
            step("a", function() log "a" end) fail "x"]], 'rollback "r" was not finished within 100ms')
    end)

    it("are heeded: when and only", function()
        for _, option in ipairs { "when = false", 'only = "production"', 'only = { "production" }' } do
            expect(3, "a undo", ([[
                local function no() log "no" end
                step("a", { undo = function() log "undo" end }, function() log "a" end)
                commit("sure", { OPT }) note("no", { OPT }) notify { text = "no", OPT }
                rollback("r", { OPT }, function() step("r", no) end)
                stage("s", { OPT }, function() step("s", no) end) parallel({ p = function() step("p", no) end }, { OPT })
                step("n", { OPT }, no) gate("g", { OPT }, no) soak("k", { duration = "1h", every = "1h", OPT }, no)
                wait("1h", { OPT }) approve("a", { OPT }) confirm("c", { OPT }) checklist("l", { "x" }, { OPT })
                fail "end"
            ]]):gsub("OPT", option), "^end$")
        end
    end)

    it("that nobody heeds are refused", function()
        for _, text in ipairs { 'wait("1h", { only = "prod" })', 'commit("c", { wen = false })', 'note("n", { only = "prod" })',
            'parallel({ a = function() end }, { wen = true })', 'fail("x", { when = false })',
            'notify { text = "x", only = "prod" }' } do
            expect(2, "", text)
        end
    end)

    it("on_failure of an approval counts for its timeout, too", function()
        expect(0, "on", 'approve("a", { timeout = "50ms", on_failure = "alert" }) step("on", function() log "on" end)')
    end)
end)

describe("a step's done", function()
    it("takes an expectation for what it says", function()
        expect(0, "a", [[step("a", { done = function() return sh.check "test -e ledger" end }, function() log "a" end)
            step("b", { done = function() return sh.check "test -e ledger" end }, function() log "b" end)]])
    end)

    it("is refused what destroys data, as a gate is", function()
        local check = 'function() return sh.check "echo db:reset" end'
        local more = 'function() log "on" end'
        for _, text in ipairs { 'step("a", { done = ' .. check .. " }, " .. more .. ")",
            'gate("a", { within = "9s" }, ' .. check .. ")" } do
            local result = play.run(HEAD .. text, { protected = true })
            assert.equal(1, result.code, result.out .. result.err)
            assert.matches("db:reset.*refused in the protected environment", play.message(result))
            assert.equal("", (ledger(result)))
        end
    end)

    it("changes nothing, and has no slips of the pen", function()
        expect(1, "", 'step("a", { done = function() log "done" end }, function() log "a" end)', "a check must not")
        expect(1, "", 'step("a", { done = function() return typo end }, function() log "a" end)', '"typo" is not defined')
    end)
end)

describe("after a crash", function()
    -- Asked is what is said; it is recorded by then.
    local function asks(host)
        t.eventually("the question", function() return host.out:find("WAIT", 1, true) end)
    end

    local function killed_while_it_asks(text)
        local run = play.start(HEAD .. text, { output = "plain" })
        asks(run)
        run:kill("sigkill")
        run:wait()
        return run
    end

    it("a question is asked again, nothing is tried without an answer", function()
        local first = killed_while_it_asks('step("a", { on_failure = "ask" }, function() log "try" sh.run "test -e go" end)')
        local second = t.start_host { "resume", cwd = first.folder, state = first.state }
        asks(second)
        assert.equal("try", (ledger(first)))
        t.write(first.folder .. "/go", "")
        play.drop(first, "decide", { choice = "retry" })
        second:wait()
        assert.equal(0, second.code, second.out .. second.err)
        assert.equal("try try", (ledger(first)))
    end)

    it("an answer that was given meanwhile needs no name", function()
        local first = killed_while_it_asks('step("a", { on_failure = "ask" }, function() log "try" sh.run "exit 1" end)')
        play.drop(first, "decide", { choice = "done", reason = "seen", result = 7 })
        local second = play.again(first, { "resume", timeout = 20 })
        assert.equal(0, second.code, second.out .. second.err)
        assert.equal("try", (ledger(first)))
    end)

    it("the attempts that were made count", function()
        local first = play.start(HEAD .. [[step("a", { retry = { times = 3 } }, function()
            log "try" sh.run "test $(wc -l < ledger) != 2 || until test -e go; do sleep 0.02; done; exit 1" end)]])
        t.eventually("the second attempt", function() return ledger(first) == "try try" end)
        first:kill("sigkill")
        first:wait()
        t.write(first.folder .. "/go", "")
        assert.equal(1, play.again(first, { "resume", timeout = 30 }).code)
        assert.equal("try try try", (ledger(first)))
    end)
end)

describe("an interrupt", function()
    it("before another attempt pauses", function()
        local run = play.start(HEAD .. [[step("a", { retry = { times = 2, backoff = "9s" } }, function()
            log "try" sh.run "until test -e go; do sleep 0.02; done; exit 1" end)]], { output = "plain" })
        t.eventually("the first", function() return ledger(run) == "try" end)
        run:kill("sigint")
        run:wait_for("NOTE +Pausing")
        t.write(run.folder .. "/go", "")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
    end)

    it("by a service manager, SIGTERM, cancels the effect in flight after 30 s, or at once when it comes again", function()
        local function stopped(again)
            local run = play.start(HEAD .. [[step("a", { idempotent = true }, function()
                sh.run "echo begun >> ledger; trap 'echo told >> ledger; exit 1' TERM; sleep 100 & wait"
            end)]], { output = "plain" })
            t.eventually("its beginning", function() return ledger(run) == "begun" end)
            local began = os.time()
            run:kill("sigterm")
            run:wait_for("NOTE +Pausing when the effect in flight has ended")
            if again then run:kill("sigterm") end
            run:wait(60)
            assert.equal(5, run.code, run.out .. run.err)
            assert.matches("NOTE +Cancelling the effect in flight", run.out)
            assert.equal("begun told", (ledger(run)))
            return os.time() - began
        end
        assert.truthy(stopped(true) < 15)
        local took = stopped(false)
        assert.truthy(took >= 29 and took < 45, took)
    end)

    it("while unwinding pauses, and resume unwinds on", function()
        local run = play.start(HEAD .. [[
            rollback("last", function() step("last", function() log "last" end) end)
            rollback("slow", function()
                step("slow", function() sh.run "echo slow >> ledger; until test -e go; do sleep 0.02; done" end)
                step("more", function() log "more" end)
            end)
            step("a", function() log "a" end) fail "x"]], { output = "plain" })
        t.eventually("the slow one", function() return ledger(run) == "a slow" end)
        run:kill("sigint")
        run:wait_for("NOTE +Pausing")
        t.write(run.folder .. "/go", "")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
        assert.equal("a slow", (ledger(run)))
        assert.equal(3, play.again(run, { "resume" }).code)
        assert.equal("a slow more last", (ledger(run)))
    end)
end)

describe("modules", function()
    it("of ROLLOUTHOST_PATH are those that the run began with, wherever it is resumed", function()
        local folder, shared = t.temp(), t.temp()
        t.write(shared .. "/team.lua", "return 5")
        local first = play.run(HEAD .. 'local n = require "team" step("a", function() sh.run "test -e go" end) note("n" .. n)',
            { folder = folder, env = { ROLLOUTHOST_PATH = shared } })
        assert.equal(1, first.code)
        t.write(shared .. "/team.lua", "return 6")
        t.write(folder .. "/go", "")
        os.remove(first.path)
        local second = play.again(first, { "resume" })
        assert.equal(0, second.code, second.out .. second.err)
        assert.equal("n5", second:last("note").text)
    end)

    it("that are wrong say where", function()
        local folder = t.temp()
        for text, pattern in pairs { ["local x = = 1"] = "half.lua:1: unexpected symbol",
            ["\nreturn nil + 1"] = "half.lua:2: attempt",
            ['return require "half"'] = "requires itself" } do
            t.write(folder .. "/modules/half.lua", text)
            expect(2, "", 'require "half"', pattern, { folder = folder })
        end
        t.write(folder .. "/modules/half.lua", "error 'x'")
        expect(1, "", 'pcall(require, "half") local _, why = pcall(require, "half") fail(why)', "half.lua:1: x",
            { folder = folder })
    end)
end)

describe("secrets", function()
    it("pass through results by reference, joined ones too, and into no text", function()
        local first = play.run(HEAD .. [[
            local s = secret "TOKEN"
            local v = step("a", function() return { one = s, two = "x-" .. s } end)
            step("b", function() sh.run("test -e go") end)
            step("c", function() sh.run({ "sh", "-c", "cat >&2; test -e got || cat > got; exit 0" }, { stdin = v.two }) end)
            note("it is " .. v.one)
            step("d", function() sh.run({ "sh", "-c", "cat > got" }, { stdin = v.two }) error("with " .. v.two) end)
        ]], { env = { TOKEN = "swordfish-77" } })
        t.write(first.folder .. "/go", "")
        local second = play.again(first, { "resume", env = { TOKEN = "swordfish-77" } })
        assert.equal(1, second.code, second.out .. second.err)
        assert.equal("x-swordfish-77", t.read(first.folder .. "/got"))
        assert.matches("with x%-‹secret TOKEN›", play.message(second))
        assert.equal("", t.run({ "grep", "-rl", "swordfish", first.state }).out)
        assert.is_nil((first.out .. second.out .. second.err):match("swordfish"))
    end)

    it("under 6 bytes and missing files are refused with their line", function()
        expect(2, "", 'local s = secret "TOKEN"', "demo.lua:5: the secret TOKEN is shorter than 6 bytes",
            { env = { TOKEN = "abc" } })
        expect(2, "", 'asset "none.sql"', "demo.lua:5: there is no file")
    end)
end)

describe("what a playbook returns", function()
    it("is looked at before anybody is told of a success", function()
        local result = play.run(HEAD .. 'on.succeeded(function() step("tell", function() log "told" end) end) step("a", function() '
            .. 'log "a" end) return log')
        assert.equal(1, result.code, result.out .. result.err)
        assert.equal("a", (ledger(result)))
    end)
end)

describe("a stage that was undone", function()
    it("stays undone when the run is resumed, whatever was mended", function()
        local first = expect(1, "a undo", [[
            stage("s", { on_failure = "stage" }, function()
                step("a", { undo = function() log "undo" end }, function() log "a" end)
                gate("mended", function() return sh.check "test -e go" end)
            end)
            step("never", function() log "never" end)]], "mended")
        t.write(first.folder .. "/go", "")
        assert.equal(1, play.again(first, { "resume" }).code)
        assert.equal("a undo", (ledger(first)))
    end)
end)
