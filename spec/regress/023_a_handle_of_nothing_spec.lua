-- An optional variable that is not there gave a handle of nothing: pg said "error", mysql no line, and Slack nothing before the
-- first message.
local play = require "spec.host.play"

describe("a handle of nothing", function()
    for call, part in pairs { ["pg.database"] = "postgresql://", ["mysql.database"] = "mysql://", ["slack.webhook"] = "URL" } do
        it("is refused by " .. call .. " with its line", function()
            local name = call:match "^%a+"
            local result = play.run(([[
                local %s, cfg = require "rollout.%s", env.require { NOT_THERE = { optional = true } }
                %s(cfg.NOT_THERE)
            ]]):format(name, name, call))
            assert.equal(2, result.code, result.out)
            local message = play.message(result)
            assert.matches(call .. ": expects", message, 1, true)
            assert.matches(part, message, 1, true)
            assert.matches("%.lua:%d+: ", message)
        end)
    end
end)
