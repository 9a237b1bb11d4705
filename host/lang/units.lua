-- Durations ("90s" "1h30m" "250ms") in milliseconds and sizes ("64MiB") in bytes.
local units = {}

local MS = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }
local BYTES = {
    B = 1, kB = 1e3, MB = 1e6, GB = 1e9, TB = 1e12,
    KiB = 1 << 10, MiB = 1 << 20, GiB = 1 << 30, TiB = 1 << 40,
}
local LONGEST = 10 * 365 * MS.d

-- → milliseconds, or nil and why not.
function units.duration(value)
    if type(value) == "number" then
        return nil, ("%s has no unit: write \"%ss\" or \"%sm\""):format(value, value, value)
    elseif type(value) ~= "string" then
        return nil, "a duration is text like \"90s\", \"15m\", \"1h30m\", \"7d\", not a " .. type(value)
    end
    local total, at, last = 0, 1, math.huge
    while at <= #value do
        local number, unit, after = value:match("^(%d+%.?%d*)(%a+)()", at)
        local factor = MS[unit]
        if not factor or factor >= last then
            return nil, ("%q is no duration: write it like \"90s\", \"15m\", \"1h30m\", \"7d\""):format(value)
        end
        total, last, at = total + tonumber(number) * factor, factor, after
    end
    if value == "" then
        return nil, "an empty text is no duration: write it like \"90s\""
    elseif total > LONGEST then
        return nil, ("%q is longer than ten years"):format(value)
    end
    return math.floor(total + 0.5)
end

-- → bytes, or nil and why not.
function units.size(value)
    if type(value) == "number" then
        return nil, ("%s has no unit: write \"%sB\" or \"%sMiB\""):format(value, value, value)
    elseif type(value) ~= "string" then
        return nil, "a size is text like \"512KiB\", \"64MiB\", \"2GiB\", not a " .. type(value)
    end
    local number, unit = value:match("^(%d+%.?%d*)%s?(%a+)$")
    if not BYTES[unit] then
        return nil, ("%q is no size: write it like \"512KiB\", \"64MiB\", \"2GiB\""):format(value)
    end
    local bytes = tonumber(number) * BYTES[unit]
    if bytes >= 2 ^ 62 then return nil, ("%q is more than any disk holds"):format(value) end
    return math.floor(bytes + 0.5)
end

-- Milliseconds as a person writes them: the two largest units that matter ("1h30m", "2d4h", "250ms").
function units.show(ms)
    if ms < 0 then return "-" .. units.show(-ms) end
    ms = math.floor(ms + 0.5)
    if ms < 1000 then return ms .. "ms" end
    if ms < 10000 and ms % 1000 ~= 0 then return ("%.1fs"):format(ms / 1000) end
    local seconds, parts = ms // 1000, {}
    for _, unit in ipairs { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } } do
        local count = seconds // unit[2]
        if count > 0 then
            parts[#parts + 1] = count .. unit[1]
            seconds = seconds % unit[2]
        elseif #parts == 1 then
            break
        end
        if #parts == 2 then break end
    end
    return table.concat(parts)
end

return units
