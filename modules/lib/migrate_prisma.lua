-- migrate_prisma: prisma migrate deploy. What is applied stands in _prisma_migrations, what there is in prisma/migrations;
-- what the command prints is for people. `migrate dev` and `migrate reset` are never called.
local fs = require "rollout.fs"

local prisma = { options = { schema = "string", dir = "string" } }

local Prisma = {}
Prisma.__index = Prisma

-- --no: a package that is not installed is not fetched, a newer version would migrate otherwise.
local COMMAND = { "npx", "--no", "prisma" }
local TABLE = "_prisma_migrations"
local ROWS = [[SELECT migration_name AS name, checksum, logs, CASE WHEN finished_at IS NULL THEN 0 ELSE 1 END AS finished,
    CASE WHEN rolled_back_at IS NULL THEN 0 ELSE 1 END AS rolled_back FROM %s ORDER BY started_at, migration_name]]

function prisma.new(migration)
    local given = migration.given
    local dir = given.dir or given.schema and given.schema:match("^(.*)/[^/]*$") and given.schema:match("^(.*)/") .. "/migrations"
        or given.schema and "migrations" or "prisma/migrations"
    return setmetatable({ migration = migration, dir = migration:path(dir), schema = given.schema }, Prisma)
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

local function way_out(name)
    return ("Roll back by the backup; or mend the database by hand and say `prisma migrate resolve --rolled-back %q` where"
        .. " nothing of it is left, `--applied %q` where all of it is done"):format(name, name)
end

-- Rows of one migration: it may have failed, been resolved and done again.
function Prisma:rows()
    local applied, half, checksums = {}, {}, {}
    for _, row in ipairs(self.migration.database:own_rows(TABLE, ROWS)) do
        if row.rolled_back == 0 and row.finished == 1 then
            applied[#applied + 1], checksums[row.name] = row.name, row.checksum
        elseif row.rolled_back == 0 then
            half[#half + 1] = row.name
        end
    end
    return applied, half, checksums
end

--- What is applied, pending and half done; with `thorough` also whether applied files were edited.
function Prisma:status(thorough)
    local names, paths = self:files()
    local applied, half, checksums = self:rows()
    local status = { applied = applied, pending = {}, problems = {}, version = applied[#applied] }
    local is_half = {}
    for _, name in ipairs(half) do
        is_half[name] = true
        status.half, status.way_out = half, way_out(name)
        status.problems[#status.problems + 1] = name .. " failed or is half done: prisma migrate resolve"
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
    if #names == 0 then
        status.problems[#status.problems + 1] = "there is no migration in " .. self.dir .. ": is cwd right?"
    end
    return status
end

function Prisma:apply()
    local argv = self.migration:command(COMMAND, "migrate", "deploy")
    if self.schema then
        argv[#argv + 1], argv[#argv + 2] = "--schema", self.schema
    end
    return self.migration:run_tool(argv)
end

return prisma
