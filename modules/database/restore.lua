-- db:restore: brings a backup back.
--
--   swap      the proven scratch of the dump, or the archive loaded into one and proven, is renamed in; the live one is kept
--   into      the archive into a database of its own, proven there
--   in_place  over what is there: for a user who may not create databases, with the application stopped
--
-- A crash is found out by the driver's mark of this very swap: before it the old state is whole, after it the new one.
local native, rt, work, archive, fingerprint, plain, told = ...

local TRIES = 5 -- at a swap, while more is written than was approved

return function(driver, lib)
    local backup, since = driver.backup, lib.since

    -- ---- what is restored ----

    -- A copy in a bucket is looked at only when those in folders are no good: it has to be fetched first.
    local function fetched(job, path, complaints)
        if not path:find "^s3://" then
            return path
        end
        job.fetched = job.fetched or archive.folder(job.ctx.dir .. "/fetched_" .. job.mark)
        local ok, found = pcall(archive.fetch, path, (job.args.buckets or {})[path], job.fetched)
        if ok then
            return found
        end
        complaints[#complaints + 1] = path .. ": " .. found.message
    end

    local function refuse_damaged(complaints)
        rt.raise("backup_damaged", driver.name .. ": the backup cannot be restored, and nothing was touched: "
            .. table.concat(complaints, "; "))
    end

    local function refuse_foreign(job)
        if job.manifest.kind and job.manifest.kind ~= driver.name then
            rt.raise("usage", string.format("%s: %s is a backup of rollout.%s", driver.name, job.args.path, job.manifest.kind))
        end
    end

    -- The first of the backup and its copies that `why_not(here, manifest)` has nothing against.
    local function first_good(job, why_not)
        local complaints = {}
        for _, path in ipairs { job.args.path, table.unpack(job.args.copies) } do
            local here = fetched(job, path, complaints)
            local why, manifest
            if here then
                why, manifest = archive.manifest_of(here, job.args.manifest_sha256)
                why = why or why_not(here, manifest)
            end
            if here and not why then
                job.manifest = manifest
                refuse_foreign(job)
                return here, path
            end
            complaints[#complaints + 1] = why
        end
        refuse_damaged(complaints)
    end

    -- The archive beside it is not read.
    local function read_manifest(job)
        first_good(job, function() end)
    end

    local function choose_archive(job)
        job.file, job.file_name = first_good(job, function(here, manifest)
            if manifest.sha256 and job.args.sha256 and manifest.sha256 ~= job.args.sha256 then
                return here .. " has the manifest of another backup"
            end
            return archive.damage(here, manifest)
        end)
    end

    local function prove(job, name, what, later)
        fingerprint.demand(driver.name .. ": " .. what, job.manifest, backup.fingerprint_of(job, name), later)
    end

    local function make(job, name, what)
        backup.create(job, name, job.manifest.source)
        backup.load(job, job.file, name)
        prove(job, name, what, backup.settles or backup.later)
    end

    -- A user's own dump has no manifest: what it holds is known when it has been loaded without an error.
    local function make_plain(job, name)
        backup.create(job, name, backup.source(job, job.name))
        backup.load_plain(job, job.plain, name)
        job.manifest = backup.fingerprint_of(job, name)
        job.manifest.own = backup.manifest(job, name)
        if not next(job.manifest.tables) then
            rt.raise("backup_damaged", string.format("%s: %s was loaded without an error, and there is no table in it",
                driver.name, job.args.path))
        end
        job.file_name = job.plain.path
    end

    -- ---- the kept scratch ----

    local function untouched(job, name)
        local found = job.args.scratch_position and backup.written_since(job, name, job.args.scratch_position)
        if found then
            return found.rows == 0
        end
        return #fingerprint.differences(job.manifest, backup.fingerprint_of(job, name), backup.later) == 0
    end

    -- The scratch that the dump has left in this run, if it is there and nobody wrote to it.
    local function use_kept(job)
        local name = job.args.scratch
        if not name or not backup.exists(job, name) then
            return false
        end
        read_manifest(job)
        if not untouched(job, name) then
            return false
        end
        job.scratch, job.from, job.file_name = name, "scratch", job.args.path
        return true
    end

    -- ---- swap ----

    local function kept_name(job)
        local base = job.name:sub(1, 36):gsub("[\128-\255]+$", "") .. "_broken_" .. work.stamp():gsub("-", "_")
        local name, n = base, 1
        while backup.exists(job, name) do
            n = n + 1
            name = base .. "_" .. n
        end
        return name
    end

    local function summary(job, more)
        local rows, tables = fingerprint.count(job.manifest)
        local result = { mode = job.args.mode, database = job.name, file = job.file_name, from = job.from, tables = tables,
            rows = rows, lost = job.lost, lost_rows = job.lost_rows, notes = job.notes, ms = rt.now() - job.started }
        for key, value in pairs(more or {}) do
            result[key] = value
        end
        return result
    end

    -- Rows differ where the application has written since the swap; all else must be the backup's.
    local function compare(job, facts)
        local found = backup.fingerprint_of(job, job.name)
        local rows, tables = 0, {}
        for name, entry in pairs(found.tables) do
            local old = job.manifest.tables[name]
            if old and old.definition == entry.definition and (old.rows ~= entry.rows or old.hash ~= entry.hash) then
                tables[name] = math.max(1, math.abs(old.rows - entry.rows))
                rows = rows + tables[name]
                entry.rows, entry.hash = old.rows, old.hash
            end
        end
        fingerprint.demand(string.format("%s: after the swap %s", driver.name, job.name), job.manifest, found,
            job.plain and backup.later)
        local _, lost = fingerprint.written(job.manifest, since.of_kept(job, facts.kept))
        local changed = 0
        for _ in pairs(lost) do
            changed = changed + 1
        end
        return { written_after = tables, written_after_rows = rows, changed = changed, proof = "fingerprints" }
    end

    -- The scratch was proven and nobody wrote to it: what its counters tell is what was written since the swap.
    local function look_after(job, facts)
        local found = facts.position and backup.written_since(job, job.name, facts.position, true)
        if found then
            return { written_after = found.tables, written_after_rows = found.rows, proof = "counters" }
        end
        return compare(job, facts)
    end

    -- Where the last look was not the last moment: what was written between it and the renames is in the kept one, too.
    local function count_lost(job, facts)
        job.lost, job.lost_rows = facts.lost, facts.lost_rows
        if backup.counts then
            return
        end
        local rows, tables = since.count(job, facts.kept)
        if rows > job.lost_rows then
            job.notes = job.notes or rt.json.array {}
            table.insert(job.notes, string.format("%d of the lost rows were written in the moment of the swap, after they had been"
                .. " counted for the last time", rows - job.lost_rows))
        end
        job.lost, job.lost_rows = tables, rows
    end

    -- After the renames: all of it may be done again.
    local function finish_swap(job, facts)
        if backup.settle then
            backup.settle(job, facts)
        end
        local restored = rt.now() - job.started
        count_lost(job, facts)
        local more = look_after(job, facts)
        backup.drop(job, facts.scratch)
        more.kept, more.gap_ms, more.restored_ms = facts.kept, facts.gap_ms, restored
        return summary(job, more)
    end

    -- What a predecessor has swapped in: what it was made of is needed once more.
    local function already(job)
        local facts = backup.swapped(job)
        if not facts then
            return nil
        end
        job.from, job.file_name = facts.from, facts.file
        if job.plain then
            job.manifest = facts.manifest
        else
            read_manifest(job)
        end
        return finish_swap(job, facts)
    end

    local function facts_of(job)
        local facts = { kept = kept_name(job), lost = job.lost, lost_rows = job.lost_rows, from = job.from,
            file = job.file_name, scratch = job.scratch, manifest = job.plain and job.manifest or nil }
        if job.from == "scratch" then
            facts.position = job.args.scratch_position
        end
        return facts
    end

    local function swap_in(job)
        local last
        for _ = 1, TRIES do
            since.ask(job)
            local facts = facts_of(job)
            job.swapping = true
            local ok, err = pcall(function()
                facts.gap_ms = backup.swap(job, facts, function(more)
                    since.check(job, more)
                    facts.lost, facts.lost_rows = job.lost, job.lost_rows
                end)
            end)
            if ok then
                return finish_swap(job, facts)
            elseif err.code ~= "written_meanwhile" then
                error(err, 0)
            end
            last = err
        end
        rt.raise("written_meanwhile", string.format("%s; the application writes to %s faster than its loss is approved: stop it"
            .. " first", last.message, job.name))
    end

    local function swap(job)
        local done = already(job)
        if done then
            return done
        end
        if not job.plain and use_kept(job) then
            return swap_in(job)
        end
        if not job.plain then
            choose_archive(job)
            since.ask(job) -- before minutes are spent on it
        end
        job.from = job.plain and "plain" or "archive"
        backup.drop(job, job.scratch)
        local ok, result = pcall(function()
            if job.plain then
                make_plain(job, job.scratch)
            else
                make(job, job.scratch, "the loaded backup")
            end
            return swap_in(job)
        end)
        if not ok then
            local known, swapped = true, nil
            if job.swapping then
                known, swapped = pcall(backup.swapped, job)
            end
            if known and not swapped then
                pcall(backup.drop, job, job.scratch)
            end
            error(result, 0)
        end
        return result
    end

    -- ---- the other modes ----

    -- A host that died after it had the name: it is found to be the backup. Anything else is somebody's.
    local function refuse_occupied(job, name)
        if not job.ctx.again or #fingerprint.differences({ tables = job.manifest.tables },
            { tables = backup.fingerprint_of(job, name).tables }) > 0 then
            rt.raise("exists", string.format("%s: there is a database %s already, and nothing is overwritten", driver.name, name))
        end
    end

    -- Loaded and proven under another name, so that what a dead host has left half loaded is never taken for it.
    local function into(job)
        local name = job.args.into
        if backup.occupied(job, name) and not job.ctx.again then
            refuse_occupied(job, name)
        end
        local ok, err = pcall(function()
            backup.drop(job, job.scratch)
            if job.plain then
                make_plain(job, job.scratch)
            else
                choose_archive(job)
                if not backup.occupied(job, name) then
                    make(job, job.scratch, "the loaded backup")
                end
            end
            if backup.occupied(job, name) then
                refuse_occupied(job, name)
            end
            backup.rename(job, job.scratch, name)
        end)
        if not ok then
            pcall(backup.drop, job, job.scratch)
            error(err, 0)
        end
        return summary(job, { database = name })
    end

    local function in_place(job)
        if job.plain then
            rt.raise("usage", "db:restore: a plain dump is proven before it is put in place: mode \"swap\" or \"into\"")
        end
        work.end_predecessors(job.ctx, "load") -- one that is still at it holds what is looked at here
        choose_archive(job)
        local begun = backup.begun and backup.begun(job)
        if begun then -- what is there is neither what was written since nor the backup
            job.lost, job.lost_rows = begun.lost, begun.lost_rows
        else
            since.ask(job)
        end
        backup.in_place(job)
        prove(job, job.name, "the restored database", backup.later)
        return summary(job)
    end

    local MODES = { swap = swap, into = into, in_place = in_place }
    local LONGEST = 63 -- bytes of a database's name; PostgreSQL cuts a longer one off

    local function call(args, ctx)
        local job = lib.job(args, ctx)
        job.scratch = "rh_restore_" .. job.mark
        job.allowed = args.loses or 0
        local ok, result = pcall(function()
            backup.open(job)
            if args.plain then
                job.plain = plain.recognise(driver, job, args.path)
            end
            job.baseline = since.baseline(job, args)
            return MODES[args.mode](job)
        end)
        backup.close(job)
        if job.fetched then
            pcall(native.remove, job.fetched)
        end
        if not ok then
            error(result, 0)
        end
        since.touch(job.database, true)
        return result
    end

    -- ---- the effect ----

    local function check_backup(given)
        if type(given) ~= "table" then
            rt.raise("usage", "db:restore: expected what db:dump returned, or a file's path, got " .. type(given))
        end
        for _, field in ipairs { "path", "sha256" } do
            if given[field] == nil then
                rt.raise("usage", "db:restore: this is not what db:dump returned: it has no " .. field)
            end
        end
    end

    local function mode_of(given, name)
        local mode = given.mode or (given.into and "into" or "swap")
        if not MODES[mode] then
            rt.raise("usage", string.format("db:restore: mode is \"swap\", \"into\" or \"in_place\", not %q", mode))
        elseif (mode == "into") ~= (given.into ~= nil) then
            rt.raise("usage", "db:restore: into = \"database\" goes with mode = \"into\"")
        elseif given.into and (given.into == "" or #given.into > LONGEST or given.into:find "%c") then
            rt.raise("usage", string.format("db:restore: into = %q is no name of a database: 1 to %d bytes", given.into, LONGEST))
        elseif given.into == name then
            rt.raise("usage", "db:restore: into = the database itself; mode = \"swap\" does that without harm")
        end
        return mode
    end

    return rt.effect {
        name = driver.name .. ".restore",
        class = "idempotent",
        args = function(database, given_backup, options)
            local given = rt.options(options or {}, {
                mode = "string", into = "string", loses = "integer", since = "table", lock_wait = "duration", role = "string",
                roles = "table", jobs = "integer",
            }, "db:restore")
            if given.loses and given.loses < 0 then
                rt.raise("usage", "db:restore: loses is a number of rows: 0 or more")
            elseif given.jobs and (given.jobs < 1 or given.jobs > 64) then
                rt.raise("usage", "db:restore: jobs is between 1 and 64")
            end
            local from = given_backup
            if type(from) == "string" and from ~= "" then
                from = { path = from, plain = true }
            else
                check_backup(from)
            end
            local name = work.need_database(database, "db:restore")
            return {
                db = database.id, database = name, path = from.path, plain = from.plain, sha256 = from.sha256,
                manifest_sha256 = from.manifest_sha256, copies = rt.json.array(from.copies or {}), buckets = from.buckets,
                scratch = from.scratch, scratch_position = from.scratch_position, position = from.position,
                time = from.time, mode = mode_of(given, name), into = given.into, loses = given.loses, since = given.since,
                lock_wait = given.lock_wait or 30000, role = given.role, roles = given.roles, jobs = given.jobs or 2,
            }
        end,
        describe = function(args)
            local how = args.mode == "swap" and "swapped in; the live one is kept" or args.mode == "into"
                and "into " .. args.into or "over what is there"
            return string.format("restore %s from %s, %s", args.db, tostring(args.path), how)
        end,
        call = call,
        says = told.restore,
        sample = function(args)
            return {
                mode = args.mode, database = args.into or args.database, file = args.path, tables = rt.unknown("tables"),
                rows = rt.unknown("rows"), kept = rt.unknown("kept database"), lost = {}, lost_rows = rt.unknown("rows"),
                written_after = {}, ms = 0,
            }
        end,
    }
end
