-- soak: must keep holding for a time. Its clock is the wall's and its measurements are recorded, so that a
-- crash interrupts nothing but the measuring: what the downtime took is a gap, never a pass.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"
local check = require "lang.check"
local expect = require "lang.expect"
local schedule = require "lang.schedule"
local units = require "lang.units"

local SPEC = {
    duration = "duration", every = "duration", schedule = "table",
    failures = { "integer", default = 0 }, unknowns = { "integer", default = 4 },
}
-- Measurements may wait for their commit as long as this.
local UNCOMMITTED = 5000

-- What a check is told of an earlier measurement: measured values by the names of their expectations.
local function values(payload)
    if not payload then return nil end
    local found = {}
    for _, one in ipairs(payload.expectations) do found[one.name] = one.measured end
    return found
end

-- The measurements of this soak that are recorded since it began.
local function recorded(scope, begun)
    local list = {}
    for _, event in ipairs(host.history("check")) do
        if event.key == scope.key and event.seq > begun then list[#list + 1] = event.payload end
    end
    return list
end

local function tripped(scope, state, list, plan)
    engine.commit()
    local what = state.failing > 0 and ("%d failing in a row, %d tolerated"):format(state.failing, scope.opts.failures)
        or ("%d without data in a row, %d tolerated"):format(state.blind, scope.opts.unknowns)
    engine.raise("soak", expect.listing(list, (" (measurement %d, %s of %s; %s)"):format(state.n,
        units.show(state.offset), units.show(plan.duration), what)),
        { expectations = check.plain(list), n = state.n, elapsed = state.offset })
end

-- Counts a measurement, which was recorded with the counts before it; raises where the limit is passed.
local function judge(scope, state, verdict, list, plan)
    state.failing = verdict == "fail" and state.failing + 1 or 0
    state.blind = verdict == "unknown" and state.blind + 1 or 0
    if state.failing > scope.opts.failures or state.blind > scope.opts.unknowns then
        tripped(scope, state, list, plan)
    end
end

local function status(state, plan, last)
    return ("%d of %d measured, %s of %s: %s"):format(state.n, state.planned, units.show(state.offset),
        units.show(plan.duration), last.text)
end

local function run(scope, body, plan)
    local _, begun, start = host.recall("soak.begin", scope.key)
    local earlier = scope.resumed and recorded(scope, begun) or {}
    local first, previous = earlier[1], earlier[#earlier]
    local state = { n = 0, failing = 0, blind = 0, gaps = 0, offset = 0, planned = schedule.count(plan) }
    for key in pairs(state) do
        if previous then state[key] = previous[key] end
    end
    if previous then judge(scope, state, previous.verdict, previous.expectations, plan) end
    local committed = host.mono()
    while true do
        -- It ends with a measurement that passes: a tolerated failure at the very end is measured again.
        if previous and previous.verdict == "pass" and not schedule.after(plan, state.offset) then
            return { measured = state.n, planned = state.planned, gaps = state.gaps,
                expectations = previous.expectations }
        end
        local due = previous and (schedule.after(plan, state.offset) or state.offset + plan.legs[#plan.legs].every) or 0
        local now = host.now()
        if start + due > now then
            if start + due - now > UNCOMMITTED or host.mono() - committed > UNCOMMITTED then
                engine.commit()
                committed = host.mono()
            end
            engine.idle(status(state, plan, previous), start + math.max(plan.duration, due),
                function() host.task.sleep_until(start + due) end)
            engine.pause_point()
        else
            -- Planned measurements that nobody was there to make.
            local later = schedule.after(plan, due)
            while later and start + later <= now do
                state.gaps, due = state.gaps + 1, later
                later = schedule.after(plan, due)
            end
        end
        state.n, state.offset = state.n + 1, due
        local told = { n = state.n, elapsed = host.now() - start, first = values(first), previous = values(previous) }
        local facts = { n = state.n, offset = due, gaps = state.gaps, planned = state.planned,
            failing = state.failing, blind = state.blind }
        local verdict, list, payload = check.measure(scope, body, facts, told)
        first, previous = first or payload, payload
        judge(scope, state, verdict, list, plan)
    end
end

engine.verb("soak", function(name, opts, body)
    opts, body = options.verb("soak", name, opts, body, SPEC)
    local where = ("soak %q"):format(name)
    local plan = schedule.parse(opts, where)
    if opts.failures < 0 or opts.unknowns < 0 then options.refuse(where, "failures and unknowns are not negative") end
    local value = engine.unit {
        kind = "soak", name = name, opts = opts, body = body,
        facts = { duration = plan.duration, planned = schedule.count(plan) },
        run = function(scope) return run(scope, body, plan) end,
    }
    return value ~= nil
end)
