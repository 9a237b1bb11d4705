-- When a soak measures: offsets in ms from its start, the first at once, the last at its end.
local options = require "lang.options"

local schedule = {}

-- From `duration` and `every`, or from `schedule` { {"1h", every="15m"}, {"6h", every="1h"}, … } whose times
-- count from the start. → { legs = { { till, every } … }, duration }
function schedule.parse(opts, where)
    local made = { legs = {} }
    if opts.schedule then
        if opts.duration or opts.every then
            options.refuse(where, "give either schedule, or duration and every")
        elseif #opts.schedule == 0 then
            options.refuse(where, "schedule is empty")
        end
        local before = 0
        for i, leg in ipairs(opts.schedule) do
            local one = options.check(leg, { [1] = { "duration", required = true },
                every = { "duration", required = true } }, ("%s: schedule[%d]"):format(where, i))
            if one[1] <= before then
                options.refuse(where, ("schedule[%d]: its time counts from the start, so it is longer than the "
                    .. "one before"):format(i))
            end
            made.legs[i] = { till = one[1], every = one.every }
            before = one[1]
        end
    elseif opts.duration and opts.every then
        made.legs[1] = { till = opts.duration, every = opts.every }
    else
        options.refuse(where, "needs duration = \"1h\" and every = \"1m\", or a schedule")
    end
    for _, leg in ipairs(made.legs) do
        if leg.every < 1 or leg.till < 1 then options.refuse(where, "durations are longer than 0s") end
    end
    made.duration = made.legs[#made.legs].till
    return made
end

-- The first planned offset after `offset`; nil when the end was measured.
function schedule.after(made, offset)
    local from = 0
    for _, leg in ipairs(made.legs) do
        if offset < leg.till then
            local base = math.max(offset, from)
            return math.min(from + ((base - from) // leg.every + 1) * leg.every, leg.till)
        end
        from = leg.till
    end
end

-- How many measurements are planned in all.
function schedule.count(made)
    local count, from = 1, 0
    for _, leg in ipairs(made.legs) do
        count, from = count + (leg.till - from + leg.every - 1) // leg.every, leg.till
    end
    return count
end

return schedule
