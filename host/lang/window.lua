-- When a stage may begin: `window = { days = "Tue-Thu", from = "22:00", to = "02:00", tz = … }` and
-- `before = "24h"`. Windows do not bind an unwinding.
local host = require "lang.host"
local options = require "lang.options"
local units = require "lang.units"
local zone = require "lang.zone"

local window = {}

local function engine() return require "lang.engine" end

local SPEC = { days = "string|table", from = "string", to = "string", tz = "string", max = "duration" }
local NUMBER = { sun = 1, mon = 2, tue = 3, wed = 4, thu = 5, fri = 6, sat = 7 }
local DAY, WEEK = 86400, 7

local function refuse(where, message, ...)
    options.refuse(where, "window: " .. message:format(...))
end

local function weekday(where, word)
    local name = word:match("^%s*(%a+)%s*$")
    local number = name and NUMBER[name:sub(1, 3):lower()]
    local full = { "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday" }
    if not number or #name > 3 and not full[number]:find(name:lower(), 1, true) then
        refuse(where, "%q is no day: write \"Tue\", \"Tue-Thu\" or { \"Mon\", \"Wed\" }", word)
    end
    return number
end

local function read_days(where, given)
    local days = {}
    for _, item in ipairs(type(given) == "table" and given or { given or "Sun-Sat" }) do
        if type(item) ~= "string" then refuse(where, "days are texts, not %s", type(item)) end
        for part in item:gmatch("[^,]+") do
            local first, last = part:match("^([^-]+)-([^-]+)$")
            local from = weekday(where, first or part)
            local to = last and weekday(where, last) or from
            local day = from
            days[day] = true
            while day ~= to do
                day = day % WEEK + 1
                days[day] = true
            end
        end
    end
    if next(days) == nil then refuse(where, "names no day") end
    return days
end

-- Seconds after midnight.
local function read_time(where, field, text, last)
    local hour, minute = text:match("^(%d%d?):(%d%d)$")
    local seconds = hour and (tonumber(hour) * 60 + tonumber(minute)) * 60
    if not seconds or tonumber(minute) > 59 or seconds > last then
        refuse(where, "%s = %q is no time of the day: write \"22:00\"", field, text)
    end
    return seconds
end

-- A window that can be asked; wrong fields are refused by name. `where` begins the messages.
function window.parse(spec, where)
    local given = options.check(spec, SPEC, where .. ": window")
    if (given.from == nil) ~= (given.to == nil) then refuse(where, "from and to go together") end
    local made = {
        days = read_days(where, given.days), tz = given.tz, max = given.max,
        from = read_time(where, "from", given.from or "00:00", DAY - 60),
        to = read_time(where, "to", given.to or "24:00", DAY),
    }
    if made.from == made.to then refuse(where, "from and to are the same time") end
    if given.tz then
        local known, why = zone.offset(given.tz, host.now())
        if not known then refuse(where, "%s", why) end
    end
    return made
end

-- The openings of the days around `now`, in order: those of days first … last, counted from the day of `now`.
local function openings(made, now, first, last)
    local list = {}
    local c = zone.civil(made.tz, now)
    local today = zone.days(c.year, c.month, c.day)
    for day = today + first, today + last do
        if made.days[(day + 4) % WEEK + 1] then
            local opens = zone.instant(made.tz, day, made.from)
            local closes = zone.instant(made.tz, made.to <= made.from and day + 1 or day, made.to)
            -- A spring night can swallow a short window whole.
            if closes > opens then
                local previous = list[#list]
                if previous and opens <= previous.closes then
                    previous.closes = math.max(previous.closes, closes)
                else
                    list[#list + 1] = { opens = opens, closes = closes }
                end
            end
        end
    end
    return list
end

-- Pure: what a window (parsed) says at `now` for something that takes `need` ms (nil: not known).
-- → { open, fits, closes, opens = when it opens next (and the need fits), text }
function window.check(made, now, need)
    need = need or 0
    local state = { open = false, fits = false }
    for _, one in ipairs(openings(made, now, -2, 9)) do
        if one.opens <= now and now < one.closes then
            state.open, state.closes, state.fits = true, one.closes, now + need <= one.closes
        elseif one.opens > now and not state.opens and one.closes - one.opens >= need then
            state.opens = one.opens
        end
    end
    local next_one = state.opens and "it opens next " .. zone.format(made.tz, state.opens)
        or ("it is never open for the %s that are needed"):format(units.show(need))
    if not state.open then
        state.text = "the window is closed; " .. next_one
    elseif not state.fits then
        state.text = ("the window closes %s, in %s, and the stage with its rollback may need %s; %s"):format(
            zone.format(made.tz, state.closes), units.show(state.closes - now),
            units.show(need), next_one)
    else
        state.text = "the window is open until " .. zone.format(made.tz, state.closes)
    end
    return state
end

local EMERGENCY_ROLE = "technical lead"

local function emergency(name, state)
    local approve = require "lang.approve"
    -- A scope of its own: a resume that finds the window open must not miss this approval in its order.
    local around = engine().scope()
    local scope = engine().container("window", name, around.key .. "/window")
    engine().within(scope, approve.approve, "emergency", {
        role = EMERGENCY_ROLE, evidence = { reason = host.run.emergency, window = state.text, stage = name },
    })
end

-- Called when a stage begins, and again on resume: returns when the stage may go on. `need` is the stage's
-- recorded duration plus the rollback's budget in ms, as far as known. Closed: waits with --wait, asks the
-- technical lead with --emergency, else stops the run. → { closes = ms, deadline = ms or nil (max) }
function window.enter(name, spec, need)
    local where = ("stage %q"):format(name)
    local made = window.parse(spec, where)
    local key = engine().scope().key
    while true do
        local now = host.now()
        local state = window.check(made, now, need)
        if state.open and state.fits then
            engine().record("window", key, { open = true, text = state.text, closes = state.closes })
            return { closes = state.closes, deadline = made.max and now + made.max }
        elseif host.run.emergency then
            emergency(name, state)
            engine().record("window", key, { open = false, emergency = host.run.emergency, text = state.text })
            return { deadline = made.max and now + made.max }
        end
        engine().record("window", key, { open = false, text = state.text, opens = state.opens })
        if not (host.run.wait and state.opens) then
            error(engine().error("stopped", ("%s: %s. Resume it then, or give --wait; in an emergency give "
                .. "--emergency \"reason\""):format(where, state.text),
                { control = true, policy = "stop", detail = { opens = state.opens }, where = engine().blame() }), 0)
        end
        engine().commit()
        engine().idle(("%s: the window opens %s"):format(where, zone.format(made.tz, state.opens)), state.opens,
            function() host.task.sleep_until(state.opens) end)
    end
end

-- The instant that --at names. Without an offset it is read in `tz` (a stage's window's) or, nil, in the
-- machine's zone; two stages that would read it differently are refused. nil where --at was not given.
local read_in
function window.planned(tz, where)
    local text = host.run.at
    if not text then return nil end
    local at, exact = zone.parse(text, tz)
    if not at then options.refuse("--at", exact) end
    if not exact then
        if read_in and read_in.at ~= at then
            options.refuse(where or "--at", ("--at %s means %s here and %s elsewhere: give it with an offset, "
                .. "like %s-05:00"):format(text, zone.format(tz, at), zone.format(read_in.tz, read_in.at), text))
        end
        read_in = { at = at, tz = tz }
    end
    return at
end

-- `before = "24h"`: returns when it is that long before --at, or later. `tz` is the window's zone or nil.
function window.countdown(name, before, tz)
    local where = ("stage %q"):format(name)
    local at = window.planned(tz, where)
    if not at then
        options.refuse(where, ("begins %s before the planned time: give it with --at 2026-11-24T22:00"):format(
            units.show(before)))
    end
    local due = at - before
    engine().record("countdown", engine().scope().key, { due = due, at = at })
    if host.now() >= due then return end
    engine().commit()
    engine().idle(("%s: it begins %s, %s before the planned time"):format(where, zone.format(tz, due),
        units.show(before)), due, function() host.task.sleep_until(due) end)
end

return window
