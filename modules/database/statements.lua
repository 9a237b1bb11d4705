-- Statements of both databases: connections between two effects, reads that cannot write, writes that are done once.
--
-- What writes leaves a marker: a row of rollouthost's own, committed with it in one transaction. After a crash it tells
-- whether the statement was done. Where there can be none, a person decides.
local _, rt, work = ...

local KEEP = 1 << 20 -- a result that is larger than this is not kept beside the marker

local function one_line(sql)
    local line = sql:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
    if #line <= 160 then
        return line
    end
    local last = utf8.len(line, 1, 157, true) and utf8.offset(line, 0, 158) or 158
    return line:sub(1, last - 1) .. "…"
end

local function check_sql(where, sql)
    if rt.is_secret(sql) then
        rt.raise("usage", where .. ": the statement is a secret: pass secret values as parameters")
    elseif type(sql) ~= "string" or not sql:find("%S") then
        rt.raise("usage", where .. ": expected a statement, got " .. (sql == "" and "an empty string" or type(sql)))
    end
end

local function written(rows, info)
    return {
        affected = info.affected,
        insert_id = info.insert_id ~= 0 and info.insert_id or nil,
        warnings = info.warnings,
        notices = info.notices,
        rows = #info.columns > 0 and rt.json.array(rows) or nil,
    }
end

return function(driver, touch)
    local name, null, databases = driver.name, driver.null, driver.databases
    local query = driver.native.query
    local idle = {} -- by id and role: connections between two effects

    -- ---- connections ----

    local function lease(database, role)
        local list = idle[database.id .. " " .. role] or {}
        idle[database.id .. " " .. role] = list
        while #list > 0 do
            local connection = table.remove(list)
            if driver.native.usable(connection) then
                return connection, list, true
            end
        end
        return driver.open(database, role), list, false
    end

    -- Reading and writing sessions are kept apart: a reading one refuses every write.
    local function with_connection(database, role, fn)
        local connection, list, reused = lease(database, role)
        local result = table.pack(pcall(fn, connection))
        if role == "write" and driver.counted and driver.native.usable(connection) then
            pcall(driver.counted, connection)
        end
        if driver.native.usable(connection) then
            list[#list + 1] = connection
        end
        if not result[1] and reused and role == "read" and result[2].code == "lost_connection" then
            return with_connection(database, role, fn)
        end
        if not result[1] then
            error(result[2], 0)
        end
        return table.unpack(result, 2, result.n)
    end

    local function plain(connection, sql)
        query(connection, sql, nil, { plain = true, must = true })
    end

    -- ---- what is given ----

    local function check_params(where, ...)
        local count = select("#", ...)
        if count == 0 then
            return nil
        end
        local params = { ... }
        for i = 1, count do
            local kind = type(params[i])
            if params[i] == nil then
                rt.raise("usage", string.format("%s: parameter %d is nil: %s.null is SQL's NULL", where, i, name))
            elseif not (kind == "string" or kind == "number" or kind == "boolean" or params[i] == null
                or rt.is_secret(params[i]) or kind == "table" and driver.tables) then
                rt.raise("usage", string.format("%s: parameter %d is a %s: give a string, number, boolean%s or %s.null",
                    where, i, kind, driver.tables and ", table" or "", name))
            end
        end
        return params
    end

    local function check_read(where, sql)
        if not driver.reads[driver.first_word(sql)] then
            rt.raise("usage", string.format("%s reads, and `%s` does not begin like a statement that reads; use db:exec in"
                .. " a step for what writes", where, one_line(sql)))
        end
    end

    local function describe(verb)
        return function(args)
            return verb .. " " .. args.db .. (args.sql and ": " .. one_line(args.sql) or "")
        end
    end

    -- ---- reads ----

    local shapes = {}

    function shapes.query(rows)
        return rt.json.array(rows)
    end

    function shapes.one(rows, sql)
        if #rows > 1 then
            rt.raise("rows", string.format("%s.one: %d rows, expected one at most, in: %s", name, #rows, one_line(sql)))
        end
        return rows[1]
    end

    function shapes.value(rows, sql, columns)
        if #rows > 1 or #columns ~= 1 then
            rt.raise("rows", string.format("%s.value: %d row%s of %d column%s, expected one value, in: %s", name, #rows,
                #rows == 1 and "" or "s", #columns, #columns == 1 and "" or "s", one_line(sql)))
        end
        local value = rows[1] and rows[1][columns[1]]
        if value == null then
            return nil
        end
        return value
    end

    local function read_rows(connection, args, database)
        local result = table.pack(pcall(driver.read, connection, args.sql, args.params, { timeout = database.timeout }))
        if result[1] then
            return result[2], result[3]
        elseif result[2].code == "timeout" then
            rt.raise("timeout", string.format("%s: not finished within %g s, and cancelled: %s", name,
                database.timeout / 1000, one_line(args.sql)))
        end
        error(result[2], 0)
    end

    local function reader(verb)
        local where = name .. "." .. verb
        return rt.effect {
            name = where,
            class = "read",
            args = function(database, sql, ...)
                check_sql(where, sql)
                check_read(where, sql)
                return { db = database.id, sql = sql, params = check_params(where, ...) }
            end,
            describe = describe("query"),
            call = function(args)
                local database = databases[args.db]
                return with_connection(database, "read", function(connection)
                    local rows, info = read_rows(connection, args, database)
                    return shapes[verb](rows, args.sql, info.columns)
                end)
            end,
            sample = function(args)
                return rt.unknown("result of " .. one_line(args.sql))
            end,
        }
    end

    -- ---- once ----

    local marker = driver.marker

    local function key_of(ctx, key, sql)
        return work.run_key(ctx) .. rt.sha256(key .. "\0" .. (sql or "")):sub(1, 48)
    end

    local function kept(connection, key)
        local text = marker.result(connection, key)
        if text then
            return true, rt.json.decode(text)
        end
        return false
    end

    -- Without its text a marker says that something was committed, and not that all of it was.
    local function look(connection, key)
        plain(connection, "START TRANSACTION")
        local ok, free = pcall(marker.claim, connection, key)
        plain(connection, "ROLLBACK")
        if not ok then
            error(free, 0)
        elseif free then
            return "undone"
        end
        local known, value = kept(connection, key)
        if known then
            return "done", value
        end
        return "unknown"
    end

    local function probe(args, ctx)
        if args.sql and not marker.transactional(args.sql) then
            return "unknown"
        end
        return with_connection(databases[args.db], "write", function(connection)
            if not marker.ensure(connection, args.sql) then
                return "unknown"
            end
            return look(connection, key_of(ctx, ctx.key, args.sql))
        end)
    end

    local function keep(connection, key, value)
        local ok, text = pcall(function() return rt.json.encode(rt.masked(value)) end)
        if ok and #text <= KEEP then
            marker.keep(connection, key, text)
        end
    end

    -- COMMIT got no answer: the marker says what became of it, if the server is there again.
    local function ask_again(database, key, err)
        local ok, verdict, value = pcall(with_connection, database, "write", function(connection)
            return look(connection, key)
        end)
        if ok and verdict == "done" then
            return value
        end
        rt.raise("lost_connection", string.format("%s; %s", err.message, ok and verdict == "undone"
            and "nothing of it was committed" or "whether it was committed is not known"), err.detail)
    end

    -- An attempt before this one that failed may have been heard all the same, if its COMMIT got no answer.
    local function earlier(connection, ctx, sql)
        local place, attempt, ordinal = ctx.key:match("^(.*)@(%d+)%.(%d+)$")
        if not attempt or attempt == "1" then
            return false
        end
        local ended = {}
        for _, verb in ipairs { ".exec", ".transaction" } do
            for _, effect in ipairs(rt.recorded(name .. verb)) do
                ended[effect.key] = true
            end
        end
        for n = tonumber(attempt) - 1, 1, -1 do
            local key = ("%s@%d.%s"):format(place, n, ordinal)
            local verdict, value
            if not ended[key] then
                verdict, value = look(connection, key_of(ctx, key, sql))
            end
            if verdict == "unknown" then
                rt.raise("done_before", name .. ": it was committed before, and what came of it is not known")
            elseif verdict == "done" then
                return true, value
            end
        end
        return false
    end

    -- One transaction: the marker (where `marked`), what fn does, COMMIT. fn returns its value.
    local function transact(database, connection, ctx, marked, sql, fn)
        local key = marked and key_of(ctx, ctx.key, sql)
        local done, result = false, nil
        if marked then
            done, result = earlier(connection, ctx, sql)
        end
        if done then
            return result
        end
        query(connection, "START TRANSACTION", nil, { plain = true })
        local claimed = true
        local ok, value = pcall(function()
            claimed = not marked or marker.claim(connection, key)
            if not claimed then
                return nil
            end
            local value = fn()
            if marked then
                keep(connection, key, value)
            end
            return value
        end)
        if not ok or not claimed then
            if driver.native.usable(connection) then
                plain(connection, "ROLLBACK")
            end
            if not ok then
                error(value, 0)
            end
            local known, before = kept(connection, key)
            if known then
                return before
            end
            rt.raise("done_before", name .. ": it was committed before, and what came of it is not known")
        end
        local committed, err = pcall(query, connection, "COMMIT", nil, { plain = true })
        if committed then
            return value
        elseif marked and err.code == "lost_connection" then
            return ask_again(database, key, err)
        end
        error(err, 0)
    end

    local function class_of(args)
        return marker and (not args.sql or marker.transactional(args.sql)) and "probed" or "unsafe"
    end

    -- ---- writes ----

    -- A session's open transaction would be lost, without a word, with its connection.
    local function check_closed(connection, info, args)
        if info.open then
            driver.native.close(connection)
            rt.raise("usage", name .. ".exec: the statement leaves a transaction open, which was rolled back; use"
                .. " db:transaction(function(tx) … end), in: " .. one_line(args.sql))
        end
    end

    local function check_open(where, info, sql)
        if not info.open then
            rt.raise("usage", where .. ": this statement ended the transaction by itself, in: " .. one_line(sql))
        end
    end

    local exec = rt.effect {
        name = name .. ".exec",
        class = class_of,
        args = function(database, sql, ...)
            check_sql(name .. ".exec", sql)
            return { db = database.id, sql = sql, params = check_params(name .. ".exec", ...) }
        end,
        describe = describe("exec"),
        call = function(args, ctx)
            local database = databases[args.db]
            touch(database)
            return with_connection(database, "write", function(connection)
                if class_of(args) == "probed" and marker.ensure(connection, args.sql) then
                    return transact(database, connection, ctx, true, args.sql, function()
                        local rows, info = query(connection, args.sql, args.params)
                        check_open(name .. ".exec", info, args.sql)
                        return written(rows, info)
                    end)
                end
                local rows, info = query(connection, args.sql, args.params)
                check_closed(connection, info, args)
                return written(rows, info)
            end)
        end,
        probe = probe,
        sample = function()
            return { affected = 1, warnings = 0, rows = {} }
        end,
        destructive = function(args)
            return args.sql
        end,
    }

    local bodies = setmetatable({}, { __mode = "k" }) -- args table → function: a journal cannot hold one

    local function tx_read(verb)
        return function(tx, sql, ...)
            check_sql("tx:" .. verb, sql)
            local rows, info = query(tx.connection, sql, check_params("tx:" .. verb, ...), { read = true })
            return shapes[verb](rows, sql, info.columns)
        end
    end

    local Transaction = rt.class(name .. ".transaction", {
        query = tx_read "query",
        one = tx_read "one",
        value = tx_read "value",
        exec = function(tx, sql, ...)
            check_sql("tx:exec", sql)
            rt.guard(sql)
            local rows, info = query(tx.connection, sql, check_params("tx:exec", ...))
            check_open(name .. ".transaction", info, sql)
            return written(rows, info)
        end,
    }, function()
        return name .. " transaction"
    end)

    local transaction = rt.effect {
        name = name .. ".transaction",
        class = class_of,
        args = function(database, fn)
            if type(fn) ~= "function" then
                rt.raise("usage", "db:transaction: expected a function, got " .. type(fn))
            end
            local args = { db = database.id }
            bodies[args] = fn
            return args
        end,
        describe = describe("transaction in"),
        call = function(args, ctx)
            local database = databases[args.db]
            touch(database)
            return with_connection(database, "write", function(connection)
                local tx = setmetatable({ connection = connection }, Transaction)
                return transact(database, connection, ctx, marker and marker.ensure(connection), nil, function()
                    return bodies[args](tx)
                end)
            end)
        end,
        probe = probe,
        sample = function()
            return rt.unknown("result of the transaction")
        end,
    }

    -- The run has ended: nobody asks its markers any more.
    local function forget(ctx)
        if not marker or #rt.recorded(name .. ".exec") + #rt.recorded(name .. ".transaction") == 0 then
            return
        end
        for _, database in pairs(databases) do
            with_connection(database, "write", function(connection)
                if marker.ensure(connection) then
                    marker.forget(connection, work.run_key(ctx))
                end
            end)
        end
    end

    return {
        methods = { query = reader "query", one = reader "one", value = reader "value", exec = exec,
            transaction = transaction },
        describe = describe,
        with_connection = with_connection,
        forget = forget,
    }
end
