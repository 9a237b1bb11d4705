-- migrate_sql: a folder of .sql files, applied in their order by this host. Each is one transaction with the row that says that
-- it is applied, so a crash leaves both or neither. Where the database commits by itself (MariaDB, around what changes the
-- schema), or the file's first line says `-- rollouthost: no transaction`, the row counts the statements that are done.
local fs = require "rollout.fs"
local statements = require "rollout.migrate_statements"

local sql = { options = { dir = "string", table = "string" } }

local Sql = {}
Sql.__index = Sql

local TABLE = "sql_migrations"
local CREATE = [[CREATE TABLE IF NOT EXISTS %s (name varchar(255) NOT NULL PRIMARY KEY, checksum varchar(64) NOT NULL,
    statements integer NOT NULL, done integer NOT NULL, started_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    finished_at timestamp NULL)]]
local ROWS = "SELECT name, checksum, statements, done, CASE WHEN finished_at IS NULL THEN 0 ELSE 1 END AS finished FROM %s"
local DATA = { INSERT = true, UPDATE = true, DELETE = true, REPLACE = true, SELECT = true, WITH = true, SET = true }
local OWN = { BEGIN = true, START = true, COMMIT = true, ROLLBACK = true, END = true }

function sql.new(migration)
    local given = migration.given
    return setmetatable({ migration = migration, dir = migration:path(given.dir or "migrations"),
        table = given.table or TABLE }, Sql)
end

-- 9_x before 10_x.
local function before(a, b)
    local x, y = math.tointeger(tonumber(a:match("^%d+"))), math.tointeger(tonumber(b:match("^%d+")))
    if x and y and x ~= y then
        return x < y
    end
    return a < b
end

function Sql:files()
    local names = {}
    for _, path in ipairs(fs.glob(self.dir .. "/*.sql")) do
        local name = path:match("[^/]+$")
        if not name:find("%.down%.sql$") then
            names[#names + 1] = name
        end
    end
    table.sort(names, before)
    return names
end

-- A file: its statements, and whether they are one transaction.
function Sql:parse(name)
    local text = fs.read(self.dir .. "/" .. name, { limit = "16MiB" })
    local kind = self.migration.database.kind
    local file = { name = name, list = statements.split(text, kind), problems = {} }
    local asked = text:match("^[^\n]*"):find("^%-%-%s*rollouthost:%s*no transaction%s*$")
    file.transaction = not asked
    for _, statement in ipairs(file.list) do
        local word = statements.first_word(statement.text)
        if kind == "mysql" and not DATA[word] then
            file.transaction = false
        end
        if OWN[word] and not asked then
            file.problems[1] = ("%s:%d: %s: a file is one transaction by itself; take it out, or begin the file with"
                .. " `-- rollouthost: no transaction`"):format(name, statement.line, word)
        elseif statement.text:find("^\\") then
            file.problems[1] = ("%s:%d: %s is psql's own and no SQL"):format(name, statement.line, statement.text:match("^%S+"))
        end
    end
    if #file.list == 0 then
        file.problems[1] = name .. " holds no statement"
    end
    return file
end

function Sql:rows()
    local applied, half, by_name = {}, {}, {}
    for _, row in ipairs(self.migration.database:own_rows(self.table, ROWS)) do
        by_name[row.name] = row
        local list = row.finished == 1 and applied or half
        list[#list + 1] = row.name
    end
    table.sort(applied, before)
    return applied, half, by_name
end

function Sql:status(thorough)
    local names = self:files()
    local applied, half, rows = self:rows()
    local status = { applied = applied, pending = {}, problems = {}, version = applied[#applied] }
    local problems, there = status.problems, {}
    for _, name in ipairs(half) do
        local row = rows[name]
        status.half = half
        status.way_out = ("%d of %d statements of %s are done. Roll back by the backup; or finish it by hand and set"
            .. " finished_at in %s, or undo it by hand and delete its row"):format(row.done, row.statements, name, self.table)
        problems[#problems + 1] = ("%s is half done: %d of %d statements"):format(name, row.done, row.statements)
    end
    for _, name in ipairs(names) do
        there[name] = true
        if not rows[name] then
            status.pending[#status.pending + 1] = name
            if #applied > 0 and before(name, applied[#applied]) then
                problems[#problems + 1] = ("%s comes before %s, which is applied: give it a later number"):format(name,
                    applied[#applied])
            end
            table.move(thorough and self:parse(name).problems or {}, 1, 1, #problems + 1, problems)
        elseif thorough and fs.sha256(self.dir .. "/" .. name) ~= rows[name].checksum then
            problems[#problems + 1] = name .. " was edited after it was applied: write a new file instead"
        end
    end
    for _, name in ipairs(applied) do
        if not there[name] then
            problems[#problems + 1] = name .. " is applied and not in " .. self.dir
        end
    end
    if #names == 0 then
        problems[#problems + 1] = "there is no .sql file in " .. self.dir .. ": are cwd and dir right?"
    end
    return status
end

-- ---- applying ----

local function place(name, statement)
    return ("%s:%d"):format(name, statement.line)
end

function Sql:marks()
    local pg = self.migration.database.kind == "pg"
    local own = assert(self.migration.database:table(self.table))
    local function text(sql_text)
        local n = 0
        return (sql_text:format(own):gsub("%?", function()
            n = n + 1
            return pg and "$" .. n or "?"
        end))
    end
    return {
        whole = text "INSERT INTO %s (name, checksum, statements, done, finished_at) VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP)",
        begun = text "INSERT INTO %s (name, checksum, statements, done) VALUES (?, ?, ?, 0)",
        done = text "UPDATE %s SET done = ? WHERE name = ?",
        finished = text "UPDATE %s SET finished_at = CURRENT_TIMESTAMP WHERE name = ?",
    }
end

-- All of it or nothing; → where it failed and why.
function Sql:in_transaction(file, marks)
    local at
    local given = self.migration.given
    local ok, err = pcall(given.db.transaction, given.db, function(tx)
        if self.migration.database.kind == "pg" then
            tx:exec(("SET LOCAL lock_timeout = %d"):format(given.lock_timeout))
        end
        for _, statement in ipairs(file.list) do
            at = statement
            tx:exec(statement.text)
        end
        at = nil
        tx:exec(marks.whole, file.name, file.sha256, #file.list, #file.list)
        return #file.list
    end)
    if not ok then
        return at and place(file.name, at) or file.name, err.message
    end
end

-- MariaDB waits for a day, with all who come later behind it.
local function limited(self, text)
    if self.mariadb and (text:upper():find("^%a+%s+TABLE%f[%W]") or text:upper():find("^%a+%s+[UNIQUE%s]*INDEX%f[%W]")) then
        return ("SET STATEMENT lock_wait_timeout = %d FOR %s"):format(math.max(1, self.migration.given.lock_timeout // 1000), text)
    end
    return text
end

function Sql:one_by_one(file, marks)
    local db = self.migration.given.db
    self.mariadb = self.migration.database.kind == "mysql" and db:value("SELECT version()"):find("MariaDB", 1, true)
    db:exec(marks.begun, file.name, file.sha256, #file.list)
    for i, statement in ipairs(file.list) do
        local ok, err = pcall(db.exec, db, limited(self, statement.text))
        if not ok then
            return place(file.name, statement), err.message
        end
        db:exec(marks.done, i, file.name)
    end
    db:exec(marks.finished, file.name)
end

--- Its own table, made before the schema is looked at.
function Sql:prepare()
    if not self.migration.database:table(self.table) then
        self.migration.given.db:exec(CREATE:format(self.migration.database:quote(self.table)))
    end
end

function Sql:plan()
    fs.glob(self.dir .. "/*.sql")
    self.migration.given.db:transaction(function() end)
end

function Sql:apply(status)
    local marks = self:marks()
    for _, pending in ipairs(status.pending) do
        local file = self:parse(pending)
        file.sha256 = fs.sha256(self.dir .. "/" .. pending)
        local apply = file.transaction and self.in_transaction or self.one_by_one
        local where, why = apply(self, file, marks)
        if where then
            return { code = 1, out = "", err = "", why = ("%s: %s%s"):format(where, why, file.transaction
                and " (all of this file was rolled back)" or "") }
        end
    end
    return { code = 0, out = "", err = "" }
end

return sql
