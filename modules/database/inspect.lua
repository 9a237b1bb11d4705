-- Reads for gates. One shape for all of them: strings say where to look, a table says what is expected.
--
--   db:columns "clients"                                     what there is, as data
--   db:columns("clients", { "aiDisabled", plan = "text" })   an expectation: whether it is so
--
-- The driver finds (driver.inspect.NAME), this file asks and judges. An expected list names what must be there; a map says
-- more of each (judged.lua); an empty table: whatever is there is sound.
local native, rt = ...

local judged = native.parts.judged(rt)

local function set(words)
    local found = {}
    for word in words:gmatch "%S+" do
        found[word] = true
    end
    return found
end

local function sorted(map)
    local names = judged.names_of(map)
    table.sort(names)
    return names
end

-- Types and defaults -------------------------------------------------------------------------------

local TYPES = { int = "integer", int4 = "integer", int8 = "bigint", int2 = "smallint", bool = "boolean",
    varchar = "character varying", char = "character", bpchar = "character", timestamptz = "timestamp with time zone",
    timestamp = "timestamp without time zone", timetz = "time with time zone", time = "time without time zone",
    float8 = "double precision", float4 = "real", decimal = "numeric" }

-- One spelling of a type, and what stands in its brackets.
local function plain_type(text)
    text = text:lower():gsub('"', "")
    local size = (text:match("%b()") or ""):gsub("%s", "")
    local base, array = text:gsub("%s*%b()", ""):match("^(.-)%s*([%[%]]*)$")
    return (TYPES[base] or base) .. array, size
end

local function same_column(field, value, want)
    if field == "type" and type(want) == "string" and type(value) == "string" then
        local have, have_size = plain_type(value)
        local wanted, size = plain_type(want)
        return (have == wanted and (size == "" or size == have_size))
            or (wanted == "boolean" and have == "tinyint" and have_size == "(1)") -- MariaDB's
    elseif field == "default" and type(value) == "string" then
        return (value:match("^'(.*)'::[%w_ .\"]+$") or value:match("^'(.*)'$") or value):gsub("''", "'") == tostring(want)
    end
    return false
end

-- What there is to read ------------------------------------------------------------------------------
--
-- where = { least, most }: how many strings; of = what they are; thing, main, fields: of a map of things; unsound(thing):
-- what is wrong with it; closed: only what is found can be expected; listed: what a name in a list is expected to be.

local READS = {
    columns = { where = { 1, 1 }, of = "a table", thing = "a column", main = "type", listed = true, title = "columns",
        fields = set "type nullable default generated identity", same = same_column },
    indexes = { where = { 0, 99 }, of = "tables", thing = "an index", main = "columns", listed = true, title = "indexes",
        fields = set "columns unique primary valid method predicate definition table",
        unsound = function(index) return not index.valid and "is not valid: a build that failed left it; drop it and build it"
            .. " again" or nil end,
        special = function(found, columns)
            local list = table.concat(columns, ", ")
            for _, name in ipairs(sorted(found)) do
                local index = found[name]
                local leads = index.valid and not index.predicate
                for i, column in ipairs(columns) do
                    leads = leads and index.columns[i] == column
                end
                if leads then
                    return judged.item(list, "pass", ("%s leads with %s"):format(name, list), name, columns)
                end
            end
            return judged.item(list, "fail", ("no valid index of all rows leads with %s"):format(list), false, columns)
        end },
    constraints = { where = { 0, 99 }, of = "tables", thing = "a constraint", main = "kind", listed = true,
        title = "constraints", fields = set "kind columns references valid definition table",
        unsound = function(constraint) return not constraint.valid and "is not validated: older rows may break it" or nil end },
    enum = { where = { 1, 2 }, of = "an enum type, or a table and its column", listed = true, title = "enum" },
    views = { where = { 0, 0 }, thing = "a view", main = "columns", listed = true, title = "views",
        fields = set "columns materialized populated valid",
        unsound = function(view) return view.valid == false and "is not valid" or view.populated == false
            and "is not populated: refresh it" or nil end },
    row_counts = { where = { 0, 99 }, of = "tables", title = "rows" },
    backfilled = { where = { 2, 3 }, of = "a table, the column to fill from and the one to fill", title = "backfill",
        closed = true, always = true },
    policies = { where = { 0, 99 }, of = "tables", thing = "a table", main = "policies", listed = true,
        title = "row security", fields = set "enabled forced applies policies",
        unsound = function(tab) return not tab.enabled and "has row security off" or #tab.policies == 0 and "has no policy"
            or nil end },
    connections = { where = { 0, 0 }, title = "connections", closed = true },
    slow_queries = { where = { 0, 1 }, of = "a duration", title = "slow queries", closed = true },
    settings = { where = { 0, 99 }, of = "settings", title = "settings", listed = true },
    replication_lag = { where = { 0, 0 }, title = "replication", closed = true },
    size = { where = { 0, 1 }, of = "a table", title = "size", closed = true },
    version = { where = { 0, 0 }, title = "server", closed = true },
    orphans = { where = { 0, 4 }, of = "foreign keys or tables; or table, column, parent, parent's column", title = "orphans",
        listed = 0, all = 0 },
    schema_digest = { where = { 0, 0 }, title = "schema", closed = true, listed = true },
}

-- Arguments ------------------------------------------------------------------------------------------

local function fail(where, ...)
    rt.raise("usage", where .. ": " .. string.format(...))
end

-- What is expected of one thing: where names stand beside fields, they are its main field's.
local function wanted(read, where, name, want)
    local mixed = false
    for key in pairs(type(want) == "table" and not rt.is_unknown(want) and want or {}) do
        mixed = mixed or (#want > 0 and type(key) == "string")
    end
    if not mixed then
        return want
    elseif not read.main then
        fail(where, "%s: values and limits in one table", name)
    end
    local fields = { [read.main] = {} }
    for key, value in pairs(want) do
        if math.type(key) then
            fields[read.main][key] = value
        else
            fields[key] = value
        end
    end
    return fields
end

-- { { name, want }, … }: of a list and a map in one table, which no journal could keep, the list first.
local function expectations(read, where, given)
    if rt.is_unknown(given) then
        return {}
    end
    local list = {}
    for i, name in ipairs(given) do
        if type(name) == "table" and read.special then
            list[i] = { name, true }
        elseif type(name) ~= "string" then
            fail(where, "expected names, got %s at place %d", type(name), i)
        elseif read.listed == nil then
            fail(where, "say what %s shall be: { %s = { at_most = … } }", name, name)
        else
            list[i] = { name, read.listed }
        end
    end
    local named = {}
    for name, want in pairs(given) do
        if type(name) == "string" then
            named[name] = want
        end
    end
    for _, name in ipairs(sorted(named)) do
        list[#list + 1] = { name, wanted(read, where, name, named[name]) }
    end
    return rt.json.array(list)
end

local function arguments(read, where)
    return function(database, ...)
        local args = { db = database.id, where = rt.json.array {} }
        local given = table.pack(...)
        for i = 1, given.n do
            local one = given[i]
            if type(one) == "string" or (rt.is_unknown(one) and #args.where < read.where[1]) then
                one = tostring(one) -- a plan knows only where a name will come from
                args.where[#args.where + 1] = one
            elseif type(one) == "table" and i == given.n then
                args.expected = expectations(read, where, one)
            else
                fail(where, "strings say where to look, and a table, the last, what is expected; argument %d is %s", i,
                    one == nil and "nil" or "a " .. type(one))
            end
        end
        if #args.where < read.where[1] or #args.where > read.where[2] then
            fail(where, read.where[2] == 0 and "takes no name" or "expected %s, got %d name%s", read.of or "", #args.where,
                #args.where == 1 and "" or "s")
        end
        return args
    end
end

local function title_of(read, args)
    if #args.where == 0 then
        return read.title
    end
    return read.title .. " of " .. table.concat(args.where, ", ")
end

-- Enums and schemas are held as a whole ---------------------------------------------------------------

local whole = {}

function whole.enum(labels, expected)
    local have, want, texts = {}, {}, {}
    for _, label in ipairs(labels) do
        have[label] = true
    end
    for _, pair in ipairs(expected) do
        want[pair[1]] = true
        if not have[pair[1]] and pair[2] then
            texts[#texts + 1] = pair[1] .. " is missing"
        elseif have[pair[1]] and pair[2] == false then
            texts[#texts + 1] = pair[1] .. " is still there"
        end
    end
    for _, label in ipairs(#expected > 0 and labels or {}) do
        if not want[label] then
            texts[#texts + 1] = label .. " is one too many"
        end
    end
    local text = #texts == 0 and "has " .. table.concat(labels, ", ") or table.concat(texts, "; ")
    local wanted_labels = {}
    for i, pair in ipairs(expected) do
        wanted_labels[i] = pair[1]
    end
    return { judged.item("labels", #texts == 0 and "pass" or "fail", text, labels, wanted_labels) }
end

function whole.schema_digest(found, expected)
    local want = {}
    for _, pair in ipairs(expected) do
        want[pair[1]] = pair[2]
    end
    if type(want.digest) ~= "string" then
        fail("db:schema_digest", "expected what an earlier db:schema_digest() returned")
    end
    local changed = {}
    if want.objects then
        for key, hash in pairs(want.objects) do
            if found.objects[key] ~= hash then
                changed[#changed + 1] = key .. (found.objects[key] and " is defined otherwise" or " is missing")
            end
        end
        for key in pairs(found.objects) do
            if not want.objects[key] then
                changed[#changed + 1] = key .. " is one too many"
            end
        end
    end
    local same = found.digest == want.digest
    local text = same and "unchanged" or #changed > 0 and table.concat(changed, "; ", 1, math.min(#changed, 10))
        .. (#changed > 10 and ("; and %d more"):format(#changed - 10) or "") or "it has changed"
    return { judged.item("digest", same and "pass" or "fail", text, found.digest, want.digest) }
end

local LABELS = { missing = "rows not filled", empty = "rows filled with an empty text", from = "rows to fill", rows = "rows" }

function whole.backfilled(found, expected, reader, where)
    local limits, all = { missing = 0, empty = 0 }, {}
    for _, pair in ipairs(expected) do
        limits[pair[1]] = pair[2]
    end
    reader.label = function(name) return LABELS[name] or name end
    for _, name in ipairs(sorted(limits)) do
        all[#all + 1] = { name, limits[name] }
    end
    local items = judged.judge(reader, found, all)
    if found.from == 0 and limits.from == nil then
        items[#items + 1] = judged.item("rows to fill", "unknown", (where[3] and "no row has " .. where[2] or "there is no row")
            .. ", so nothing was tried; { from = 0 } says that this is meant", 0, nil)
    end
    return items
end

-- The effects ----------------------------------------------------------------------------------------

-- What a role may not see is not known, and what is not there fails. That no session is left is what `connections` asks.
local function judge_error(read, title, err)
    if type(err) == "table" and err.code == "too_many_connections" and read == READS.connections then
        return judged.expectation(title, { judged.item("share", "fail", err.message, 1, nil) })
    elseif type(err) == "table" and err.code == "missing" then
        return judged.expectation(title, { judged.item("it", "fail", err.message, false, true) })
    elseif type(err) == "table" and err.code == "access_denied" then
        return judged.expectation(title, { judged.item("it", "unknown", err.message, nil, nil) })
    end
    error(err, 0)
end

local function reader_of(read, where, extra)
    local reader = setmetatable({ where = where, why = extra.why, known = extra.known }, { __index = read })
    reader.field_names = read.fields and judged.names_of(read.fields)
    return reader
end

local function read_effect(driver, shared, name)
    local read, collect = READS[name], driver.inspect[name]
    local where = "db:" .. name
    local function look(args)
        local database = driver.databases[args.db]
        return shared.with_connection(database, "read", function(connection)
            local function query(sql, ...)
                return (driver.read(connection, sql, select("#", ...) > 0 and { n = select("#", ...), ... } or nil,
                    { timeout = database.timeout }))
            end
            return collect(query, args.where, args.expected, database, connection)
        end)
    end
    local effect = rt.effect {
        name = driver.name .. "." .. name,
        class = "read",
        args = arguments(read, where),
        describe = function(args)
            return ("%s in %s"):format(title_of(read, args), args.db)
        end,
        call = function(args)
            if not args.expected and not read.always then
                return (look(args))
            end
            local title = title_of(read, args)
            local ok, data, extra = pcall(look, args)
            if not ok then
                return judge_error(read, title, data)
            end
            extra = extra or {}
            local expected = args.expected or {}
            if #expected == 0 and read.closed and not whole[name] then
                expected = extra.usual or fail(where, "say what is expected")
            end
            local reader = reader_of(read, where, extra)
            local items = whole[name] and whole[name](data, expected, reader, args.where)
                or judged.judge(reader, data, expected)
            return judged.expectation(title, items)
        end,
        sample = function(args)
            if args.expected or read.always then
                local title = title_of(read, args)
                return { name = title, verdict = "unknown", text = title .. ": not measured in a plan" }
            end
            return rt.unknown(title_of(read, args))
        end,
    }
    return function(...)
        local found = effect(...)
        local last = select("#", ...) > 1 and select(-1, ...)
        if (read.always or type(last) == "table") and not rt.is_unknown(found) then
            return rt.expectation(found)
        end
        return found
    end
end

--- Adds to the methods of a handle a read for each that driver.inspect can answer.
return function(driver, shared)
    for name in pairs(driver.inspect or {}) do
        shared.methods[name] = read_effect(driver, shared, name)
    end
end
