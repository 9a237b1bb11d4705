-- database: what rollout.mysql and rollout.pg share. No playbook names it: its functions are the drivers' (rt.native
-- "database"), and pass no door. What a driver is stands in docs/design.md, "A database".
local native, rt = ...

local parts = native.parts
local work = parts.work(native, rt)
local fingerprint = parts.fingerprint(native, rt)
local archive = parts.archive(native, rt, work)
local plain = parts.plain(native, rt, work)
local statements = parts.statements(native, rt, work)
local since = parts.since(native, rt, fingerprint)
local told = parts.told()
local dump = parts.dump(native, rt, work, archive, fingerprint, told)
local restore = parts.restore(native, rt, work, archive, fingerprint, plain, told)
local backups = parts.backups(native, rt, work, archive)
local inspect = parts.inspect(native, rt)

native.shown, native.reads = parts.shown(rt), parts.reads()

for name, fn in pairs(work) do
    native[name] = fn
end

local function job_maker(driver)
    return function(args, ctx)
        return { args = args, ctx = ctx, database = driver.databases[args.db], name = args.database, own = {},
            started = rt.now(), mark = work.mark(ctx, args.database) }
    end
end

local function fingerprints(driver, job_of, internals)
    return rt.effect {
        name = driver.name .. ".fingerprints",
        class = "read",
        args = function(database)
            return { db = database.id, database = work.need_database(database, "db:fingerprints") }
        end,
        describe = internals.describe("fingerprint"),
        call = function(args, ctx)
            local job = job_of(args, ctx)
            local ok, found = pcall(driver.backup.fingerprint_of, job, job.name)
            driver.backup.close(job)
            if not ok then
                error(found, 0)
            end
            return found
        end,
        sample = function()
            return { tables = rt.unknown("fingerprints"), objects = rt.unknown("fingerprints") }
        end,
    }
end

-- When the run has ended: the scratches that stood ready for it go, and the markers of what it wrote.
local function clean_up(driver, job_of, internals)
    local function drop_scratches(ctx)
        for _, dumped in ipairs(rt.recorded(driver.name .. ".dump")) do
            local result = dumped.result
            if result.scratch and driver.databases[result.db] then
                local job = job_of({ db = result.db, database = result.database }, ctx)
                local ok, err = pcall(driver.backup.drop, job, result.scratch)
                driver.backup.close(job)
                if not ok then
                    error(err, 0)
                end
            end
        end
    end
    local drop = rt.effect {
        name = driver.name .. ".clean_up",
        class = "idempotent",
        describe = function() return "drop what stood ready for a rollback" end,
        call = function(_, ctx)
            drop_scratches(ctx)
            internals.forget(ctx)
            return true
        end,
        sample = function() return true end,
    }
    return function()
        for _, verb in ipairs { "dump", "exec", "transaction" } do
            if #rt.recorded(driver.name .. "." .. verb) > 0 then
                drop()
                return
            end
        end
    end
end

-- For a step that writes by another program than this host: what comes after it is what a restore would lose.
local function wrote(driver, touch)
    return rt.effect {
        name = driver.name .. ".wrote",
        class = "idempotent",
        args = function(database) return { db = database.id } end,
        describe = function(args) return "this step wrote to " .. args.db end,
        call = function(args)
            touch(driver.databases[args.db])
            return true
        end,
        sample = function() return true end,
    }
end

--- The methods of a handle, for the driver to add its own to, and { with_connection(database, role, fn), touch(database) }.
--- To be called while the driver's module loads.
function native.module(driver)
    local job_of = job_maker(driver)
    local lib = { job = job_of, since = since(driver, job_of) }
    local internals = statements(driver, lib.since.touch)
    local methods = internals.methods
    methods.wrote = wrote(driver, lib.since.touch)
    methods.fingerprints = fingerprints(driver, job_of, internals)
    methods.dump = dump(driver, lib)
    methods.restore = restore(driver, lib)
    methods.backups, methods.prune = backups(driver)
    inspect(driver, internals)
    rt.after_step(lib.since.after_step)
    rt.at_run_end(clean_up(driver, job_of, internals))
    return methods, { with_connection = internals.with_connection, touch = lib.since.touch, describe = internals.describe }
end

return {}
