-- db:dump: a backup that is proven before it gets its name.
--
--   preflight ── start ── fingerprint ── finish ── scratch: create, load, fingerprint, equal? ── publish ── copies
--                  the dump writes X.partial ──┘        └── stands ready for a restore until the run ends
local native, rt, work, archive, fingerprint, told = ...

local function refuse_full_disk(driver, folder, expected)
    local free = work.file("free", folder)
    if free < expected then
        rt.raise("disk_full", string.format("%s: the backup may need %d MiB, and %s has %d MiB free", driver.name,
            expected >> 20, folder, free >> 20))
    end
end

return function(driver, lib)
    local backup = driver.backup

    -- Where the driver does not know how many tables are written, it is told how many were looked at: `done` of `total`.
    local function reporter(job)
        local looked
        return work.now_and_then(function(done, total)
            looked = done and { done = done, total = total, unit = "tables" } or looked
            local now = backup.progress(job)
            local size = now.total or job.expected
            -- what it will be is the server's guess
            job.ctx.progress(now.bytes, now.bytes <= size and size or 0, "bytes", now.tables or looked)
        end)
    end

    local function refuse_what_is_there(job)
        for _, folder in ipairs { job.folder, table.unpack(job.folders) } do
            local path = folder .. "/" .. job.file_name
            if native.size(path) or native.size(archive.manifest_path(path)) then
                -- A host that died after this very dump had its name, and before that was recorded: it is made again.
                local own = job.ctx.again and select(2, archive.manifest_of(path))
                if not own or own.made_by ~= job.mark then
                    rt.raise("exists", string.format("%s: %s is there already, and a backup overwrites nothing", driver.name,
                        path))
                end
                archive.remove(path)
            end
        end
    end

    local function verify(job)
        local scratch = job.verified == "clone" and job.scratch .. "_a" or job.scratch
        if job.loaded ~= scratch then -- else by a driver that loads what it writes meanwhile
            backup.drop(job, scratch)
            backup.create(job, scratch, job.source)
            backup.load(job, job.partial, scratch)
        end
        fingerprint.demand(driver.name .. ": the backup, restored,", job.fingerprint, backup.fingerprint_of(job, scratch),
            backup.later)
        if scratch ~= job.scratch then
            backup.drop(job, scratch)
        end
    end

    local function keep_or_drop(job)
        if not backup.exists(job, job.scratch) then
            return
        elseif not job.args.keep_scratch or rt.mode() ~= "run" then
            backup.drop(job, job.scratch)
            return
        end
        backup.freeze(job, job.scratch)
        job.kept = job.scratch
        job.kept_bytes = backup.size(job, job.scratch)
        job.kept_position = backup.position(job, job.scratch)
    end

    local function manifest_text(job, measured)
        local rows, tables = fingerprint.count(job.fingerprint)
        return rt.json.encode {
            format = 2, made_by = job.mark, run = rt.mode() == "run" and job.ctx.dir:match("[^/]+$") or nil,
            kind = driver.name, database = job.name, server = job.server, source = job.source, time = job.started,
            bytes = measured.bytes, sha256 = measured.sha256, files = measured.files, shape = job.shape,
            tables = job.fingerprint.tables, objects = job.fingerprint.objects, sequences = job.fingerprint.sequences,
            large_objects = job.fingerprint.large_objects, own = backup.manifest(job), position = job.position,
            verified = job.verified or false, keep = job.args.keep, rows = rows, count = tables,
        }
    end

    -- Gives the proven archive its name, here and in the other places. Its manifest comes first, and tells a host that
    -- resumes whose it is.
    local function publish(job)
        local measured = archive.measure(job.partial)
        local text = manifest_text(job, measured)
        archive.write_manifest(job.path, text)
        native.publish(job.partial, job.path)
        local copies, buckets = {}, nil
        for i, place in ipairs(job.places) do
            copies[i] = archive.copy(job.path, place, measured, text)
            if type(place) == "table" then
                buckets = buckets or {}
                buckets[copies[i]] = place.bucket
            end
        end
        local sha256 = rt.sha256(text)
        return measured, measured.sha256 or sha256, sha256, copies, buckets
    end

    local function prepare(job)
        local args = job.args
        job.folder = archive.folder(args.to)
        job.places, job.folders = {}, {}
        for i, place in ipairs(args.also) do
            if type(place) == "string" then
                place = archive.folder(place)
                job.folders[#job.folders + 1] = place
            end
            job.places[i] = place
        end
        job.file_name = args.name or job.name:gsub("[^%w._-]", "_") .. "-" .. work.stamp() .. backup.suffix
        job.path = job.folder .. "/" .. job.file_name
        job.partial = job.folder .. "/verify_" .. job.mark .. backup.suffix .. ".partial"
        refuse_what_is_there(job)
        native.remove(job.partial) -- of a host that died
        backup.preflight(job)
        for _, folder in ipairs { job.folder, table.unpack(job.folders) } do
            refuse_full_disk(driver, folder, job.expected * 3 // 2)
        end
        if args.verify then
            backup.drop(job, job.scratch)
        end
    end

    local function back_up(job)
        prepare(job)
        -- Before the snapshot: what is written in between is in the backup and counts as written since, not the reverse.
        lib.since.begin(job.database)
        job.position = backup.position(job, job.name)
        backup.start(job)
        local report = reporter(job)
        job.fingerprint = backup.fingerprint(job, report)
        backup.finish(job, report)
        if job.args.verify and job.verified ~= "clone" or job.args.verify == "archive" then
            verify(job)
            job.verified = true
        end
        keep_or_drop(job)
        local measured, sha256, manifest_sha256, copies, buckets = publish(job)
        local rows, tables = fingerprint.count(job.fingerprint)
        return {
            path = job.path, bytes = measured.bytes, sha256 = sha256, copies = rt.json.array(copies), buckets = buckets,
            manifest = archive.manifest_path(job.path), manifest_sha256 = manifest_sha256, db = job.args.db,
            database = job.name, server = job.server, tables = tables, rows = rows, verified = job.verified or false,
            keep = job.args.keep, shape = job.shape, why = job.shape_why, scratch = job.kept, scratch_bytes = job.kept_bytes,
            scratch_position = job.kept_position, position = job.position, time = job.started, locked_ms = job.locked_ms,
            notes = job.notes,
            ms = rt.now() - job.started,
        }
    end

    -- Runs also when the task is being cancelled: nothing here can be cut short, and nothing may raise.
    local function clean_up(job)
        pcall(backup.abandon, job)
        if job.args.verify then
            pcall(backup.drop, job, job.scratch)
            pcall(backup.drop, job, job.scratch .. "_a")
        end
        if job.partial then
            pcall(native.remove, job.partial)
        end
    end

    local function call(args, ctx)
        local job = lib.job(args, ctx)
        job.scratch = "rh_scratch_" .. job.mark
        job.expected = 0
        local ok, result = pcall(back_up, job)
        if not ok then
            clean_up(job)
        end
        backup.close(job)
        if not ok then
            error(result, 0)
        end
        return result
    end

    return rt.effect {
        name = driver.name .. ".dump",
        class = "idempotent",
        args = function(database, options)
            local given = rt.options(options or {}, {
                to = { "string", required = true }, name = "string", also = "table", verify = "any", maintenance = "boolean",
                keep_scratch = "boolean", jobs = "integer", keep = "string", empty = "boolean",
                lock_wait = "duration",
            }, "db:dump")
            if given.name and (given.name:find("/", 1, true) or given.name == "") then
                rt.raise("usage", "db:dump: name is a file's name without a folder; the folder is to = …")
            elseif given.verify ~= nil and type(given.verify) ~= "boolean" and given.verify ~= "archive" then
                rt.raise("usage", "db:dump: verify is true, false or \"archive\"")
            elseif given.keep and given.keep ~= "forever" then
                rt.raise("usage", "db:dump: keep is \"forever\", or left out")
            elseif given.jobs and (given.jobs < 1 or given.jobs > 64) then
                rt.raise("usage", "db:dump: jobs is between 1 and 64")
            end
            local also = {}
            for i, place in ipairs(given.also or {}) do
                also[i] = archive.place(string.format("db:dump: also[%d]", i), place)
            end
            if given.verify == nil then
                given.verify = true
            end
            return {
                db = database.id, database = work.need_database(database, "db:dump"), to = given.to, name = given.name,
                also = rt.json.array(also), verify = given.verify, maintenance = given.maintenance or false,
                keep_scratch = given.keep_scratch ~= false, jobs = given.jobs or 2, keep = given.keep, empty = given.empty,
                lock_wait = given.lock_wait,
            }
        end,
        describe = function(args)
            local places = { args.to }
            for i, place in ipairs(args.also) do
                places[i + 1] = archive.place_name(place)
            end
            return "back up " .. args.db .. " to " .. table.concat(places, " and ")
                .. (args.verify and ", proven by a restore" or ", not verified")
        end,
        call = call,
        says = told.dump,
        sample = function(args)
            return {
                path = rt.unknown("path of the backup"), bytes = rt.unknown("bytes"), sha256 = rt.unknown("sha256"),
                copies = {}, manifest = rt.unknown("manifest"), manifest_sha256 = rt.unknown("sha256"), db = args.db,
                database = args.database, server = rt.unknown("version"), tables = rt.unknown("tables"),
                rows = rt.unknown("rows"), verified = args.verify, shape = rt.unknown("shape"), why = rt.unknown("why"),
                scratch = rt.unknown("scratch"), scratch_bytes = rt.unknown("bytes"), locked_ms = 0, ms = 0,
            }
        end,
        exact = { "path", "manifest", "copies", "to", "also", "name" },
    }
end
