-- Lua 5.4.4 keeps a pointer into the old stack where `"a" .. secret .. "b"` calls __concat just when the stack has to grow: by the
-- depth of the calls around it, a URL with a password in its middle was "attempt to call a nil value", a wrong text, or the host
-- aborted ("malloc(): invalid next size").
local t = require "spec.helper"

local PLAYBOOK = [[
local sh = require "rollout.sh"
playbook "demo" { environments = { "staging" } }
local word = secret "WORD"
local function deep(depth, middle)
    if depth == 0 then return tostring("a" .. middle .. "b" .. "c") end
    local text = deep(depth - 1, middle)
    return text
end
local function all(middle)
    local seen = {}
    for depth = 0, 170 do
        seen[deep(depth, middle)] = true
        seen[coroutine.wrap(deep)(depth, middle)] = true
    end
    local texts = {}
    for text in pairs(seen) do texts[#texts + 1] = text end
    return table.concat(texts, " ")
end
note(all(word))
step("secret", function() return all(word) end)
step("known after run", function() sh.run("echo '" .. all(sh.read("echo x").out:sub(1, 1)) .. "'") end)
]]

describe("a secret in the middle of a text", function()
    it("is there, however deep the call", function()
        local result = t.play(PLAYBOOK, { env = { WORD = "sesame" } })
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("a‹secret WORD›bc", result.ended.secret.value)
    end)

    it("is there in a plan, as what is not known yet is", function()
        local path, folder = t.playbook(PLAYBOOK, "demo")
        local result = t.host { "plan", path, cwd = folder, state = folder .. "/state", env = { WORD = "sesame" } }
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("→ echo 'a‹known after run›bc'", result.out, 1, true)
    end)
end)
