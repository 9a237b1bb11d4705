-- What a module is told of the run that it is part of: rt.recorded, rt.run_unfinished.
local t = require "spec.helper"
local play = require "spec.host.play"
local module = require "spec.world.module"

-- look.add(n) is an effect; look.seen() tells what is recorded of it.
local LOOK = [[
local native, rt = ...
local M = {}
M.add = rt.effect { name = "look.add", class = "idempotent", args = function(n) return { n = n } end,
    describe = function(args) return "add " .. tostring(args.n) end,
    call = function(args)
        if args.n == 0 then rt.raise("zero", "nothing to add") end
        return { n = args.n }
    end, sample = function() return {} end }
M.seen = rt.effect { name = "look.seen", class = "read", args = function() return {} end,
    call = function() return rt.recorded "look.add" end, sample = function() return {} end }
M.unfinished = rt.effect { name = "look.unfinished", class = "read", args = function(id) return { id = id } end,
    call = function(args) return { is = rt.run_unfinished(args.id), known = rt.run_unfinished(args.id) ~= nil } end,
    sample = function() return {} end }
return M
]]

local modules

setup(function() modules = module.build("look", LOOK) end)

local function run(text, options)
    options = options or {}
    options.env = { ROLLOUTHOST_MODULES = modules }
    return play.run('local look, sh = require "rollout.look", require "rollout.sh"\n' .. text, options)
end

describe("rt.recorded", function()
    it("has what ended well, once, in order, with what earlier processes did", function()
        local first = run([[
            step("one", function() look.add(1) pcall(look.add, 0) look.add(2) end)
            step("two", function() look.add(3) sh.run "test -e there" end)
            step("three", function() return look.seen() end)
        ]])
        assert.equal(1, first.code, first.out .. first.err)
        t.write(first.folder .. "/there", "")
        local again = play.again(first, { "resume", env = { ROLLOUTHOST_MODULES = modules } })
        assert.equal(0, again.code, again.out .. again.err)
        local list = again:last("step.end", "three").value
        local shown = {}
        for i, one in ipairs(list) do
            shown[i] = ("%s %s %d"):format(one.key, one.describe, one.result.n)
            assert.truthy(one.time > 1e12)
        end
        assert.same({ "one@1.1 add 1 1", "one@1.3 add 2 2", "two@1.1 add 3 3", "two@2.1 add 3 3" }, shown)
    end)
end)

describe("rt.run_unfinished", function()
    it("knows runs of this state folder", function()
        local ended = run('step("a", function() look.add(1) end)')
        local done = play.id(ended)
        local stopped = run('step("a", function() sh.run "exit 3" end)', { folder = ended.folder })
        local open
        for _, name in ipairs(t.list(ended.state .. "/runs")) do open = name ~= done and name or open end
        assert.equal(1, stopped.code)
        local result = run(('step("a", function() return { look.unfinished %q, look.unfinished %q, look.unfinished "other-1", '
            .. 'look.unfinished "../%s" } end)'):format(done, open, done), { folder = ended.folder })
        assert.equal(6, result.code) -- the stopped run holds the lock
        result = run(('step("a", function() return { look.unfinished %q, look.unfinished %q, look.unfinished "other-1", '
            .. 'look.unfinished "../%s", look.unfinished(run.id) } end)'):format(done, open, done),
            { folder = ended.folder, protected = true })
        assert.equal(0, result.code, result.out .. result.err)
        local value = result:last("step.end", "a").value
        assert.same({ is = false, known = true }, value[1])
        assert.same({ is = true, known = true }, value[2])
        assert.same({ known = false }, value[3])
        assert.same({ known = false }, value[4])
        assert.same({ is = true, known = true }, value[5])
    end)
end)

-- note.change(n) changes, note.look() reads, and after each step the module notes what the file `now` holds.
local NOTE = [[
local native, rt = ...
local M = {}
local function effect(name, class)
    return rt.effect { name = "note." .. name, class = class, args = function(n) return { n = n } end,
        call = function(args)
            if args.n == "fail" then rt.raise("failed", "it failed") end
            return { n = args.n }
        end, sample = function() return {} end }
end
M.change, M.look = effect("change", "unsafe"), effect("look", "read")
M.seen = rt.effect { name = "note.seen", class = "read", args = function() return {} end,
    call = function() return rt.observed "note" end, sample = function() return {} end }
rt.after_step(function(info)
    local sh = rt.require "sh"
    local now = sh.read({ "sh", "-c", "cat now 2>/dev/null || true" }).out
    if now == "raise" then error("no such table") end
    if now == "secret" then return { it = rt.make_secret("hidden", "swordfish-1") } end
    if now == "slow" then sh.read { "sleep", "20" } end
    if now == "nil" then return nil end
    if now == "wild" then return { f = print } end
    return { now = now, changed = info.changed, effects = info.effects, name = info.name, key = info.key }
end)
return M
]]

describe("rt.after_step", function()
    local with

    setup(function() with = { ROLLOUTHOST_MODULES = module.build("note", NOTE) } end)

    local function play_note(text, options)
        options = options or {}
        options.env = with
        text = 'local note, sh = require "rollout.note", require "rollout.sh"\n' .. text
        return (options.start and play.start or play.run)(text, options)
    end

    it("is told of each step that ended, well or not, and of what ran in it", function()
        local result = play_note([[
            stage("S", function() step("reads", function() note.look(1) pcall(note.look, "fail") end) end)
            step("changes", function() note.change(1) note.look(2) sh.run "printf one > now" end)
            step("nothing", function() end)
            step("fails", { on_failure = "alert", retry = { times = 2 } }, function() note.change(3) note.change "fail" end)
            step("seen", function() return note.seen() end)
        ]])
        assert.equal(0, result.code, result.out .. result.err)
        local list = result:last("step.end", "seen").value
        local facts = {}
        for i, one in ipairs(list) do
            assert.truthy(one.time > 1e12)
            assert.equal(one.key, one.facts.key)
            facts[i] = ("%s %s %s [%s]"):format(one.key, one.facts.now, one.facts.changed, table.concat(one.facts.effects, " "))
        end
        assert.same({ "S/reads  false [note.look note.look]", "changes one true [note.change note.look sh.run]",
            "nothing one false []", "fails one true [note.change note.change note.change note.change]" }, facts)
        for _, event in ipairs(result:events "facts") do -- before the end, so that none is without
            local ended = select(2, result:last("step.end", event.key))
            assert.truthy(event.seq < ended.seq)
        end
    end)

    it("gives no facts where it fails or returns none, and the step is what it was", function()
        local result = play_note([[
            step("a", function() sh.run "printf raise > now" return 1 end)
            step("b", function() sh.run "printf wild > now" return 2 end)
            step("c", function() sh.run "printf nil > now" return 3 end)
            step("d", function() sh.run "printf secret > now" return 4 end)
            step("seen", function() sh.run "printf nil > now" return note.seen() end)
        ]])
        assert.equal(0, result.code, result.out .. result.err)
        for key, value in pairs { a = 1, b = 2, c = 3, d = 4 } do
            assert.equal(value, result:last("step.end", key).value)
        end
        local list = result:last("step.end", "seen").value
        assert.equal(1, #list)
        assert.equal("d", list[1].key)
        assert.matches("no such table", result:last("facts", "a").missing.note, 1, true)
        assert.is_string(result:last("facts", "b").missing.note)
        assert.is_nil((result:last("facts", "c")))
        assert.is_nil(result.out:find("swordfish", 1, true))
    end)

    it("is not waited for longer than 5 s", function()
        local result = play_note([[step("a", function() sh.run "printf slow > now" return 1 end)]])
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_string(result:last("facts", "a").missing.note)
        local took = result:last("step.end", "a").ms
        assert.truthy(took >= 4900 and took < 15000, took)
    end)

    it("is not asked long after: after a crash there are no facts of a change that an earlier process made", function()
        local first = play_note([[
            step("reads", function() note.look(1) end)
            step("a", function() note.change(1) sh.read "echo > begun; sleep 2" end)
            step("b", function() note.change(2) end)
            step("seen", function() return note.seen() end)
        ]], { start = true })
        t.eventually("the change on disk", function() return t.exists(first.folder .. "/begun") end)
        first:kill("sigkill")
        first:wait()
        local again = play.again(first, { "resume", env = with })
        assert.equal(0, again.code, again.out .. again.err)
        local keys = {}
        for i, one in ipairs(again:last("step.end", "seen").value) do keys[i] = one.key end
        assert.same({ "reads", "b" }, keys)
        assert.matches("earlier process", again:last("facts", "a").missing.note, 1, true)
    end)

    it("notes what a step of a rollback left, and one that was cancelled for it", function()
        local result = play_note([[
            rollback("undo all", function() step("undo", function() note.change(9) end) end)
            parallel {
                a = function() step("long", function() note.change(1) sh.run { "sleep", "30" } end) end,
                b = function() step("fails", function() sh.run "exit 3" end) end,
            }
        ]])
        assert.equal(3, result.code, result.out .. result.err)
        assert.same({ "note.change", "sh.run" }, result:last("facts", "a/long").facts.note.effects)
        assert.is_table(result:last("facts", "undo all!rollback/undo").facts.note)
    end)
end)
