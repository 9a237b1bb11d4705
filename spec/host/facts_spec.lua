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
