-- What was written to a database since a moment: since the last step that wrote to it, else since the backup. A restore takes
-- it away, so a person is asked.
local _, rt, fingerprint = ...

return function(driver, job_of)
    local since = {}
    local backup = driver.backup
    local touched = {} -- by handle: an effect of the step under way has written to it

    --- To be called by whatever writes to a database by a handle. `restored`: what it holds now is a backup, so that its hashes
    --- are known, and nobody waits for others.
    function since.touch(database, restored)
        touched[database.id] = restored and "restored" or true
    end

    --- What was written so far is in the backup that begins now.
    function since.begin(database)
        touched[database.id] = nil
    end

    local function dumped()
        local list = {}
        for _, dump in ipairs(rt.mode() == "run" and rt.recorded(driver.name .. ".dump") or {}) do
            if driver.databases[dump.result.db] then
                list[#list + 1] = dump.result
            end
        end
        return list
    end

    -- The schema that is known: what the newest step since the dump has left, whichever process did it.
    local function known_schema(database, dump)
        local schema = dump.position.schema
        for _, event in ipairs(rt.observed(driver.name)) do
            local position = event.facts[database.id]
            if position and event.time > dump.time then
                schema = position.schema
            end
        end
        return schema
    end

    -- The position after a step that wrote, or that left another schema; nil after any other.
    local function after(database, dump)
        local job = job_of({ db = database.id, database = dump.database }, { key = "after a step" })
        local ok, position = pcall(function()
            local now = backup.position(job, dump.database)
            if not touched[database.id] and now.schema == known_schema(database, dump) then
                return nil
            end
            return touched[database.id] == "restored" and now or backup.position(job, dump.database, true)
        end)
        backup.close(job)
        if not ok then
            error(position, 0)
        end
        return position
    end

    --- The hook of after_step: nothing is looked at before the run has made a backup of a database.
    function since.after_step(info)
        local facts
        for _, dump in ipairs(info.changed and dumped() or {}) do
            local database = driver.databases[dump.db]
            local position = dump.position and after(database, dump)
            touched[database.id] = nil
            if position then
                facts = facts or {}
                facts[database.id] = position
            end
        end
        return facts
    end

    --- From where on what was written counts: { position, at, step } or nil.
    function since.baseline(job, given)
        local found = given.position and { position = given.position, at = given.time, step = false }
        for _, event in ipairs(rt.mode() == "run" and rt.observed(driver.name) or {}) do
            local position = event.facts[job.args.db]
            if position and (not given.time or event.time > given.time) then
                found = { position = position, at = event.time, step = event.name }
            end
        end
        return found
    end

    --- The fingerprints of what was swapped out, which nobody changes: they are worked out once.
    function since.of_kept(job, kept)
        job.kept_fingerprint = job.kept_fingerprint or backup.fingerprint_of(job, kept)
        return job.kept_fingerprint
    end

    --- → rows, { table = rows }, exact. Without counters the fingerprints are compared, which tell the least that it can be.
    --- `kept`: the name that the database has after a swap; nil: its own.
    function since.count(job, kept)
        local name = kept or job.name
        if job.args.since then
            return fingerprint.written(job.args.since, backup.fingerprint_of(job, name))
        end
        local base = job.baseline
        local found, why
        if base then
            found, why = backup.written_since(job, name, base.position, kept ~= nil)
        end
        if found then
            return found.rows, found.tables
        end
        job.uncounted = why
        return fingerprint.written(job.manifest, kept and since.of_kept(job, kept) or backup.fingerprint_of(job, name))
    end

    local function where_text(tables)
        local names = {}
        for name, rows in pairs(tables) do
            names[#names + 1] = string.format("%s (%d)", name, rows)
        end
        table.sort(names)
        if #names > 10 then
            names[11] = string.format("and %d more tables", #names - 10)
            names = table.move(names, 1, 11, 1, {})
        end
        return table.concat(names, ", ")
    end

    local function when_text(job)
        if job.uncounted then -- then it is the backup that the rows are compared with
            return "since the backup, the migration's own rows among them (" .. job.uncounted .. ")"
        elseif job.baseline and job.baseline.step then
            return string.format("since the step %q ended", job.baseline.step)
        end
        return "since the backup"
    end

    local function refuse(job, rows, tables)
        rt.raise("would_lose_rows", string.format("%s: at least %d row%s written %s, and the restore would lose that: %s;"
            .. " loses = %d allows it", driver.name, rows, rows == 1 and " was" or "s were",
            job.args.since and "since" or when_text(job), where_text(tables), rows), { rows = rows, tables = tables })
    end

    local function sum(first, second)
        local tables = {}
        for _, part in ipairs { first.tables, second.tables } do
            for name, rows in pairs(part) do
                tables[name] = (tables[name] or 0) + rows
            end
        end
        return first.rows + second.rows, tables
    end

    -- Where counters count rows the last look is short, whatever the size: what fingerprints told before, and what the
    -- counters tell since then.
    local function count_again(job)
        local asked = job.asked
        local found = asked and backup.counts and backup.written_since(job, job.name, asked.position)
        if not found then
            return since.count(job)
        end
        return sum(asked, found)
    end

    --- Goes on where no more was written than is allowed, or a person says so; raises otherwise. What is allowed is at
    --- job.allowed afterwards.
    function since.ask(job)
        local position = backup.counts and backup.position(job, job.name)
        local rows, tables = since.count(job)
        job.lost, job.lost_rows = tables, rows
        job.asked = { position = position, rows = rows, tables = tables }
        if rows <= job.allowed then
            return
        elseif job.args.since or rt.mode() ~= "run" then
            refuse(job, rows, tables)
        end
        local more = job.approved and string.format(" (%d more than the %d that were approved: it is being written to. Stop the"
            .. " application, or this is asked again)", rows - job.approved, job.approved) or ""
        local of = job.manifest.database
        job.ctx.approve {
            question = string.format("Restore %s%s, and lose what was written %s: at least %d row%s in %s%s", job.name,
                of and of ~= job.name and " from a backup of " .. of or "", when_text(job), rows, rows == 1 and "" or "s",
                where_text(tables), more),
            evidence = { database = job.args.db, backup = job.args.path, since = when_text(job), rows = rows,
                tables = tables },
            role = job.args.role, roles = job.args.roles,
        }
        job.allowed, job.approved = rows, rows
    end

    --- The last look, when (nearly) nobody can write any more: raises "written_meanwhile" where more was written than is
    --- allowed. `more`: { rows, tables } that were written after the look before this one, where that is known.
    function since.check(job, more)
        local rows, tables
        if more then
            rows, tables = sum({ rows = job.lost_rows, tables = job.lost }, more)
        else
            rows, tables = count_again(job)
        end
        job.lost, job.lost_rows = tables, rows
        if rows > job.allowed then
            rt.raise("written_meanwhile", string.format("%s: %d rows were written, and losing %d was allowed: %s",
                driver.name, rows, job.allowed, where_text(tables)))
        end
    end

    return since
end
