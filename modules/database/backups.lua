-- db:backups: what is there. db:prune: what may go.
local native, rt, work, archive = ...

return function(driver)
    local function read(folder, name)
        local path = folder .. "/" .. name:gsub("%.manifest%.json$", "")
        local why, manifest = archive.manifest_of(path)
        if why then
            return { path = path, whole = false, why = why }
        elseif manifest.kind and manifest.kind ~= driver.name then
            return nil
        end
        local size = native.size(path)
        local whole = size == manifest.bytes
        return {
            path = path, manifest = archive.manifest_path(path), manifest_sha256 = rt.sha256(work.file("read",
                archive.manifest_path(path), { limit = 256 << 20 })), sha256 = manifest.sha256, database = manifest.database,
            server = manifest.server, time = manifest.time or 0, bytes = manifest.bytes, tables = manifest.count,
            rows = manifest.rows, verified = manifest.verified or false, run = manifest.run, keep = manifest.keep,
            position = manifest.position, whole = whole,
            why = not whole and (size and string.format("it has %d bytes instead of %d", size, manifest.bytes)
                or "it is not there") or nil,
        }
    end

    -- Newest first; those of another database are left out, those whose manifest cannot be read are not.
    local function list(folder, database)
        local found = {}
        for _, name in ipairs(work.file("stat", folder) and work.file("list", folder) or {}) do
            local entry = name:find("%.manifest%.json$") and read(folder, name)
            if entry and (not database or not entry.database or entry.database == database) then
                if entry.whole and entry.sha256 == nil then
                    entry.sha256 = entry.manifest_sha256 -- of a folder
                end
                found[#found + 1] = entry
            end
        end
        table.sort(found, function(a, b)
            if (a.time or 0) ~= (b.time or 0) then
                return (a.time or 0) > (b.time or 0)
            end
            return a.path > b.path
        end)
        return found
    end

    local backups = rt.effect {
        name = driver.name .. ".backups",
        class = "read",
        args = function(database, options)
            local given = rt.options(options or {}, { folder = { "string", required = true }, all = "boolean" }, "db:backups")
            return { db = database.id, database = database.name, folder = given.folder, all = given.all or false }
        end,
        describe = function(args) return "list the backups in " .. args.folder end,
        call = function(args)
            return rt.json.array(list(args.folder, not args.all and args.database))
        end,
        sample = function(args) return rt.unknown("backups in " .. args.folder) end,
        exact = true,
    }

    -- Why an old backup stays; nil: it goes.
    local function stays(entry, state)
        if not entry.database then
            return "its manifest cannot be read: " .. entry.why
        elseif entry.keep == "forever" then
            return "it is to be kept for ever"
        elseif entry.path == state.last_verified then
            return "it is the last one that was verified"
        elseif entry.run and rt.run_unfinished and rt.run_unfinished(entry.run) then
            return "run " .. entry.run .. " has not come to its end"
        elseif state.rank <= state.args.keep_last then
            return string.format("it is among the last %d", state.args.keep_last)
        elseif rt.now() - entry.time < state.args.older_than then
            return "it is younger than " .. rt.show_duration(state.args.older_than)
        end
    end

    local prune = rt.effect {
        name = driver.name .. ".prune",
        class = "idempotent",
        args = function(database, options)
            local given = rt.options(options or {}, {
                folder = { "string", required = true }, older_than = { "duration", required = true },
                keep_last = { "integer", required = true },
            }, "db:prune")
            if given.keep_last < 1 then
                rt.raise("usage", "db:prune: keep_last is at least 1")
            end
            return { db = database.id, database = work.need_database(database, "db:prune"), folder = given.folder,
                older_than = given.older_than, keep_last = given.keep_last }
        end,
        describe = function(args)
            return string.format("remove backups of %s from %s that are older than %s, beyond the last %d", args.database,
                args.folder, rt.show_duration(args.older_than), args.keep_last)
        end,
        call = function(args)
            local found = list(args.folder, args.database)
            local state = { args = args, rank = 0 }
            for _, entry in ipairs(found) do
                if entry.verified and entry.whole and not state.last_verified then
                    state.last_verified = entry.path
                end
            end
            local removed, kept = {}, {}
            for _, entry in ipairs(found) do
                state.rank = state.rank + 1
                local why = stays(entry, state)
                if why then
                    kept[#kept + 1] = { path = entry.path, why = why }
                else
                    archive.remove(entry.path)
                    removed[#removed + 1] = entry.path
                end
            end
            return { removed = rt.json.array(removed), kept = rt.json.array(kept) }
        end,
        sample = function() return { removed = rt.json.array {}, kept = rt.json.array {} } end,
        exact = true,
    }

    return backups, prune
end
