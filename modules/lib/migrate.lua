-- migrate: a schema migration by the project's own tool, tied to its backup and told by the tool's own table. It makes two
-- units where it is called: a gate, `NAME: ready`, which refuses before anything is touched, and the step NAME.
local _, rt = ...
local fs, sh, time = require "rollout.fs", require "rollout.sh", require "rollout.time"
local database = require "rollout.migrate_database"

local DRIVERS = { "alembic", "drizzle", "prisma", "sql" }

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
    tool = { "string", required = true, one_of = DRIVERS }, db = { "table", required = true }, backup = "any",
    max_age = { "duration", default = 3600000 }, cwd = "string", env = "table", command = "table", log = "string",
    timeout = { "duration", default = 1800000 }, lock_timeout = { "duration", default = 30000 }, destructive = "string",
    when = "any", only = "any", on_failure = "any", key = "any",
}

local function new(where, given)
    local tool = type(given) == "table" and { tool = given.tool } or given
    local driver = require("rollout.migrate_" .. rt.options(tool, { tool = OPTIONS.tool }, where).tool)
    local spec = {}
    for _, part in ipairs { OPTIONS, driver.options } do
        for name, kind in pairs(part) do
            spec[name] = kind
        end
    end
    local self = setmetatable({ name = where, given = rt.options(given, spec, where) }, Migration)
    self.env = self.given.env or {}
    self.database = database.of(self.given.db)
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

--- Why the tool does not run, or nil: before anything is begun, since a step that has begun is rolled back.
function Migration:cannot_run(argv)
    local ok, ran = pcall(self.read, self, argv)
    if ok and ran.code == 0 then
        return nil
    end
    local said = ok and (ran.err .. "\n" .. ran.out):gsub("npm warn[^\n]*\n", ""):match("[^\n]+") or ran.message
    return ("`%s` does not run: %s"):format(table.concat(argv, " "), said or "exit code " .. ran.code)
end

--- A command that changes nothing: { code, out, err, … }, whatever its code.
function Migration:read(argv)
    return sh.read(argv, { cwd = self.given.cwd, env = self.env, ok = ANY })
end

-- The name by which the tool's sessions are known.
local function application()
    return ("rollouthost %s"):format(run.id or ""):sub(1, 60)
end

local OPTIONS_OF_SESSION = "-c lock_timeout=%d -c client_connection_check_interval=2000"

-- What libpq and its like read: a lock that is not had in time is given up, so that nobody waits behind the migration; and
-- the server looks whether its client still lives.
local function session(self)
    local env = {}
    for name, value in pairs(self.env) do
        env[name] = value
    end
    if self.database.kind == "pg" then
        env.PGAPPNAME = env.PGAPPNAME or application()
        env.PGOPTIONS = env.PGOPTIONS or OPTIONS_OF_SESSION:format(self.given.lock_timeout)
    end
    return env
end

local function keep_log(self, ran)
    if self.given.log then
        fs.write(self.given.log, ran.out .. ran.err)
        attach(self.given.log)
    end
    return ran
end

--- Runs the tool: { code, out, err, ms }, whatever its code, or { ended = why } where it was not done in time.
function Migration:run_tool(argv)
    local ok, ran = pcall(sh.run, argv, { cwd = self.given.cwd, env = session(self), ok = ANY, capture = "4MiB",
        timeout = ("%dms"):format(self.given.timeout), destructive = self.given.destructive })
    if ok then
        return keep_log(self, ran)
    elseif ran.code ~= "timeout" then
        error(ran, 0)
    end
    return { code = 124, out = "", err = ran.message, ms = self.given.timeout, ended = ran.message }
end

-- ---- the backup ----

local function holds(name, measured, text)
    return rt.expectation { name = name, verdict = "pass", measured = measured, text = text or name .. ": " .. measured }
end

local function fails(name, text)
    return rt.expectation { name = name, verdict = "fail", measured = text, text = name .. ": " .. text }
end

-- "host:port/database" of a handle's id, whoever the user is.
local function place_of(id)
    return (id:gsub("^.*@", ""):gsub("#%d+$", ""))
end

-- Which backup it is and how old, or what speaks against it.
local function check_backup(self)
    local backup, db = self.given.backup, self.given.db
    if not backup then
        if self.database:is_empty() then
            return holds("backup", "none, and no table that could be lost")
        end
        return fails("backup", "there is none: give what db:dump returned, backup = backup")
    end
    local kept = fs.stat(backup.path)
    local age = time.now() - (backup.time or kept and kept.modified or 0)
    local text = ("%s of %s, %s old"):format(backup.path, tostring(backup.db or backup.database),
        rt.show_duration(math.max(age, 1000) // 1000 * 1000))
    if not kept then
        return fails("backup", backup.path .. " is not there any more")
    elseif not backup.verified then
        return fails("backup", text .. ", was not proven by a restore (verify = false)")
    elseif backup.database ~= db.name or (backup.db and place_of(backup.db) ~= place_of(db.id)) then
        return fails("backup", ("%s is of %s in %s, and not of %s"):format(backup.path, tostring(backup.database),
            tostring(backup.db or "?"), db.id))
    elseif age > self.given.max_age then
        return fails("backup", ("%s, and it may be %s: make a new one"):format(text, rt.show_duration(self.given.max_age)))
    end
    return holds("backup", text)
end

-- ---- the parts ----

local function listed(list)
    return #list == 0 and "nothing" or table.concat(list, ", ")
end

function Migration:ready()
    local checks = { check_backup(self) }
    local status = self.driver:status(true)
    for _, problem in ipairs(status.problems) do
        checks[#checks + 1] = fails(self.given.tool, problem)
    end
    checks[#checks + 1] = holds("pending", listed(status.pending))
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

local function plain(snapshot)
    return { digest = snapshot.digest, rows = snapshot.rows, rows_unknown = snapshot.rows_unknown }
end

-- What the journal keeps of a migration. From here on a restore loses what the application writes.
local function record(self, before, status)
    local backup, after = self.given.backup, self.database:snapshot(true)
    return {
        tool = self.given.tool, database = self.given.db.name, version = status.version,
        pending = before.status.pending, applied = without(status.applied, set_of(before.status.applied)),
        reverted = before.status.back, changed = database.changed(before.snapshot, after, self.driver.table or "\0"),
        before = plain(before.snapshot), after = plain(after), started = before.at,
        backup = backup and { path = backup.path, sha256 = backup.sha256 } or nil,
    }
end

-- What a person needs now: what was applied, what failed, the way out, and that the backup is there.
local function failure(self, before, status, ran)
    local applied = without(status.applied, set_of(before.status.applied))
    local lines = { ("%s did not migrate %s: %s"):format(self.given.tool, tostring(self.given.db.name),
        ran.why or ran.ended or "it exited with " .. ran.code) }
    local said = rt.last_lines(ran.out .. "\n" .. ran.err, 12)
    if said ~= "" and not ran.ended then
        lines[#lines + 1] = "it said:\n  " .. said
    end
    if not status.unknown then
        lines[#lines + 1] = "applied: " .. listed(applied)
        lines[#lines + 1] = "not applied: " .. listed(status.pending)
    end
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

-- On paper: what would be done, since what is pending is only known by asking.
local function planned(self)
    self.driver:plan()
    return { tool = self.given.tool, database = self.given.db.name, pending = {}, applied = {} }
end

function Migration:run()
    if run.mode == "plan" then
        return planned(self)
    end
    self.before = nil -- a second attempt looks again
    if self.driver.prepare then
        self.driver:prepare()
    end
    local mark, backup = self.database:mark(), self.given.backup
    local at = time.now()
    if backup and backup.time and at - backup.time > self.given.max_age then
        fail(("the backup %s became %s old before the migration began, and it may be %s: make a new one"):format(backup.path,
            rt.show_duration((at - backup.time) // 1000 * 1000), rt.show_duration(self.given.max_age)))
    end
    self.before = { mark = mark, at = at, snapshot = self.database:snapshot(true), status = self.driver:status() }
    local before = self.before
    if #before.status.pending == 0 then
        return record(self, before, before.status)
    end
    local ran = self.driver:apply(before.status)
    self.given.db:wrote()
    local ok, status = pcall(function()
        ran.left = ran.ended and self.database:sweep(mark, application())
        return self.driver:status()
    end)
    if not ok then
        ran.why = ("%s; what is applied cannot be told: %s"):format(ran.ended or ran.why or "it exited with " .. ran.code,
            status.message)
        status = { applied = {}, pending = {}, unknown = true }
    end
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
    local left = self.database:left(before.mark, application())
    if #left > 0 then
        fail(("the server is still at work on %s: await its end, or end it, and resume"):format(table.concat(left, "; ")))
    end
    local status = self.driver:status()
    if status.half then
        fail(("half done: %s. %s"):format(listed(status.half), status.way_out))
    elseif #status.pending == 0 then
        return record(self, before, status)
    elseif not status.repeatable and #status.applied == #before.status.applied then
        local changed = database.changed(before.snapshot, self.database:snapshot(), self.driver.table or "\0")
        if #changed > 0 then
            fail(("%s changed, and the tool's table does not say by what: look whether it is half done"):format(listed(changed)))
        end
    end
    return nil
end

-- ---- the words ----

local function skipped(given)
    local only = type(given.only) == "string" and { given.only } or given.only
    return given.when == false or (only and not set_of(only)[run.environment])
end

local function apply(_, name, options)
    if type(name) ~= "string" then
        rt.raise("usage", "migrate: its first argument is its name: migrate(\"migrate\", { tool = …, db = …, backup = … })")
    end
    local self = new(("migrate %q"):format(tostring(name)), options)
    local given = self.given
    local function with(more)
        more.when, more.only, more.on_failure, more.key = given.when, given.only, given.on_failure, given.key
        return more
    end
    gate(name .. ": ready", with {}, function() return self:ready() end)
    local result = step(name, with { timeout = ("%dms"):format(given.timeout + GRACE), destructive = given.destructive,
        done = function() return self:settled() end }, function() return self:run() end)
    recorded[name] = result or (skipped(given) and "skipped") or nil
    return result
end

--- An expectation: the database is at what the project has, nothing is pending, half done or edited. The options are those of
--- the migration; for a gate or a soak.
function migrate.check(options)
    local self = new("migrate.check", options)
    local driver = self.driver
    local status = driver.check and driver:check() or driver:status(true)
    local name = ("%s of %s"):format(self.given.tool, tostring(self.given.db.name))
    if rt.mode() == "plan" then -- what the tool would have said is not known
        return rt.expectation { name = name, verdict = "unknown" }
    end
    local wanting = status.problems
    if #status.pending > 0 then
        wanting[#wanting + 1] = "pending: " .. listed(status.pending)
    end
    return #wanting > 0 and fails(name, table.concat(wanting, "; ")) or holds(name, "nothing is pending")
end

--- An expectation: the migration `name` stands in this run's journal. In a gate before the code that needs it.
function migrate.required(name)
    local text = ("migration %q"):format(name)
    if recorded[name] == "skipped" then
        return holds(text, "left out by the playbook")
    end
    return recorded[name] and holds(text, "recorded") or fails(text, "is not recorded in this run; it comes before the code")
end

--- A step that tells prisma what a person did about a migration that had failed: rolled_back = "name" where nothing of it is
--- left, applied = "name" where all of it is done.
function migrate.resolve(name, options)
    local self = new(("migrate.resolve %q"):format(tostring(name)), options)
    local given = self.given
    if not self.driver.resolve or (given.applied == nil) == (given.rolled_back == nil) then
        rt.raise("usage", self.name .. ": prisma's, with either applied or rolled_back = \"the migration's name\"")
    end
    return step(name, { when = given.when, only = given.only, on_failure = given.on_failure, key = given.key,
        done = function() return self.driver:resolved() end }, function() return self.driver:resolve() end)
end

return setmetatable(migrate, { __call = apply })
