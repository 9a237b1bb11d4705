-- The last look before a swap. MariaDB renames nothing under LOCK TABLES, and lets nobody read a table that a RENAME waits to have:
-- so the RENAME is made to wait, with every table in its hands, while the server's own counters of written rows are read.
--
--   mark     LOCK TABLES … READ: all that was written has ended │ counters, a snapshot │ UNLOCK; the snapshot is counted
--   pass     RENAME TABLE live…, probe, held, go │ it has them all and waits for `held`: counters again │ go is created, held
--                                                │ unlocked
--
-- The server takes a statement's tables in the order of their names, so those of the gate are in a schema that comes after the
-- live one. `probe` tells when the RENAME has come to `held`. Without `go` it fails as a whole: a host that dies here takes its
-- lock with it and leaves the old state.
local native, rt, schema, driver = ...

local gate = {}
local quote = schema.quote
local SHORTEST_MS, LONGEST_MS = 2, 20 -- between two looks at whether the RENAME has come
local NOT_ALLOWED = { [1044] = true, [1142] = true, [1227] = true, [1109] = true } -- LOCK TABLES, PROCESS; no such table

-- Rows that were inserted, changed and deleted, as InnoDB counts them in memory, by table. It opens none of them.
local COUNTERS = [[SELECT CONVERT(CONVERT(CAST(SUBSTRING_INDEX(name, '/', -1) AS BINARY) USING filename) USING utf8mb4) AS tab,
    modified_counter AS written, CAST(stats_initialized AS CHAR) AS known FROM information_schema.innodb_sys_tablestats
    WHERE CAST(SUBSTRING_INDEX(name, '/', 1) AS BINARY) = CAST(CONVERT(? USING filename) AS BINARY)]]

-- By bytes, as the server compares.
local function comes_after(a, b)
    for i = 1, math.min(#a, #b) do
        if a:byte(i) ~= b:byte(i) then
            return a:byte(i) > b:byte(i)
        end
    end
    return #a > #b
end

local function hidden(text)
    return "rollouthost_" .. rt.sha256(text):sub(1, 16)
end

local function counters(self)
    local found = {}
    for _, row in ipairs(schema.rows(self.watcher, COUNTERS, self.live)) do
        found[row.tab] = (row.known == "1" or row.known == "Initialized") and tonumber(row.written) or nil
    end
    return found
end

local function lock_all(self, names)
    local list = {}
    for i, name in ipairs(names) do
        list[i] = quote(self.live) .. "." .. quote(name) .. " READ"
    end
    schema.run(self.keeper, "%s", "LOCK TABLES " .. table.concat(list, ", "))
end

--- A gate for the swap of job into which `kept` is to come, with two sessions; nil where neither schema comes after the live one.
function gate.open(job, kept)
    local place = comes_after(kept, job.name) and kept or comes_after(job.scratch, job.name) and job.scratch
    if not place then
        return nil
    end
    local names = { hidden(job.mark .. "1"), hidden(job.mark .. "2"), hidden(job.mark .. "3") }
    table.sort(names)
    local self = { live = job.name, place = place, scratch = job.scratch, probe = names[1], held = names[2], go = names[3],
        keeper = driver.open(job.database, "admin"), watcher = driver.open(job.database, "admin") }
    local seconds = job.args.lock_wait // 1000
    schema.run(self.keeper, "SET SESSION lock_wait_timeout = %d", seconds)
    schema.run(self.watcher, "SET SESSION lock_wait_timeout = 0")
    return self
end

function gate.close(self)
    native.close(self.keeper)
    native.close(self.watcher)
end

local function name_of(self, name)
    return quote(self.place) .. "." .. quote(name)
end

local function drop(self)
    for _, name in ipairs { self.probe, self.held, self.go } do
        schema.run(self.keeper, "DROP TABLE IF EXISTS %s", name_of(self, name))
    end
end

--- From here on what is written is counted; `look` is called with `reader` in a snapshot of this moment. False where the user
--- may not lock tables or read the counters: then `look` was not called.
function gate.mark(self, reader, look)
    local ok, err = pcall(function()
        drop(self)
        for _, name in ipairs { self.probe, self.held } do
            schema.run(self.keeper, "CREATE TABLE %s (one INT)", name_of(self, name))
        end
        local names = schema.names(self.watcher, self.live)
        if #names > 0 then
            lock_all(self, names)
        end
        self.counters = counters(self)
        schema.begin_snapshot(reader)
        schema.run(self.keeper, "UNLOCK TABLES")
    end)
    if not ok then
        if native.usable(self.keeper) then
            schema.run(self.keeper, "UNLOCK TABLES")
            drop(self)
        end
        if type(err.detail) == "table" and NOT_ALLOWED[err.detail.errno] then
            return false
        end
        error(err, 0)
    end
    ok, err = pcall(look)
    if native.usable(reader) then
        schema.run(reader, "COMMIT")
    end
    if not ok then
        error(err, 0)
    end
    schema.run(self.keeper, "LOCK TABLES %s WRITE", name_of(self, self.held))
    return true
end

--- Adds what the RENAME has to rename besides.
function gate.add_moves(self, moves)
    for _, name in ipairs { self.probe, self.held, self.go } do
        moves[#moves + 1] = string.format("%s TO %s.%s", name_of(self, name), quote(self.scratch), quote(hidden(name)))
    end
end

-- Nobody but the RENAME wants it.
local function is_closed(self)
    local ok, err = pcall(schema.rows, self.watcher, "SELECT 1 FROM " .. name_of(self, self.probe))
    if not ok and err.code ~= "lock_timeout" then
        error(err, 0)
    end
    return not ok
end

-- → { rows, tables } that were written since the mark; nil where the server has forgotten.
local function written(self)
    local rows, tables = 0, {}
    local now = counters(self)
    for tab, before in pairs(self.counters) do
        if not now[tab] or now[tab] < before then
            return nil
        elseif now[tab] > before then
            rows, tables[tab] = rows + now[tab] - before, now[tab] - before
        end
    end
    return { rows = rows, tables = tables }
end

--- Runs the RENAME, which is `statement` in the session `connection`. When it has all tables, check({ rows, tables }) is called
--- with what was written since the mark, unless the server has forgotten; where it raises, nothing is renamed.
function gate.pass(self, connection, statement, check)
    local ended, refused = false, nil
    local function rename()
        local ok, err = pcall(schema.run, connection, "%s", statement)
        ended = true
        if not ok then
            error(err, 0)
        end
    end
    local function watch()
        local ok, err = pcall(function()
            local pause = SHORTEST_MS
            while not ended and not is_closed(self) do
                rt.sleep(pause)
                pause = math.min(pause + 1, LONGEST_MS)
            end
            if not ended then
                local more = written(self)
                if more then
                    check(more)
                end
                schema.run(self.watcher, "CREATE TABLE %s (one INT)", name_of(self, self.go))
            end
        end)
        schema.run(self.keeper, "UNLOCK TABLES")
        if not ok then
            refused = err
            error(err, 0)
        end
    end
    local ok, err = pcall(rt.together, { rename, watch })
    if not ok then
        error(refused or err, 0)
    end
end

return gate
