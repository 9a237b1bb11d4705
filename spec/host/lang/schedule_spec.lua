local stub = dofile("spec/host/lang/stub.lua")
local schedule = require "lang.schedule"

local S, M, H = 1000, 60000, 3600000

local function offsets(made)
    local list, at = { 0 }, 0
    while true do
        at = schedule.after(made, at)
        if not at then return list end
        list[#list + 1] = at
    end
end

describe("a soak's schedule", function()
    it("measures at once, at each interval and at the end", function()
        local made = schedule.parse({ duration = 10 * S, every = 4 * S }, "soak")
        assert.same({ 0, 4 * S, 8 * S, 10 * S }, offsets(made))
        assert.equal(4, schedule.count(made))
    end)
    it("widens", function()
        local made = schedule.parse({ schedule = { { "1h", every = "15m" }, { "6h", every = "1h" } } }, "soak")
        assert.same({ 0, 15 * M, 30 * M, 45 * M, H, 2 * H, 3 * H, 4 * H, 5 * H, 6 * H }, offsets(made))
        assert.equal(10, schedule.count(made))
        assert.equal(6 * H, made.duration)
    end)
    it("goes on from any offset", function()
        local made = schedule.parse({ schedule = { { "1h", every = "15m" }, { "6h", every = "1h" } } }, "soak")
        assert.equal(2 * H, schedule.after(made, H + 5 * M))
        assert.equal(15 * M, schedule.after(made, 7 * M))
        assert.is_nil(schedule.after(made, 6 * H))
    end)
    it("is refused when it cannot be meant", function()
        for _, opts in ipairs {
            {}, { duration = S }, { every = S }, { duration = S, every = 0 }, { schedule = {} },
            { schedule = { { "1h" } } }, { schedule = { { "1h", every = "1m" }, { "1h", every = "2m" } } },
            { schedule = { { "1h", every = "1m" } }, duration = S, every = S }, { schedule = { { 1, every = "1m" } } },
        } do
            assert.equal("usage", stub.raised(schedule.parse, opts, "soak").code)
        end
    end)
end)
