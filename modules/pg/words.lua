-- What a statement begins with.

local NESTED = { ["/*"] = 1, ["*/"] = -1 }

-- Where the text goes on behind a comment that begins at `at`; nil: there is none. Comments nest here.
local function behind_comment(sql, at)
    local line = sql:match("^%-%-[^\n]*()", at)
    if line or sql:sub(at, at + 1) ~= "/*" then
        return line
    end
    local depth = 0
    repeat
        local start = sql:find("[/*][*/]", at)
        if not start then
            return #sql + 1
        end
        local step = NESTED[sql:sub(start, start + 1)]
        depth, at = depth + (step or 0), start + (step and 2 or 1)
    until depth == 0
    return at
end

local function word_at(sql, at)
    while true do
        local start = sql:find("[^%s(;]", at) or #sql + 1
        local behind = behind_comment(sql, start)
        if not behind then
            return (sql:match("^%a*", start)):upper(), sql:match("^%a*()", start)
        end
        at = behind
    end
end

--- The first two words, after comments and opening brackets, in capitals; "" where there is none.
return function(sql)
    local first, behind = word_at(sql, 1)
    local second = first ~= "" and word_at(sql, behind) or ""
    return first, second
end
