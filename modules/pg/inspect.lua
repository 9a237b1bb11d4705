-- What the reads for gates find in PostgreSQL: tables and what belongs to them. How the server is doing is in health.lua;
-- how it is asked for and judged, in modules/database/inspect.lua.
--
-- A name is as the database has it, without quotes: "clients" of the search path, or "billing.invoices".
local native, rt = ...

local catalog, reads = native.parts.catalog(rt), rt.native("database").reads
local M = {}

local null = rt.json.null

local function quote(row)
    return catalog.quote(row.schema) .. "." .. catalog.quote(row.name)
end

-- As a role of this search path would write it.
local function key(row)
    return catalog.name(not row.visible and row.schema or nil, row.name)
end

local function missing(...)
    rt.raise("missing", string.format(...))
end

local function value(found)
    if found == null then
        return nil
    end
    return found
end

-- ---- finding ----

local function suggest(query, name, kinds)
    local names, same = {}, nil
    for _, row in ipairs(query("SELECT n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible"
        .. " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind::text = ANY ($1::text[]) AND "
        .. catalog.user_schema .. " LIMIT 5000", kinds)) do
        names[#names + 1] = key(row)
        if row.name:lower() == name:lower():match("[^.]*$") then
            same = key(row)
        end
    end
    local hint = same and ('did you mean "%s"?'):format(same) or rt.suggest(name, names)
    return hint and ": " .. hint or ""
end

local TABLE = [[
SELECT c.oid::bigint AS id, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
    pg_table_is_visible(c.oid) AS visible, row_security_active(c.oid) AS hidden,
    has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable, current_user::text AS me
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind::text = ANY ($1::text[]) AND ]]

local ANY, TABLES = "{r,p,v,m,f}", "{r,p,m,f}"

-- A name as SQL writes it, or "": to_regclass raises on what is none.
local function as_written(name)
    local plain = name:gsub('"[^"]*"', "q")
    local well_formed = plain:match("^[%w_]+$") or plain:match("^[%w_]+%.[%w_]+$")
    return name:find('"') and well_formed and name or ""
end

--- The table (or view) of that name.
local function find(query, name, kinds)
    local rows = query(TABLE .. "(c.relname = $2 AND pg_table_is_visible(c.oid) OR n.nspname || '.' || c.relname = $2"
        .. " OR c.oid = to_regclass(nullif($3, '')))", kinds or ANY, name, as_written(name))
    if #rows == 0 then
        missing("there is no table %s%s", name, suggest(query, name, kinds or ANY))
    end
    return rows[1]
end

-- Rows that a role does not see would be counted as not there.
local function check_readable(row)
    if not row.readable then
        rt.raise("access_denied", ("%s may not be read: GRANT SELECT ON %s TO %s"):format(key(row), quote(row),
            catalog.quote(row.me)))
    elseif row.hidden then
        rt.raise("access_denied", ("row security hides rows of %s from %s: ask as its owner or as a role with BYPASSRLS"):format(
            key(row), row.me))
    end
    return row
end

local function find_all(query, names, kinds)
    local ids = {}
    for i, name in ipairs(names) do
        ids[i] = find(query, name, kinds).id
    end
    return ids
end

-- Of the tables that were named; of all where none was.
local function of_tables(column, ids)
    if #ids == 0 then
        return catalog.user_schema
    end
    return ("%s = ANY ('{%s}'::oid[])"):format(column, table.concat(ids, ","))
end

-- ---- columns ----

function M.columns(query, where)
    local tab = find(query, where[1])
    local found = {}
    for _, row in ipairs(query([[
        SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, NOT a.attnotnull AS nullable,
            pg_get_expr(d.adbin, d.adrelid) AS expression, a.attgenerated::text AS generated, a.attidentity::text AS identity,
            row_number() OVER (ORDER BY a.attnum) AS position
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped]], tab.id)) do
        local expression = value(row.expression)
        found[row.name] = {
            type = row.type, nullable = row.nullable, position = row.position,
            default = row.generated == "" and expression or nil, generated = row.generated ~= "" and expression or nil,
            identity = row.identity == "a" and "always" or row.identity == "d" and "by default" or nil,
        }
    end
    return found
end

-- ---- indexes and constraints ----

-- By name; where several tables have one of that name, with the table's.
local function by_name(rows, make)
    local found = {}
    for _, row in ipairs(rows) do
        local name = found[row.item] and row.item .. " on " .. key(row) or row.item
        found[name] = make(row)
    end
    return found
end

function M.indexes(query, where)
    local ids = find_all(query, where, "{r,p,m}")
    return by_name(query([[
        SELECT x.relname::text AS item, n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible,
            i.indisunique AS unique, i.indisprimary AS primary, i.indisvalid AND i.indisready AS valid, am.amname::text AS method,
            pg_get_expr(i.indpred, i.indrelid) AS predicate, pg_get_indexdef(i.indexrelid) AS definition,
            ARRAY(SELECT coalesce(a.attname::text, pg_get_indexdef(i.indexrelid, k, true))
                FROM generate_series(1, i.indnkeyatts) AS k LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid
                    AND a.attnum = i.indkey[k - 1] AND a.attnum <> 0 ORDER BY k)::text[] AS columns
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am am ON am.oid = x.relam
            JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind <> 't' AND ]] .. of_tables("c.oid", ids) .. " ORDER BY 1, 2, 3"), function(row)
        return { columns = rt.json.array(row.columns), unique = row.unique, primary = row.primary, valid = row.valid,
            method = row.method, predicate = value(row.predicate), definition = row.definition, table = key(row) }
    end)
end

local KINDS = { p = "primary key", u = "unique", f = "foreign key", c = "check", x = "exclusion", n = "not null",
    t = "trigger" }

function M.constraints(query, where)
    local ids = find_all(query, where, "{r,p,f}")
    return by_name(query([[
        SELECT k.conname::text AS item, n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible,
            k.contype::text AS kind, k.convalidated AS valid, pg_get_constraintdef(k.oid) AS definition,
            ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, i)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.i)::text[] AS columns,
            nullif(k.confrelid, 0)::regclass::text || '(' || (SELECT string_agg(a.attname, ', ' ORDER BY u.i)
                FROM unnest(k.confkey) WITH ORDINALITY AS u (num, i)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) || ')' AS refers
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype <> 't' AND NOT EXISTS (SELECT FROM pg_constraint o
            WHERE o.oid = k.conparentid AND o.conrelid = k.conrelid) AND ]] .. of_tables("c.oid", ids)
        .. " ORDER BY 1, 2, 3"), function(row)
        return { kind = KINDS[row.kind], columns = rt.json.array(row.columns), references = value(row.refers),
            valid = row.valid, definition = row.definition, table = key(row) }
    end)
end

-- ---- enums and views ----

local ENUMS = [[
SELECT t.oid::bigint AS id, n.nspname::text AS schema, t.typname::text AS name, pg_type_is_visible(t.oid) AS visible,
    ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text[] AS labels
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' AND ]]

function M.enum(query, where)
    if where[2] then
        local tab = find(query, where[1])
        local rows = query(ENUMS .. [[t.oid = (SELECT CASE WHEN b.typtype = 'd' THEN b.typbasetype WHEN b.typelem <> 0
            THEN b.typelem ELSE b.oid END FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid
            WHERE a.attrelid = $1::bigint::oid AND a.attname = $2 AND NOT a.attisdropped)]], tab.id, where[2])
        if #rows == 0 then
            missing("%s has no column %s of an enum type", where[1], where[2])
        end
        return rt.json.array(rows[1].labels)
    end
    local names = {}
    for _, row in ipairs(query(ENUMS .. catalog.user_schema)) do
        if key(row) == where[1] or row.schema .. "." .. row.name == where[1] then
            return rt.json.array(row.labels)
        end
        names[#names + 1] = key(row)
    end
    local hint = rt.suggest(where[1], names)
    missing("there is no enum type %s%s", where[1], hint and ": " .. hint or "")
end

function M.views(query)
    local found = {}
    for _, row in ipairs(query([[
        SELECT n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible, c.relkind = 'm' AS stored,
            c.relispopulated AS populated, ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid
                AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)::text[] AS columns
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND ]]
        .. catalog.user_schema)) do
        found[key(row)] = { columns = rt.json.array(row.columns), materialized = row.stored, populated = row.populated,
            valid = true }
    end
    return found
end

-- ---- rows ----

local BATCH = 500

-- Exact; of partitioned tables as a whole. What may not be read is null where it was not asked for by name.
function M.row_counts(query, where, expected)
    local names, tables, found, why = where, {}, {}, {}
    if expected then
        names = table.move(where, 1, #where, 1, {})
        for _, pair in ipairs(expected) do
            names[#names + 1] = pair[1]
        end
    end
    for i, name in ipairs(names) do
        tables[i] = { name = name, row = check_readable(find(query, name, TABLES)) }
    end
    if #names == 0 then
        for _, row in ipairs(query(TABLE .. "NOT c.relispartition AND " .. catalog.user_schema, "{r,p}")) do
            local ok, err = pcall(check_readable, row)
            if ok then
                tables[#tables + 1] = { name = key(row), row = row }
            else
                found[key(row)], why[key(row)] = null, err.message
            end
        end
    end
    return reads.row_counts(query, tables, quote, BATCH, found), { why = why }
end

local function column(query, tab, name)
    local names = {}
    for _, row in ipairs(query("SELECT attname::text AS name FROM pg_attribute WHERE attrelid = $1::bigint::oid AND attnum > 0"
        .. " AND NOT attisdropped", tab.id)) do
        if row.name == name then
            return catalog.quote(name)
        end
        names[#names + 1] = row.name
    end
    local hint = rt.suggest(name, names)
    missing("%s has no column %s%s", key(tab), name, hint and ": " .. hint or "")
end

function M.backfilled(query, where)
    local tab = check_readable(find(query, where[1]))
    local to = column(query, tab, where[#where])
    local from = where[3] and column(query, tab, where[2]) .. " IS NOT NULL" or "true"
    return (query(([[SELECT count(*) AS rows, count(*) FILTER (WHERE %s) AS "from", count(*) FILTER (WHERE %s AND %s IS NULL)
        AS missing, count(*) FILTER (WHERE %s AND %s::text = '') AS empty FROM %s]]):format(from, from, to, from, to,
        quote(tab)))[1])
end

-- ---- row security ----

function M.policies(query, where)
    local ids, found = find_all(query, where, "{r,p}"), {}
    for _, row in ipairs(query([[
        SELECT n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible,
            c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, row_security_active(c.oid) AS applies,
            ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY p.polname)::text[] AS policies
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND ]]
        .. of_tables("c.oid", ids))) do
        found[key(row)] = { enabled = row.enabled, forced = row.forced, applies = row.applies,
            policies = rt.json.array(row.policies) }
    end
    return found
end

-- ---- orphans ----

local function count_orphans(query, child, columns, parent, references)
    local joined, set = {}, {}
    for i, name in ipairs(columns) do
        joined[i] = ("c.%s = p.%s"):format(catalog.quote(name), catalog.quote(references[i]))
        set[i] = ("c.%s IS NOT NULL"):format(catalog.quote(name))
    end
    return query(("SELECT count(*) AS n FROM %s AS c WHERE %s AND NOT EXISTS (SELECT FROM %s AS p WHERE %s)"):format(quote(child),
        table.concat(set, " AND "), quote(parent), table.concat(joined, " AND ")))[1].n
end

local FOREIGN_KEYS = [[
SELECT k.conname::text AS item, n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible,
    c.oid::bigint AS id, k.confrelid::bigint AS parent,
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, i) JOIN pg_attribute a
        ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.i)::text[] AS columns,
    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (num, i) JOIN pg_attribute a
        ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.i)::text[] AS refers
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND ]]

-- The foreign keys that were named, by their own name or their table's; all where none was.
local function foreign_keys(query, names)
    local all = query(FOREIGN_KEYS .. catalog.user_schema .. " ORDER BY 1, 2, 3")
    if #names == 0 then
        return all
    end
    local chosen, known = {}, {}
    for _, name in ipairs(names) do
        local hit = false
        for _, row in ipairs(all) do
            if row.item == name or key(row) == name then
                chosen[#chosen + 1], hit = row, true
            end
            known[#known + 1] = row.item
        end
        if not hit then
            local hint = rt.suggest(name, known)
            missing("there is no foreign key %s, and no table of that name has one%s", name, hint and ": " .. hint or "")
        end
    end
    return chosen
end

function M.orphans(query, where, expected)
    if #where == 4 then
        local child, parent = check_readable(find(query, where[1])), check_readable(find(query, where[3]))
        column(query, child, where[2])
        column(query, parent, where[4])
        return { [where[1] .. "." .. where[2]] = count_orphans(query, child, { where[2] }, parent, { where[4] }) }
    elseif #where == 3 then
        rt.raise("usage", "db:orphans: a foreign key, a table, or all four: table, column, parent, parent's column")
    end
    local names = where
    if #where == 0 and expected then
        names = {}
        for i, pair in ipairs(expected) do
            names[i] = pair[1]
        end
    end
    local found = {}
    for _, row in ipairs(foreign_keys(query, names)) do
        check_readable(query(TABLE .. "c.oid = $2::bigint::oid", ANY, row.id)[1])
        local parent = check_readable(query(TABLE .. "c.oid = $2::bigint::oid", ANY, row.parent)[1])
        local name = found[row.item] and row.item .. " on " .. key(row) or row.item
        found[name] = count_orphans(query, row, row.columns, parent, row.refers)
    end
    return found
end

for name, read in pairs(native.parts.health(native, rt)(find)) do
    M[name] = read
end

return M
