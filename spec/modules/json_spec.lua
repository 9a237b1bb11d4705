local t = require "spec.helper"

local function value_of(text)
    local value, problem = t.body(text)
    assert.is_nil(problem, problem and problem.message)
    return value
end

describe("json", function()
    it("keeps integers and floats", function()
        assert.same({ "[9007199254740993,5000,5000.0,0.30000000000000004,-0.0]", true, true }, value_of [[
            local text = json.encode { 9007199254740993, 5000, 5000.0, 0.1 + 0.2, -0.0 }
            local back = json.decode(text)
            return { text, math.type(back[2]) == "integer" and math.type(back[3]) == "float", back[4] == 0.1 + 0.2 }]])
    end)

    it("tells objects, arrays and null apart", function()
        assert.same({ "{}", "[]", '{"a":null,"b":[]}', true, "[]" }, value_of [[
            return { json.encode {}, json.encode(json.array()), json.encode { a = json.null, b = json.array {} },
                json.decode("null") == json.null, json.encode(json.decode "[]") }]])
    end)

    it("sorts keys, and indents", function()
        assert.same({ '{"a":1,"b":2,"c":3}', '{\n  "a": 1\n}' }, value_of [[
            return { json.encode { c = 3, a = 1, b = 2 }, json.encode({ a = 1 }, { pretty = true }) }]])
    end)

    it("refuses what JSON cannot hold, and says where", function()
        for text, why in pairs {
            [ [[json.encode { rows = { { name = print } } }]] ] = "rows",
            [ [[json.encode { 1, 2, a = 3 }]] ] = "mixed",
            [ [[json.encode { 0/0 }]] ] = "json.encode",
            [ [[json.decode "{"]] ] = "line",
            [ [[json.decode "[1,]"]] ] = "line",
            [ [[json.decode(("["):rep(200) .. ("]"):rep(200))]] ] = "json.decode",
            [ [[json.decode(5)]] ] = "string",
        } do
            local body = text:gsub("print", "function() end")
            local _, problem = t.body("return " .. body)
            assert.is_not_nil(problem, text)
            assert.matches(why, problem.message, 1, true)
        end
    end)

    it("is pure: it may stand at the top", function()
        local result = t.play [[
local json = require "rollout.json"
playbook "spec" { environments = { "test" } }
local config = json.decode '{"steps":["a","b"]}'
for _, name in ipairs(config.steps) do
    step(name, function() end)
end
]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("ok", result.ended.b.status)
    end)
end)
