-- What a user may not see, the server leaves out of its lists without a word, and mariadb-dump out of its dump: a backup would
-- lack it, and its proof too.
local _, rt, schema = ...

local rights = {}

-- Any of a list's rights shows that kind of thing.
local NEEDED = { { "SELECT" }, { "TRIGGER" }, { "EVENT" }, { "EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW CREATE ROUTINE" } }

local function reaches(connection, object, name)
    if object == "*.*" then
        return true
    end
    local pattern = object:match("^`(.*)`%.%*$")
    return pattern and schema.rows(connection, "SELECT ? LIKE ? AS matches", name, (pattern:gsub("``", "`")))[1].matches == 1
end

-- The user's rights on the whole schema, in one text: ",SELECT,EVENT,"; that of a role it has is among them.
local function held(connection, name)
    local all = ","
    for _, row in ipairs(schema.rows(connection, "SHOW GRANTS")) do
        local _, grant = next(row)
        local list, object = grant:match("^GRANT (.-) ON (.-) TO ")
        if list and (reaches(connection, object, name)) then
            all = all .. list:gsub(", ", ",") .. ","
        elseif list and object:find "^`mysql`%." and list:find "SELECT" then
            all = all .. "SHOW CREATE ROUTINE,"
        end
    end
    return all
end

--- Refuses a user from whom something of the schema may be hidden.
function rights.refuse_blind(connection, name)
    local known, all = pcall(held, connection, name)
    if not known or all:find(",ALL PRIVILEGES,", 1, true) then -- a server without grants shows everything
        return
    end
    local missing = {}
    for _, any in ipairs(NEEDED) do
        local found = false
        for _, right in ipairs(any) do
            found = found or all:find("," .. right .. ",", 1, true) ~= nil
        end
        missing[#missing + 1] = not found and any[1] or nil
    end
    if #missing > 0 then
        rt.raise("privileges", string.format("mysql: what the user may not see of %s, a backup would lack without a word, and"
            .. " a restore would leave behind: GRANT %s ON %s.*", name, table.concat(missing, ", "), schema.quote(name)))
    end
end

return rights
