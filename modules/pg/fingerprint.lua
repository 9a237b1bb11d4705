-- Whether two databases hold the same: of every table its rows, counted and hashed in any order, and of every object its
-- definition. Equal between a database and its restored dump; different after any change.
--
-- { tables = { ["orders"] = { rows, hash, definition, derived } }, objects = { ["index orders_pkey"] = hash, … },
--   sequences = { ["orders_id_seq"] = last }, large_objects = { count, hash } }
--
-- Keys are names: "orders" in the schema public, "billing.orders" elsewhere. `derived`: a materialized view, whose rows a
-- restore works out anew. A sequence that counts down has its value negated, so that what came later is never less.
local native, rt = ...

local catalog, normal = native.parts.catalog(rt), native.parts.normal()
local M = {}

local null = rt.json.null
local CHUNK = 262144
local BATCH = 200 -- sequences read by one statement

local function rows(connection, sql, params)
    return (native.query(connection, sql, params))
end

local function text(value)
    return value ~= nil and value ~= null and value or ""
end

local function hash(value, length)
    return rt.sha256(value):sub(1, length or 16)
end

-- ---- sessions ----

-- Under which equal values have equal text, names are whole, and nothing is hidden or cut short.
local SETTINGS = [[SELECT set_config(s.name, s.value, true) AS value, current_setting('server_version_num') AS version
    FROM (VALUES ('search_path', ''), ('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'),
        ('extra_float_digits', '3'), ('bytea_output', 'hex'), ('xmlbinary', 'base64'), ('lc_monetary', 'C'),
        ('quote_all_identifiers', 'off'), ('standard_conforming_strings', 'on'), ('row_security', 'off'),
        ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('jit', 'off')) AS s (name, value)]]

--- Begins a transaction in which to fingerprint: of its own snapshot, or of one that another session has exported.
function M.begin(connection, snapshot)
    native.query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", nil, { plain = true })
    if snapshot then
        native.query(connection, "SET TRANSACTION SNAPSHOT '" .. snapshot:gsub("'", "''") .. "'", nil, { plain = true })
    end
    return M.prepare(connection)
end

--- The same for a transaction that is open already. Returns the server's version, as 150018.
function M.prepare(connection)
    return tonumber(rows(connection, SETTINGS)[1].version)
end

-- ---- definitions ----

local function relations(connection, statements)
    local found = {}
    for _, row in ipairs(rows(connection, statements.relations)) do
        row.key = catalog.name(row.schema, row.name)
        row.columns = ""
        found[row.id] = row
    end
    for _, row in ipairs(rows(connection, statements.columns)) do
        if found[row.id] then
            found[row.id].columns = text(row.definition)
        end
    end
    return found
end

local KINDS = { v = "view ", f = "foreign table " }

--- Definitions: tables { name = hash }, objects { "view x" = hash }, and the sequences as rows { schema, name, ascending }.
function M.definitions(connection, version)
    local statements = catalog.statements(version)
    local tables, objects = {}, {}
    local found = relations(connection, statements)
    for _, row in pairs(found) do
        local definition = hash(normal(row.definition) .. "\n" .. normal(row.columns))
        if KINDS[row.kind] then
            objects[KINDS[row.kind] .. row.key] = definition
        else
            tables[row.key] = definition
        end
    end
    for _, sql in ipairs(statements.on_relations) do
        for _, row in ipairs(rows(connection, sql)) do
            local on = found[row.id]
            if on then
                objects[("%s %s on %s"):format(row.kind, row.name, on.key)] = hash(normal(text(row.definition)))
            end
        end
    end
    local sequences = rows(connection, statements.sequences)
    for _, row in ipairs(sequences) do
        objects["sequence " .. catalog.name(row.schema, row.name)] = hash(text(row.definition))
    end
    for _, sql in ipairs(statements.objects) do
        for _, row in ipairs(rows(connection, sql)) do
            local arguments = row.arguments and row.arguments ~= null and "(" .. row.arguments .. ")" or ""
            local name = row.arguments and catalog.name(row.schema, row.name) .. arguments
                or row.schema ~= null and catalog.name(row.schema, row.name) or row.name
            objects[row.kind .. " " .. name] = hash(normal(text(row.definition)))
        end
    end
    return tables, objects, sequences
end

-- ---- rows ----

--- The tables that have rows, the largest first: { key, sql, bytes, derived }. `sql` is what M.rows executes.
function M.tables(connection, version)
    local list = {}
    for _, row in ipairs(rows(connection, catalog.statements(version).rows)) do
        local whole = row.columns ~= null and row.columns > 800 -- a row of expressions has 1664 at most
        local from = ("%s.%s %s%s"):format(catalog.quote(row.schema), catalog.quote(row.name), whole and "AS t " or "",
            text(row.part))
        local expression = whole and "t.*" or "ROW(" .. text(row.row) .. ")"
        local hashed = (version >= 140000 and not whole) and ("hash_record_extended(%s, 0)"):format(expression)
            or ("hashtextextended((%s)::text, 0)"):format(expression)
        list[#list + 1] = {
            key = catalog.name(row.schema, row.name), bytes = row.bytes, derived = row.derived or nil,
            empty = not row.populated,
            -- A sum does not lose pairs of equal rows, as an exclusive or does, and all of the server's processes can work at it.
            sql = ("SELECT count(*) AS n, coalesce(sum(%s)::text, '') AS hash FROM ONLY %s"):format(hashed, from),
        }
    end
    return list
end

--- Of one of them: how many rows, and their hash.
function M.rows(connection, tab)
    if tab.empty then
        return 0, "unpopulated"
    end
    local found = rows(connection, tab.sql)[1]
    return found.n, hash(found.hash, 32)
end

local LARGE_OBJECTS = ([[
SELECT count(*) FILTER (WHERE h.part = 0) AS n, coalesce(sum(h.h)::text, '') || ' ' || coalesce(bit_xor(h.h)::text, '') AS hash
FROM pg_largeobject_metadata m, LATERAL (
    WITH RECURSIVE chunk (part, size, h) AS (
        SELECT 0::bigint, length(c), hashtextextended(concat_ws('|', m.oid, 0, pg_get_userbyid(m.lomowner),
            (SELECT string_agg(g, ',' ORDER BY g) FROM (SELECT concat_ws(':', nullif(grantee, 0)::regrole, privilege_type,
                is_grantable) AS g FROM aclexplode(m.lomacl) WHERE grantee <> m.lomowner) AS a), md5(c)), 0)
        FROM (SELECT lo_get(m.oid, 0, $CHUNK) AS c OFFSET 0) AS first
        UNION ALL
        SELECT part + 1, length(c), hashtextextended(concat_ws('|', m.oid, part + 1, md5(c)), 0)
        FROM chunk, LATERAL (SELECT lo_get(m.oid, (part + 1) * $CHUNK, $CHUNK) AS c OFFSET 0) AS next
        WHERE size = $CHUNK)
    SELECT part, h FROM chunk) AS h]]):gsub("%$CHUNK", tostring(CHUNK))

--- Large objects: { count, hash }.
function M.large_objects(connection)
    local found = rows(connection, LARGE_OBJECTS)[1]
    return { count = found.n, hash = hash(found.hash, 32) }
end

-- last_value, or before its first use a little less: what came later is never less.
local function sequence_values(connection, sequences, from, to)
    local selects = {}
    for i = from, to do
        local row = sequences[i]
        local sign = row.ascending and "" or "-"
        selects[#selects + 1] = ("SELECT %d AS i, %sgreatest(last_value, -9223372036854775806)"
            .. " - CASE WHEN is_called THEN 0 ELSE 1 END AS last FROM %s.%s"):format(i, sign, catalog.quote(row.schema),
            catalog.quote(row.name))
    end
    return rows(connection, table.concat(selects, " UNION ALL "))
end

local function values(connection, sequences)
    local found = {}
    for from = 1, #sequences, BATCH do
        for _, row in ipairs(sequence_values(connection, sequences, from, math.min(from + BATCH - 1, #sequences))) do
            found[catalog.name(sequences[row.i].schema, sequences[row.i].name)] = row.last
        end
    end
    return found
end

--- { name = last }, as they stand now: no snapshot holds them. What they stood at before a dump began is what its copy stands
--- at, or less.
function M.sequences(connection, version)
    return values(connection, rows(connection, catalog.statements(version).sequences))
end

-- ---- the whole ----

--- All but the rows: { tables = { name = { definition } }, objects, sequences, large_objects }. `stood`: what M.sequences
--- found, or nil: they are looked up now.
function M.frame(connection, version, stood)
    local definitions, objects, sequences = M.definitions(connection, version)
    local tables = {}
    for key, definition in pairs(definitions) do
        tables[key] = { rows = 0, hash = "", definition = definition }
    end
    return { tables = tables, objects = objects, sequences = stood or values(connection, sequences),
        large_objects = M.large_objects(connection) }
end

--- Puts what M.rows found of a table into the fingerprint.
function M.put(fingerprint, tab, count, digest)
    local entry = fingerprint.tables[tab.key] or { definition = "extension" }
    entry.rows, entry.hash, entry.derived = count, digest, tab.derived
    fingerprint.tables[tab.key] = entry
end

--- The fingerprint of what the open transaction sees (M.begin). each(done, total, key) is called after each table.
function M.fingerprint(connection, version, each)
    local found = M.frame(connection, version)
    local list = M.tables(connection, version)
    for i, tab in ipairs(list) do
        M.put(found, tab, M.rows(connection, tab))
        if each then
            each(i, #list, tab.key)
        end
    end
    return found
end

--- Whether that object may differ after a restore though the backup is whole: the version of an extension is that of the
--- server which restores.
function M.may_differ(key)
    return key:find("^extension version ") ~= nil
end

local recent = {} -- schemas that were read, the newest last: a digest is taken after each step, and few steps change one
local RECENT = 8

local function read_schema(connection, version, state)
    local tables, objects = M.definitions(connection, version)
    local lines = {}
    for key, definition in pairs(tables) do
        objects["table " .. key] = definition
    end
    for key, definition in pairs(objects) do
        lines[#lines + 1] = key .. "\0" .. definition
    end
    table.sort(lines)
    local found = { digest = hash(table.concat(lines, "\n"), 32), objects = objects }
    recent[#recent + 1] = { state = state, found = found }
    if #recent > RECENT then
        table.remove(recent, 1)
    end
    return found
end

--- The schema alone, in a transaction of its own: { digest, objects = { "table orders" = hash, … } }.
function M.schema_digest(connection)
    local version = M.begin(connection)
    local ok, found = pcall(function()
        local state = rows(connection, catalog.changes(version))[1].state
        for _, known in ipairs(recent) do
            if known.state == state then
                return known.found
            end
        end
        return read_schema(connection, version, state)
    end)
    if native.usable(connection) then
        native.query(connection, "ROLLBACK", nil, { plain = true, must = true })
    end
    if not ok then
        error(found, 0)
    end
    return found
end

return M
