-- What the reads for gates find in MariaDB and MySQL: tables and what belongs to them. How the server is doing is in
-- health.lua; how it is asked for and judged, in modules/database/inspect.lua.
--
-- A name is as the schema has it, without quotes: "clients", or "billing.invoices" of another schema.
local native, rt = ...

local reads = rt.native("database").reads
local M = {}

local null = rt.json.null

local function quote(name)
    return "`" .. name:gsub("`", "``") .. "`"
end

local function full(row)
    return quote(row.schema) .. "." .. quote(row.name)
end

local function value(found)
    if found == null then
        return nil
    end
    return found
end

-- ---- finding ----

local USER = "table_schema = DATABASE() AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$'"
local TABLES = "SELECT table_schema AS `schema`, table_name AS name, table_type AS kind FROM information_schema.tables WHERE "

-- Whether the user would see a table of the schema if there were one.
local function sees_all(query)
    local row = query("SELECT (SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'SELECT')"
        .. " + (SELECT COUNT(*) FROM information_schema.schema_privileges WHERE privilege_type = 'SELECT'"
        .. " AND DATABASE() LIKE table_schema) AS n")[1]
    return tonumber(row.n) > 0
end

local function not_there(query, name)
    local names = {}
    for i, row in ipairs(query(TABLES .. USER)) do
        names[i] = row.name
    end
    local hint = rt.suggest(name, names)
    if sees_all(query) then
        rt.raise("missing", ("there is no table %s%s"):format(name, hint and ": " .. hint or ""))
    end
    rt.raise("access_denied", ("there is no table %s that this user may see: GRANT SELECT ON the schema shows all%s"):format(name,
        hint and ": " .. hint or ""))
end

--- The table (or view) of that name. information_schema compares without case, the server perhaps not.
local function find(query, name)
    local schema, bare = name:match("^(.-)%.(.+)$")
    local rows = query(TABLES .. "(table_schema = DATABASE() AND table_name = ?) OR (table_schema = ? AND table_name = ?)", name,
        schema or "", bare or "")
    for _, row in ipairs(rows) do
        if row.name == name or row.schema .. "." .. row.name == name then
            return row
        end
    end
    if rows[1] and tonumber(query("SELECT @@lower_case_table_names AS n")[1].n) > 0 then
        return rows[1]
    end
    not_there(query, name)
end

-- A condition on tables: those that were named, or all of the schema.
local function of_tables(query, names)
    if #names == 0 then
        return USER
    end
    local parts = {}
    for i, name in ipairs(names) do
        local row = find(query, name)
        parts[i] = ("(table_schema = '%s' AND table_name = '%s')"):format(row.schema:gsub("['\\]", "%0%0"),
            row.name:gsub("['\\]", "%0%0"))
    end
    return "(" .. table.concat(parts, " OR ") .. ")"
end

-- ---- columns ----

-- MariaDB writes a default as SQL does, NULL by its name.
local function default_of(row)
    local found = value(row.expression)
    if found == "NULL" then
        return nil
    end
    return found
end

function M.columns(query, where)
    local tab, found = find(query, where[1]), {}
    for _, row in ipairs(query([[SELECT column_name AS name, column_type AS type, is_nullable AS nullable,
        column_default AS expression, extra AS extra, generation_expression AS generated, ordinal_position AS position
        FROM information_schema.columns WHERE table_schema = ? AND table_name = ?]], tab.schema, tab.name)) do
        local generated = value(row.generated)
        found[row.name] = {
            type = row.type, nullable = row.nullable == "YES", position = row.position, default = default_of(row),
            generated = generated ~= "" and generated or nil,
            identity = row.extra:find("auto_increment", 1, true) and "by default" or nil,
        }
    end
    return found
end

-- ---- indexes and constraints ----

-- By name; where several tables have one of that name, with the table's. Rows of one thing follow each other.
local function by_name(rows, make)
    local found, of = {}, {}
    for _, row in ipairs(rows) do
        local id = row.tab .. "\0" .. row.item
        if not of[id] then
            of[id] = make(row)
            found[found[row.item] and row.item .. " on " .. row.tab or row.item] = of[id]
        end
        if value(row.part) then
            table.insert(of[id].columns, row.part)
        end
    end
    return found
end

function M.indexes(query, where)
    return by_name(query([[SELECT table_name AS tab, index_name AS item, non_unique AS repeats, index_type AS method,
        CASE WHEN sub_part IS NULL THEN column_name ELSE CONCAT(column_name, '(', sub_part, ')') END AS part
        FROM information_schema.statistics WHERE ]] .. of_tables(query, where) .. " ORDER BY index_name, table_name, seq_in_index"),
        function(row)
            return { columns = rt.json.array {}, unique = row.repeats == 0, primary = row.item == "PRIMARY", valid = true,
                method = row.method:lower(), table = row.tab }
        end)
end

function M.constraints(query, where)
    local condition = of_tables(query, where):gsub("table_", "c.table_")
    local found = by_name(query([[SELECT c.table_name AS tab, c.constraint_name AS item, LOWER(c.constraint_type) AS kind,
        k.column_name AS part, k.referenced_table_name AS parent,
        (SELECT GROUP_CONCAT(r.referenced_column_name ORDER BY r.ordinal_position SEPARATOR ', ')
            FROM information_schema.key_column_usage r WHERE r.constraint_schema = c.constraint_schema
            AND r.constraint_name = c.constraint_name AND r.table_name = c.table_name) AS refers
        FROM information_schema.table_constraints c LEFT JOIN information_schema.key_column_usage k
            ON k.constraint_schema = c.constraint_schema AND k.constraint_name = c.constraint_name AND k.table_name = c.table_name
        WHERE ]] .. condition .. " ORDER BY c.constraint_name, c.table_name, k.ordinal_position"), function(row)
        return { kind = row.kind, columns = rt.json.array {}, valid = true, table = row.tab,
            references = value(row.parent) and row.parent .. "(" .. row.refers .. ")" or nil }
    end)
    return found
end

-- ---- enums and views ----

function M.enum(query, where)
    if not where[2] then
        rt.raise("usage", "db:enum: a type is a column's here: db:enum(table, column)")
    end
    local tab = find(query, where[1])
    local row = query("SELECT column_type AS type FROM information_schema.columns WHERE table_schema = ? AND table_name = ?"
        .. " AND column_name = ?", tab.schema, tab.name, where[2])[1]
    local inside = row and (row.type:match("^enum(%b())$") or row.type:match("^set(%b())$"))
    if not inside then
        rt.raise("missing", ("%s has no column %s of an enum type"):format(where[1], where[2]))
    end
    local labels = {}
    for label in inside:sub(2, -2):gsub("''", "\0"):gmatch "'([^']*)'" do
        labels[#labels + 1] = (label:gsub("%z", "'"))
    end
    return rt.json.array(labels)
end

-- A view whose tables are gone says so where others have their comment, if the server looks into it for the row counts.
function M.views(query)
    local found = {}
    for _, row in ipairs(query("SELECT table_name AS name, table_comment AS comment, table_rows AS n"
        .. " FROM information_schema.tables"
        .. " WHERE table_schema = DATABASE() AND table_type = 'VIEW'")) do
        found[row.name] = { columns = rt.json.array {}, materialized = false, valid = row.comment == "VIEW" }
    end
    for _, row in ipairs(query("SELECT table_name AS tab, column_name AS name FROM information_schema.columns"
        .. " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position")) do
        if found[row.tab] then
            table.insert(found[row.tab].columns, row.name)
        end
    end
    return found
end

-- ---- rows ----

local BATCH = 200

function M.row_counts(query, where, expected)
    local names, tables = table.move(where, 1, #where, 1, {}), {}
    for _, pair in ipairs(expected or {}) do
        names[#names + 1] = pair[1]
    end
    for i, name in ipairs(names) do
        tables[i] = { name = name, row = find(query, name) }
    end
    if #names == 0 then
        for i, row in ipairs(query(TABLES .. USER .. " AND table_type <> 'VIEW' AND table_type <> 'SEQUENCE'")) do
            tables[i] = { name = row.name, row = row }
        end
    end
    return reads.row_counts(query, tables, full, BATCH, {})
end

local function column(query, tab, name)
    local names = {}
    for i, row in ipairs(query("SELECT column_name AS name FROM information_schema.columns WHERE table_schema = ?"
        .. " AND table_name = ?", tab.schema, tab.name)) do
        if row.name == name then
            return quote(name)
        end
        names[i] = row.name
    end
    local hint = rt.suggest(name, names)
    rt.raise("missing", ("%s has no column %s%s"):format(tab.name, name, hint and ": " .. hint or ""))
end

function M.backfilled(query, where)
    local tab = find(query, where[1])
    local to = column(query, tab, where[#where])
    local from = where[3] and column(query, tab, where[2]) .. " IS NOT NULL" or "TRUE"
    return (query(([[SELECT COUNT(*) AS `rows`, COUNT(CASE WHEN %s THEN 1 END) AS `from`, COUNT(CASE WHEN %s AND %s IS NULL THEN 1
        END) AS missing, COUNT(CASE WHEN %s AND CAST(%s AS CHAR) = '' THEN 1 END) AS empty FROM %s]]):format(from, from, to, from,
        to, full(tab)))[1])
end

-- ---- orphans ----

local function count_orphans(query, child, columns, parent, references)
    local joined, set = {}, {}
    for i, name in ipairs(columns) do
        joined[i] = ("c.%s = p.%s"):format(quote(name), quote(references[i]))
        set[i] = ("c.%s IS NOT NULL"):format(quote(name))
    end
    return query(("SELECT COUNT(*) AS n FROM %s AS c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s AS p WHERE %s)"):format(full(child),
        table.concat(set, " AND "), full(parent), table.concat(joined, " AND ")))[1].n
end

local function foreign_keys(query)
    local list, of = {}, {}
    for _, row in ipairs(query([[SELECT table_schema AS `schema`, table_name AS name, constraint_name AS item, column_name AS part,
        referenced_table_schema AS parent_schema, referenced_table_name AS parent, referenced_column_name AS refers
        FROM information_schema.key_column_usage WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL
        ORDER BY constraint_name, table_name, ordinal_position]])) do
        local id = row.name .. "\0" .. row.item
        if not of[id] then
            of[id] = { item = row.item, child = row, columns = {}, parent = { schema = row.parent_schema, name = row.parent },
                refers = {} }
            list[#list + 1] = of[id]
        end
        table.insert(of[id].columns, row.part)
        table.insert(of[id].refers, row.refers)
    end
    return list
end

local function chosen(all, names)
    if #names == 0 then
        return all
    end
    local some, known = {}, {}
    for _, name in ipairs(names) do
        local before = #some
        for _, key in ipairs(all) do
            known[#known + 1] = key.item
            if key.item == name or key.child.name == name then
                some[#some + 1] = key
            end
        end
        if #some == before then
            local hint = rt.suggest(name, known)
            rt.raise("missing", ("there is no foreign key %s, and no table of that name has one%s"):format(name,
                hint and ": " .. hint or ""))
        end
    end
    return some
end

function M.orphans(query, where, expected)
    if #where == 4 then
        local child, parent = find(query, where[1]), find(query, where[3])
        column(query, child, where[2])
        column(query, parent, where[4])
        return { [where[1] .. "." .. where[2]] = count_orphans(query, child, { where[2] }, parent, { where[4] }) }
    elseif #where == 3 then
        rt.raise("usage", "db:orphans: a foreign key, a table, or all four: table, column, parent, parent's column")
    end
    local names = table.move(where, 1, #where, 1, {})
    for _, pair in ipairs(#where == 0 and expected or {}) do
        names[#names + 1] = pair[1]
    end
    local found = {}
    for _, key in ipairs(chosen(foreign_keys(query), names)) do
        local name = found[key.item] and key.item .. " on " .. key.child.name or key.item
        found[name] = count_orphans(query, key.child, key.columns, key.parent, key.refers)
    end
    return found
end

for name, read in pairs(native.parts.health(native, rt)(find, of_tables)) do
    M[name] = read
end

return M
