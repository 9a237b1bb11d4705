-- migrate: a schema migration by the project's own tool, tied to its backup and told by the tool's own table. It makes two
-- units where it is called: a gate, `NAME: ready`, which refuses before anything is touched, and the step NAME.
local fs, sh, time = require "rollout.fs", require "rollout.sh", require "rollout.time"
local database = require "rollout.migrate_database"

local DRIVERS = { alembic = "rollout.migrate_alembic", drizzle = "rollout.migrate_drizzle", prisma = "rollout.migrate_prisma",
    sql = "rollout.migrate_sql" }

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end

-- What the tool may still need, once it was ended, until the step's own time is up.
local GRACE = 120000

local migrate = {}
local recorded = {} -- by name: what this run did, or why not

local Migration = {}
Migration.__index = Migration

-- ---- options ----

local OPTIONS = {
    tool = "string", db = "table", backup = "table", max_age = "string", cwd = "string", env = "table", command = "table",
    timeout = "string", lock_timeout = "string", destructive = "string", when = "boolean", only = "string or table",
    on_failure = "string", key = "string or number",
}

local function wrong(where, text, ...)
    error(("%s: %s"):format(where, text:format(...)), 0)
end

local function names(...)
    local list = {}
    for _, part in ipairs { ... } do
        for name in pairs(part) do
            list[#list + 1] = name
        end
    end
    table.sort(list)
    return table.concat(list, ", ")
end

-- In plan mode what a step returned stands in for itself, and has no type of its own.
local function checked(where, given)
    if type(given) ~= "table" then
        wrong(where, "options are a table: { tool = \"prisma\", db = db, backup = backup }")
    end
    local driver = DRIVERS[given.tool] and require(DRIVERS[given.tool])
    if not driver then
        wrong(where, "tool is %q; there are %s", tostring(given.tool), names(DRIVERS))
    elseif given.db == nil then
        wrong(where, "db is missing: the database that is migrated, as pg.database or mysql.database returned it")
    end
    for name, value in pairs(given) do
        local kind = OPTIONS[name] or driver.options[name]
        if not kind then
            wrong(where, "unknown option %q; %s takes %s", tostring(name), given.tool, names(OPTIONS, driver.options))
        elseif not kind:find(type(value), 1, true) and run.mode ~= "plan" then
            wrong(where, "%s is a %s, not a %s", name, kind, type(value))
        end
    end
    return driver
end

local function new(where, given)
    local driver = checked(where, given)
    local self = setmetatable({ name = where, given = given, env = {} }, Migration)
    for name, value in pairs(given.env or {}) do
        self.env[name] = value
    end
    self.timeout = time.duration(given.timeout or "30m")
    self.max_age = time.duration(given.max_age or "1h")
    self.lock_timeout = time.duration(given.lock_timeout or "30s")
    self.database = database.of(given.db)
    self.driver = driver.new(self)
    return self
end

-- ---- for drivers ----

--- A path of the tool's folder.
function Migration:path(path)
    return path:sub(1, 1) == "/" and path or (self.given.cwd or ".") .. "/" .. path
end

--- The tool's command with more words.
function Migration:command(default, ...)
    local argv = table.move(self.given.command or default, 1, #(self.given.command or default), 1, {})
    for _, word in ipairs { ... } do
        argv[#argv + 1] = word
    end
    return argv
end

--- A command that changes nothing: { code, out, err, … }, whatever its code.
function Migration:read(argv)
    return sh.read(argv, { cwd = self.given.cwd, env = self.env, ok = ANY })
end

-- The name by which the tool's sessions are known.
local function application()
    return ("rollouthost %s"):format(run.id or ""):sub(1, 60)
end

-- What libpq and its like read: a lock that is not had in time is given up, so that nobody waits behind the migration; and
-- the server looks whether its client still lives.
local function session(self)
    local env = {}
    for name, value in pairs(self.env) do
        env[name] = value
    end
    if self.database.kind == "pg" then
        env.PGAPPNAME = env.PGAPPNAME or application()
        env.PGOPTIONS = env.PGOPTIONS or ("-c lock_timeout=%d -c client_connection_check_interval=2000"):format(self.lock_timeout)
    end
    return env
end

--- Runs the tool: { code, out, err, ms }, whatever its code, or { ended = why } where it was not done in time.
function Migration:run_tool(argv)
    local ok, ran = pcall(sh.run, argv, { cwd = self.given.cwd, env = session(self), ok = ANY, capture = "4MiB",
        timeout = ("%dms"):format(self.timeout), destructive = self.given.destructive })
    if ok then
        return ran
    elseif ran.code ~= "timeout" then
        error(ran, 0)
    end
    return { code = 124, out = "", err = ran.message, ms = self.timeout, ended = ran.message }
end

-- ---- the backup ----

-- The backup's age and what speaks against it, as expectations; empty where there is nothing to lose.
local function backup_checks(self)
    local backup, db = self.given.backup, self.given.db
    if not backup then
        return { expect("tables without a backup: none was given (backup = db:dump's result)",
            self.database:is_empty() and "none" or "some"):equals("none") }
    end
    local kept = fs.stat(backup.path)
    local age = time.now() - (backup.time or kept and kept.modified or 0)
    return {
        expect("backup " .. tostring(backup.path), kept and "there" or "gone"):equals("there"),
        expect("backup proven by a restore", backup.verified and "yes" or "no"):equals("yes"),
        expect("database of the backup", backup.database):equals(db.name),
        expect("age of the backup", kept and age // 1000 or nil):at_most(self.max_age // 1000, "s"),
    }
end

-- ---- the parts ----

function Migration:ready()
    local checks = backup_checks(self)
    local status = self.driver:status(true)
    for _, problem in ipairs(status.problems) do
        checks[#checks + 1] = expect("what stands against it", problem):equals("nothing")
    end
    checks[#checks + 1] = expect("pending", table.concat(status.pending, ", ")):exists()
    return checks
end

local function set_of(list)
    local set = {}
    for _, name in ipairs(list) do
        set[name] = true
    end
    return set
end

local function without(list, set)
    local rest = {}
    for _, name in ipairs(list) do
        if not set[name] then
            rest[#rest + 1] = name
        end
    end
    return rest
end

local function record(self, before, status)
    local backup = self.given.backup
    return {
        tool = self.given.tool, database = self.given.db.name, version = status.version,
        pending = before.status.pending, applied = without(status.applied, set_of(before.status.applied)),
        reverted = before.status.back,
        before = before.snapshot, after = self.database:snapshot(), started = before.at,
        backup = backup and { path = backup.path, sha256 = backup.sha256 } or nil,
    }
end

local function listed(list)
    return #list == 0 and "nothing" or table.concat(list, ", ")
end

local function last_lines(text, count)
    local lines = {}
    for line in text:gmatch("[^\r\n]+") do
        if line:find("%S") then
            lines[#lines + 1] = line:sub(1, 300)
        end
    end
    return table.concat(lines, "\n  ", math.max(1, #lines - count + 1))
end

-- What a person needs now: what was applied, what failed, the way out, and that the backup is there.
local function failure(self, before, status, ran)
    local applied = without(status.applied, set_of(before.status.applied))
    local lines = { ("%s did not migrate %s: %s"):format(self.given.tool, tostring(self.given.db.name),
        ran.ended or ran.why or "it exited with " .. ran.code) }
    local said = last_lines(ran.err .. "\n" .. ran.out, 12)
    if said ~= "" and not ran.ended then
        lines[#lines + 1] = "it said:\n  " .. said
    end
    lines[#lines + 1] = "applied: " .. listed(applied)
    lines[#lines + 1] = "not applied: " .. listed(status.pending)
    if status.half then
        lines[#lines + 1] = ("half done: %s. %s"):format(listed(status.half), status.way_out)
    end
    if ran.left and #ran.left > 0 then
        lines[#lines + 1] = "ended on the server, since it was still at work: " .. table.concat(ran.left, "; ")
    end
    local backup = self.given.backup
    lines[#lines + 1] = backup and "the backup from before it is there: " .. backup.path
        or "there is no backup: the database had no table"
    return table.concat(lines, "\n")
end

function Migration:run()
    self.before = nil -- a second attempt looks again
    if self.driver.prepare then
        self.driver:prepare()
    end
    local mark = self.database:mark()
    self.before = { at = time.now(), snapshot = self.database:snapshot(), status = self.driver:status() }
    local before = self.before
    if #before.status.pending == 0 then
        return record(self, before, before.status)
    end
    local ran = self.driver:apply(before.status)
    if ran.ended then
        ran.left = self.database:sweep(mark, application())
    end
    local status = self.driver:status()
    if ran.code ~= 0 or ran.why or status.half or #status.pending > 0 then
        fail(failure(self, before, status, ran))
    end
    return record(self, before, status)
end

-- After a crash, with the tool's end unknown: its table tells. Nil: not done.
function Migration:settled()
    local before = self.before
    if not before then
        return nil
    end
    local status = self.driver:status()
    if status.half then
        fail(("half done: %s. %s"):format(listed(status.half), status.way_out))
    elseif #status.pending == 0 then
        return record(self, before, status)
    elseif #status.applied == #before.status.applied and self.database:snapshot().digest ~= before.snapshot.digest then
        fail("the schema has changed, and the tool's table does not say by what: compare it with the backup's")
    end
    return nil
end

-- ---- the words ----

local function skipped(given)
    local only = given.only
    if type(only) == "string" then
        only = { only }
    end
    return given.when == false or (only and not set_of(only)[run.environment])
end

local function apply(_, name, given)
    local self = new(("migrate %q"):format(tostring(name)), given)
    local own = { when = given.when, only = given.only, on_failure = given.on_failure, key = given.key }
    local function options(more)
        for key, value in pairs(own) do
            more[key] = value
        end
        return more
    end
    gate(name .. ": ready", options {}, function() return self:ready() end)
    local result = step(name, options { timeout = ("%dms"):format(self.timeout + GRACE), destructive = given.destructive,
        done = function() return self:settled() end }, function() return self:run() end)
    recorded[name] = result or (skipped(given) and "skipped") or nil
    return result
end

--- An expectation: the database is at what the project has, nothing is pending, half done or edited. The options are those of
--- the migration; for a gate or a soak.
function migrate.check(given)
    local self = new("migrate.check", given)
    local status = self.driver:status(true)
    local wanting = table.concat(status.problems, "; ")
    if #status.pending > 0 then
        wanting = wanting .. (wanting ~= "" and "; " or "") .. "pending: " .. listed(status.pending)
    end
    return expect(given.tool .. "'s migrations of " .. tostring(given.db.name), wanting == "" and "applied" or wanting)
        :equals("applied")
end

--- An expectation: the migration `name` stands in this run's journal. In a gate before the code that needs it.
function migrate.required(name)
    return expect(("migration %q"):format(name), recorded[name] and "recorded" or "not recorded in this run"):equals("recorded")
end

return setmetatable(migrate, { __call = apply })
