-- Civil time in a named zone, out of the system's zone files. Instants are milliseconds since 1970.
local host = require "lang.host"

local zone = {}

local WEEKDAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }

-- Days since 1970 of a date (Howard Hinnant's civil calendar arithmetic); month and day may overflow.
function zone.days(year, month, day)
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    if month <= 2 then year = year - 1 end
    local era = year // 400
    local of_era = year - era * 400
    local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

local function date(days)
    local z = days + 719468
    local era = z // 146097
    local of_era = z - era * 146097
    local year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    local of_year = of_era - (365 * year + year // 4 - year // 100)
    local m = (5 * of_year + 2) // 153
    local month = m < 10 and m + 3 or m - 9
    return year + era * 400 + (month <= 2 and 1 or 0), month, of_year - (153 * m + 2) // 5 + 1
end

-- → seconds east of UTC and the abbreviation; nil and why for a zone that does not exist. `tz` nil: the
-- machine's own.
function zone.offset(tz, ms)
    return host.zone_offset(tz, ms // 1000)
end

-- → { year, month, day, hour, minute, second, weekday = 1 (Sunday) … 7, zone = "EST", offset = seconds }
function zone.civil(tz, ms)
    local offset, name = assert(zone.offset(tz, ms))
    local seconds = ms // 1000 + offset
    local days, left = seconds // 86400, seconds % 86400
    local year, month, day = date(days)
    return { year = year, month = month, day = day, hour = left // 3600, minute = left % 3600 // 60,
        second = left % 60, weekday = (days + 4) % 7 + 1, zone = name, offset = offset }
end

-- The instant of a local time given as days since 1970 and seconds of the day. A time that the clock shows
-- twice means the first; one that it skips is as long after midnight as if it had not been (02:30 → 03:30).
function zone.instant(tz, days, seconds)
    local wall = days * 86400 + seconds
    local before = assert(zone.offset(tz, (wall - 86400) * 1000))
    local after = assert(zone.offset(tz, (wall + 86400) * 1000))
    for _, offset in ipairs { math.max(before, after), math.min(before, after) } do
        local at = (wall - offset) * 1000
        if zone.offset(tz, at) == offset then return at end
    end
    return (wall - before) * 1000
end

-- "Tue 2026-11-24 22:00 EST"
function zone.format(tz, ms)
    local c = zone.civil(tz, ms)
    return ("%s %04d-%02d-%02d %02d:%02d %s"):format(WEEKDAYS[c.weekday], c.year, c.month, c.day, c.hour,
        c.minute, c.zone)
end

local DAYS_IN = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- Reads "2026-11-24T22:00", with seconds and an offset ("Z", "-05:00") if there are any; without an offset
-- it is a time in `tz`. → ms and whether it had an offset, or nil and why not.
function zone.parse(text, tz)
    local year, month, day, hour, minute, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d)(.*)$")
    local second, suffix = 0, rest
    if rest and rest:match("^:%d%d") then second, suffix = tonumber(rest:sub(2, 3)), rest:sub(4) end
    local sign, hours, minutes = (suffix or "?"):match("^([-+])(%d%d):?(%d%d)$")
    year, month, day = tonumber(year), tonumber(month), tonumber(day)
    hour, minute = tonumber(hour), tonumber(minute)
    if not year or not (suffix == "" or suffix == "Z" or sign) or month < 1 or month > 12 or day < 1
        or day > DAYS_IN[month] or hour > 23 or minute > 59 or second > 59
        or select(3, date(zone.days(year, month, day))) ~= day then
        return nil, ("%q is no time: write it like 2026-11-24T22:00 or 2026-11-24T22:00-05:00"):format(text)
    end
    local days, seconds = zone.days(year, month, day), hour * 3600 + minute * 60 + second
    if suffix == "" then return zone.instant(tz, days, seconds), false end
    local offset = sign and (tonumber(hours) * 3600 + tonumber(minutes) * 60) * (sign == "-" and -1 or 1) or 0
    return (days * 86400 + seconds - offset) * 1000, true
end

return zone
