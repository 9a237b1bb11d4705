-- Somebody else's statement, as it may be shown: without its values and comments, on one line, and short.
local rt = ...

local LONGEST = 160

local PLACES = {
    { "%$([%a_]*)%$.-%$%1%$", "?" }, { "[eEnNbBxX]?'[^']*'", "?" }, { "'.*$", "?" }, { "0[xX]%x+", "?" },
    { "%f[%w_.$]%d[%d.]*[eE]?%f[^%w_.]", "?" },
}

--- `quotes`: a string may stand in double quotes.
local function shown(text, quotes)
    text = rt.masked(text):gsub("/%*.-%*/", " "):gsub("%-%-[^\n]*", " "):gsub("%s+", " "):gsub("^ ", "")
    text = text:gsub("\\['\"\\]", ""):gsub("''", "")
    for _, place in ipairs(PLACES) do
        text = text:gsub(place[1], place[2])
    end
    if quotes then
        text = text:gsub('"[^"]*"', "?"):gsub('".*$', "?")
    end
    local length = utf8.len(text)
    if length and length > LONGEST then
        return text:sub(1, utf8.offset(text, LONGEST) - 1) .. "…"
    end
    return length and text or text:sub(1, LONGEST):gsub("[\x80-\xff]", "?")
end

return shown
