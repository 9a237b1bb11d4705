-- migrate_statements: a file of SQL as its statements, each with the line it begins at, so that what fails has a place. It
-- knows what ends a statement in PostgreSQL and in MariaDB: not a semicolon in a text, a name, a comment or a function's body.
local statements = {}

-- Where a text, a name or a comment that begins at `at` ends: the position after it, or nil where none begins there. An
-- open one ends with the file.
local function quoted(sql, at, mark, escapes)
    local from = at + 1
    while true do
        local found = sql:find(escapes and "[" .. mark .. "\\]" or mark, from)
        if not found then
            return #sql + 1
        elseif sql:sub(found, found) == "\\" then
            from = found + 2
        elseif sql:sub(found + 1, found + 1) == mark then
            from = found + 2
        else
            return found + 1
        end
    end
end

local function line_comment(sql, at)
    return sql:find("\n", at, true) or #sql + 1
end

local function block_comment(sql, at, nested)
    local depth, from = 0, at
    repeat
        local open, close = sql:find("/*", from, true), sql:find("*/", from, true)
        if not close then
            return #sql + 1
        elseif open and open < close and (nested or depth == 0) then
            depth, from = depth + 1, open + 2
        else
            depth, from = depth - 1, close + 2
        end
    until depth <= 0
    return from
end

local function dollar_quoted(sql, at)
    local tag = sql:match("^%$[%a_\128-\255]?[%w_\128-\255]*%$", at)
    if not tag or at > 1 and sql:sub(at - 1, at - 1):find("[%w_]") then
        return nil
    end
    local _, last = sql:find(tag, at + #tag, true)
    return last and last + 1 or #sql + 1
end

local skip = {}

function skip.pg(sql, at, character)
    if character == "'" then
        return quoted(sql, at, "'", sql:sub(at - 1, at - 1):find("[eE]") and not sql:sub(at - 2, at - 2):find("[%w_]"))
    elseif character == '"' then
        return quoted(sql, at, '"')
    elseif character == "$" then
        return dollar_quoted(sql, at)
    elseif sql:find("^%-%-", at) then
        return line_comment(sql, at)
    elseif sql:find("^/%*", at) then
        return block_comment(sql, at, true)
    end
end

function skip.mysql(sql, at, character)
    if character == "'" or character == '"' then
        return quoted(sql, at, character, true)
    elseif character == "`" then
        return quoted(sql, at, "`")
    elseif character == "#" or sql:find("^%-%-[%s%c]", at) or sql:find("^%-%-$", at) then
        return line_comment(sql, at)
    elseif sql:find("^/%*", at) then
        return block_comment(sql, at)
    end
end

-- The words that begin and end a body which holds semicolons of its own: BEGIN ATOMIC … END in PostgreSQL.
local function depth_of(word, depth, before)
    if word == "ATOMIC" and before == "BEGIN" then
        return depth + 1
    elseif depth > 0 and word == "CASE" then
        return depth + 1
    elseif depth > 0 and word == "END" then
        return depth - 1
    end
    return depth
end

local function count_lines(sql, from, to)
    local count = 0
    for _ in sql:sub(from, to):gmatch("\n") do
        count = count + 1
    end
    return count
end

-- DELIMITER // is the client's own, not the server's: it stands on a line of its own, between statements.
local function delimiter_at(sql, at)
    local word, rest = sql:match("^(%a+)[ \t]+(%S+)[ \t\r]*()", at)
    if word and word:upper() == "DELIMITER" then
        return rest, line_comment(sql, at)
    end
end

-- The statement without the comments and blanks that stand before it, and where it begins.
local function trimmed(sql, from, to, kind)
    local at = from
    while true do
        at = sql:find("%S", at)
        if not at or at > to then
            return nil
        end
        local character = sql:sub(at, at)
        local executable = kind == "mysql" and sql:find("^/%*M?!", at)
        local after = not executable and character ~= "'" and character ~= '"' and character ~= "`" and character ~= "$"
            and skip[kind](sql, at, character)
        if not after then
            return sql:sub(at, to):gsub("%s+$", ""), at
        end
        at = after
    end
end

--- { { text, line }, … } of a file for `kind` ("pg" or "mysql").
function statements.split(sql, kind)
    sql = sql:gsub("^\239\187\191", "") -- a byte order mark
    local list, from, at, delimiter, depth, before = {}, 1, 1, ";", 0, nil
    local line, counted = 1, 1
    -- Only these words change what ends a statement; without them all others are passed over at once.
    local worded = sql:upper():find(kind == "pg" and "ATOMIC" or "DELIMITER", 1, true) ~= nil
    local function add(to)
        local text, begins = trimmed(sql, from, to, kind)
        if text then
            line, counted = line + count_lines(sql, counted, begins - 1), begins
            list[#list + 1] = { text = text, line = line }
        end
    end
    while at <= #sql do
        local character = sql:sub(at, at)
        local after = skip[kind](sql, at, character)
        local word = worded and not after and sql:match("^[%a_][%w_]*", at)
        if after then
            at = after
        elseif word then
            local new, next_line
            if kind == "mysql" and not trimmed(sql, from, at - 1, kind) then
                new, next_line = delimiter_at(sql, at)
            end
            if new then
                delimiter, from, at = new, next_line, next_line
            else
                word = word:upper()
                depth, before = kind == "pg" and depth_of(word, depth, before) or 0, word
                at = at + #word
            end
        elseif depth == 0 and sql:sub(at, at + #delimiter - 1) == delimiter then
            add(at - 1)
            at = at + #delimiter
            from = at
        else
            at = worded and at + 1 or sql:find("['\"`$%-/#;]", at + 1) or #sql + 1
        end
    end
    add(#sql)
    return list
end

--- The first word of a statement, in capitals.
function statements.first_word(text)
    return (text:match("^[%s(]*(%a*)") or ""):upper()
end

return statements
