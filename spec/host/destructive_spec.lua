local play = require "spec.host.play"
local t = require "spec.helper"

local function run(body, environment, more)
    return play.run(('playbook "demo" { environments = { "staging", "production" }%s }\n'):format(more or "") .. body,
        { "--env", environment, raw = true })
end

describe("what destroys data", function()
    it("is refused in a protected environment, with the pattern and the line", function()
        local result = run([[
            local sh = require "rollout.sh"
            step("reset", function() sh.run "touch started; : pnpm db:reset" end)
        ]], "production")
        assert.equal(1, result.code, result.out .. result.err)
        local err = result:last("step.end").error
        assert.matches('it matches "db:reset" and would destroy data', err.message, 1, true)
        assert.matches("demo.lua:3", err.where)
        assert.is_false(t.exists(result.folder .. "/started"))
    end)
    it("is allowed with a reason, and elsewhere", function()
        local body = [[
            local sh = require "rollout.sh"
            step("reset", { %s }, function() sh.run ": pnpm db:reset" end)
        ]]
        assert.equal(0, run(body:format 'destructive = "the cache only"', "production").code)
        assert.equal(0, run(body:format "", "staging").code)
    end)
    it("is also what the header denies", function()
        local result = run([[
            local sh = require "rollout.sh"
            step("seed", function() sh.run { "echo", "db:seed", "--wipe" } end)
        ]], "production", ', deny = { "db:seed --wipe" }')
        assert.equal(1, result.code)
        assert.matches('it matches "db:seed --wipe"', play.message(result), 1, true)
    end)
end)
