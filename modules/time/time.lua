-- time: points in time are integers, milliseconds since 1970; durations are milliseconds too. All but `now` is pure.
local native, rt = ...

local time = {}

local DAY = 86400000

-- The clock, recorded: a resumed run gets what it got the first time.
time.now = rt.effect {
    name = "time.now",
    class = "read",
    args = function()
        return {}
    end,
    describe = function()
        return "the time"
    end,
    call = function()
        return native.now()
    end,
    sample = function()
        return native.now()
    end,
}

-- Days since 1970-01-01 of a date of the Gregorian calendar, and back: years are counted from March, so that the
-- leap day is the last of its year.
local function days_of(year, month, day)
    local y = month <= 2 and year - 1 or year
    local of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * y + y // 4 - y // 100 + y // 400 + of_year - 719468
end

local function date_of(days)
    local z = days + 719468
    local era = z // 146097
    local of_era = z - era * 146097
    local year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    local of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    local shifted = (5 * of_year + 2) // 153
    local month = shifted < 10 and shifted + 3 or shifted - 9
    local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
    return year, month, of_year - (153 * shifted + 2) // 5 + 1
end

local function month_length(year, month)
    local after_year, after_month = year, month + 1
    if after_month == 13 then
        after_year, after_month = year + 1, 1
    end
    return days_of(after_year, after_month, 1) - days_of(year, month, 1)
end

-- "+05:30", "-0800", "Z" → milliseconds, or nil.
local function offset_of(text)
    if text == "Z" or text == "z" then
        return 0
    end
    local sign, hours, minutes = text:match("^([+-])(%d%d):?(%d%d)$")
    if not sign or tonumber(hours) > 14 or tonumber(minutes) > 59 then
        return nil
    end
    local offset = (tonumber(hours) * 60 + tonumber(minutes)) * 60000
    return sign == "-" and -offset or offset
end

local function refuse(where, text, why)
    rt.raise("usage", ("%s: %q %s"):format(where, tostring(text), why))
end

local function milliseconds(value, where)
    local number = math.type(value) and math.tointeger(value)
    if not number then
        rt.raise("usage", where .. ": expected whole milliseconds, not " .. tostring(value))
    end
    return number
end

-- ISO 8601: "2026-11-20T09:30:00Z"; milliseconds are shown where there are any, or with ms = true.
-- offset = "+01:00" shows the time there; date = true the date alone.
function time.format(at, options)
    local given = rt.options(options or {}, { offset = "string", ms = "boolean", date = "boolean" }, "time.format")
    at = milliseconds(at, "time.format")
    local offset = 0
    if given.offset then
        offset = offset_of(given.offset)
            or refuse("time.format", given.offset, 'is no offset such as "+01:00" or "Z"')
    end
    local here = at + offset
    local year, month, day = date_of(here // DAY)
    local date = ("%04d-%02d-%02d"):format(year, month, day)
    if given.date then
        return date
    end
    local rest = here % DAY
    local text = ("%sT%02d:%02d:%02d"):format(date, rest // 3600000, rest // 60000 % 60, rest // 1000 % 60)
    if given.ms or rest % 1000 ~= 0 then
        text = ("%s.%03d"):format(text, rest % 1000)
    end
    if not given.offset or given.offset:upper() == "Z" then
        return text .. "Z"
    end
    local minutes = math.abs(offset) // 60000
    return ("%s%s%02d:%02d"):format(text, offset < 0 and "-" or "+", minutes // 60, minutes % 60)
end

local function fields(text)
    local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not year then
        return nil
    end
    if rest == "" then
        return year, month, day, "00", "00", "00", "", "Z"
    end
    local hour, minute, second, after = rest:match("^[Tt ](%d%d):(%d%d):(%d%d)(.*)$")
    if not hour then
        hour, minute, after = rest:match("^[Tt ](%d%d):(%d%d)(.*)$")
        second = "00"
    end
    if not hour then
        return nil
    end
    local fraction, zone = after:match("^[.,](%d+)(.*)$")
    return year, month, day, hour, minute, second, fraction or "", zone or after
end

-- The reverse: with Z or an offset, since a time without one means another moment on every machine. A date alone is
-- its first moment in UTC.
function time.parse(text)
    if type(text) ~= "string" then
        rt.raise("usage", "time.parse: expected a string, not a " .. type(text))
    end
    local year, month, day, hour, minute, second, fraction, zone = fields(text)
    if not year then
        refuse("time.parse", text, 'is no time such as "2026-11-20T09:30:00Z"')
    elseif zone == "" then
        refuse("time.parse", text, 'says no offset: end it with "Z" or "+01:00"')
    end
    local offset = offset_of(zone)
    year, month, day = tonumber(year), tonumber(month), tonumber(day)
    hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
    if not offset then
        refuse("time.parse", text, "has no offset that is known: Z, +01:00 or -0800")
    elseif month < 1 or month > 12 or day < 1 or day > month_length(year, month)
        or hour > 23 or minute > 59 or second > 60 then
        refuse("time.parse", text, "is no moment of the calendar")
    end
    local ms = tonumber((fraction .. "000"):sub(1, 3))
    return days_of(year, month, day) * DAY + ((hour * 60 + minute) * 60 + second) * 1000 + ms - offset
end

-- "90s", "15m", "1h30m" → milliseconds.
function time.duration(text)
    return rt.duration(text)
end

-- For people: "1h30m", "2.5s", "90ms": the two largest units.
function time.format_duration(ms)
    return rt.show_duration(milliseconds(ms, "time.format_duration"))
end

return time
