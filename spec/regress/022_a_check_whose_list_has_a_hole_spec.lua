-- A helper that forgot its return made the first of { helper(), expect(…) } nil; the gate passed with nothing measured. A second
-- list, or what had a name, was not looked at either.
local play = require "spec.host.play"

local HEAD = [[
local function forgot() expect("a", 1):below(0) end
local good, bad = function() return expect("good", 1):below(2) end, function() return expect("bad", 5):below(1) end
]]

describe("a check", function()
    for name, body in pairs {
        ["a hole at the beginning"] = "{ forgot(), good() }",
        ["a hole"] = "{ good(), nil, good() }",
        ["a name"] = "{ good(), more = good() }",
        ["an empty list in it"] = "{ good(), {} }",
        ["nothing behind a list"] = "{ good() }, nil",
    } do
        it("with " .. name .. " is an error of the playbook", function()
            local result = play.run(HEAD .. 'gate("it", function() return ' .. body .. " end)")
            assert.equal(1, result.code, result.out)
            assert.matches("an expectation should be", play.message(result), 1, true)
        end)
    end
    for name, body in pairs {
        ["in a second list"] = "{ good() }, { bad() }", ["behind a list"] = "{ good() }, bad()",
        ["in a list of a list"] = "{ good(), { good(), bad() }, good() }", ["in lists only"] = "{ { good() }, { { bad() } } }",
    } do
        it("looks at what stands " .. name, function()
            local result = play.run(HEAD .. 'gate("it", function() return ' .. body .. " end)")
            assert.equal(1, result.code, result.out)
            assert.matches("bad is 5, not below 1", play.message(result), 1, true)
        end)
    end
    it("takes lists in a list, and judges a step's done by them", function()
        local result = play.run(HEAD .. [[
            local json = require "rollout.json"
            gate("it", function() return { good(), { good(), json.array { good() } } } end)
            step("not done", { done = function() return { { good() }, { bad() } } end }, function() note "did it" end)
            step("done", { done = function() return { { good() } } end }, function() fail "never" end)
        ]])
        assert.equal(0, result.code, result.out)
        assert.matches("did it", result.out)
        local hole = play.run(HEAD .. 'step("it", { done = function() return { forgot(), good() } end }, function() end)')
        assert.equal(1, hole.code, hole.out)
    end)
end)
