-- migrate_prisma: prisma migrate deploy. What is applied stands in _prisma_migrations, what there is in prisma/migrations;
-- what the command prints is for people. `migrate dev` and `migrate reset` are never called.
local fs = require "rollout.fs"

local prisma = { options = { schema = "string", dir = "string", applied = "string", rolled_back = "string" } }

local Prisma = {}
Prisma.__index = Prisma

-- --no: a package that is not installed is not fetched, a newer version would migrate otherwise.
local COMMAND = { "npx", "--no", "--", "prisma" }
local TABLE = "_prisma_migrations"
local ROWS = [[SELECT migration_name AS name, checksum, logs, CASE WHEN finished_at IS NULL THEN 0 ELSE 1 END AS finished,
    CASE WHEN rolled_back_at IS NULL THEN 0 ELSE 1 END AS rolled_back FROM %s ORDER BY started_at, migration_name]]

function prisma.new(migration)
    local given = migration.given
    local dir = given.dir or ((given.schema or "prisma/schema.prisma"):match("^(.*/)[^/]*$") or "") .. "migrations"
    return setmetatable({ migration = migration, dir = migration:path(dir), schema = given.schema,
        table = TABLE }, Prisma)
end

-- The names of the folders with a migration.sql, in their order.
function Prisma:files()
    local names, paths = {}, {}
    for _, path in ipairs(fs.glob(self.dir .. "/*/migration.sql")) do
        local name = path:match("([^/]+)/migration%.sql$")
        names[#names + 1], paths[name] = name, path
    end
    return names, paths
end

-- What the engine noted of the failure, without its own places in Rust.
local function noted(logs)
    local lines = {}
    for line in (type(logs) == "string" and logs or ""):gmatch("[^\n]+") do
        if line:find("^%s+%d+: ") then
            break
        end
        lines[#lines + 1] = line:find("%S") and line or nil
    end
    return #lines > 0 and table.concat(lines, "; ") or "it noted nothing: it was ended, or is still at work"
end

local function way_out(row)
    return ("%s. Roll back by the backup; or mend the database by hand and say `prisma migrate resolve --rolled-back %q`"
        .. " where nothing of it is left, `--applied %q` where all of it is done"):format(noted(row.logs), row.name, row.name)
end

-- Rows of one migration: it may have failed, been resolved and done again.
function Prisma:rows()
    local applied, half, checksums = {}, {}, {}
    local rows, own = self.migration.database:own_rows(TABLE, ROWS)
    for _, row in ipairs(rows) do
        if row.rolled_back == 0 and row.finished == 1 then
            applied[#applied + 1], checksums[row.name] = row.name, row.checksum
        elseif row.rolled_back == 0 then
            half[#half + 1] = row
        end
    end
    return applied, half, checksums, own
end

-- Prisma begins in an empty schema only (its error P3005).
function Prisma:would_refuse(names)
    local tables, place = self.migration.database:tables_here()
    if tables > 0 then
        return ("%s has %s, and prisma has noted nothing there, so it would refuse it: say what it holds already by"
            .. " `prisma migrate resolve --applied %q`, one migration after the other"):format(place,
            tables == 1 and "a table" or tables .. " tables", names[1] or "the migration's name")
    end
end

--- What is applied, pending and half done; with `thorough` also whether applied files were edited.
function Prisma:status(thorough)
    local names, paths = self:files()
    local applied, half, checksums, own = self:rows()
    local status = { applied = applied, pending = {}, problems = {}, version = applied[#applied] }
    local is_half = {}
    for _, row in ipairs(half) do
        is_half[row.name] = true
        status.half, status.way_out = { row.name }, way_out(row)
        status.problems[#status.problems + 1] = ("%s failed or is half done: %s"):format(row.name, status.way_out)
    end
    for _, name in ipairs(names) do
        if not checksums[name] and not is_half[name] then
            status.pending[#status.pending + 1] = name
        elseif thorough and checksums[name] and fs.sha256(paths[name]) ~= checksums[name] then
            status.problems[#status.problems + 1] = name .. " was edited after it was applied"
        end
    end
    for _, name in ipairs(applied) do
        if not paths[name] then
            status.problems[#status.problems + 1] = name .. " is applied and not in " .. self.dir
        end
    end
    if thorough then
        status.problems[#status.problems + 1] = not own and self:would_refuse(names) or nil
        status.problems[#status.problems + 1] = self.migration:cannot_run(self.migration:command(COMMAND, "migrate", "--help"))
    end
    if #names == 0 then
        status.problems[#status.problems + 1] = "there is no migration in " .. self.dir .. ": is cwd right?"
    end
    return status
end

function Prisma:plan()
    self:apply()
end

local function command(self, ...)
    local argv = self.migration:command(COMMAND, "migrate", ...)
    if self.schema then
        argv[#argv + 1], argv[#argv + 2] = "--schema", self.schema
    end
    return argv
end

function Prisma:apply()
    return self.migration:run_tool(command(self, "deploy"))
end

-- ---- resolve ----

--- Whether it stands in the table as it is to stand there.
function Prisma:resolved()
    local given = self.migration.given
    local name = given.applied or given.rolled_back
    local last
    for _, row in ipairs(self.migration.database:own_rows(TABLE, ROWS)) do
        last = row.name == name and row or last
    end
    local as = given.applied and last and last.finished == 1 and last.rolled_back == 0
        or given.rolled_back and last and last.rolled_back == 1
    return as and { name = name, as = given.applied and "applied" or "rolled_back" }
end

function Prisma:resolve()
    local given = self.migration.given
    local name = given.applied or given.rolled_back
    local argv = command(self, "resolve", given.applied and "--applied" or "--rolled-back", name)
    local _, half = self:rows()
    if run.mode == "plan" then
        return self.migration:run_tool(argv)
    elseif not half[1] or half[1].name ~= name then
        fail(("%s did not fail: %s"):format(name, half[1] and "failed has " .. half[1].name or "no migration has"))
    end
    local ran = self.migration:run_tool(argv)
    local resolved = self:resolved()
    if not resolved then
        fail(("prisma migrate resolve exited with %d, and %s is not resolved:\n  %s"):format(ran.code, name, ran.err .. ran.out))
    end
    return resolved
end

return prisma
