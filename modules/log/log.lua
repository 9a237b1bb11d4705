-- log: what was written to a log since a mark. A source is pure; marks are plain data, so that a resumed run counts from
-- the same line on. A scanner (scan.c) reads on from where it was, as long as this process lives.
local native, rt = ...

local M = {}

local WAIT, COMMAND_TIMEOUT, POLL, COMMAND_POLL = 60000, 30000, 500, 1000
local SCANNERS, LINE = 64, 400
local SKEW = 300000 -- by which clocks may differ

-- ---- sources ----

local Source

local function source(fields)
    return setmetatable(fields, Source)
end

local function text(value, where, what)
    if rt.is_unknown(value) then
        return value
    elseif rt.is_secret(value) or type(value) ~= "string" or value == "" then
        rt.raise("usage", ("%s: %s is %s; expected a text"):format(where, what,
            rt.is_secret(value) and "a secret" or value == nil and "missing" or value == "" and "empty" or "a " .. type(value)))
    elseif value:find("\0", 1, true) then
        rt.raise("usage", ("%s: %s has a NUL byte"):format(where, what))
    end
    return value
end

-- "+01:00" or "Z" as minutes east of UTC.
local function zone_of(given, where)
    if given == nil then
        return false
    end
    local sign, hours, minutes = given:match("^([+-])(%d%d):?(%d%d)$")
    if given == "Z" or given == "UTC" then
        return 0
    elseif not sign then
        rt.raise("usage", ('%s: zone is that of times that name none, such as "+01:00" or "UTC", not %q'):format(where, given))
    end
    return (tonumber(hours) * 60 + tonumber(minutes)) * (sign == "-" and -1 or 1)
end

--- The log file at `path`, also when it is rotated or truncated. A relative path starts where the run started.
--- { zone = "+01:00" }: of times in its lines that name none; this machine's.
function M.file(path, options)
    local given = rt.options(options or {}, { zone = "string" }, "log.file")
    text(path, "log.file", "the path")
    return source { name = tostring(path), path = path, command = false, containers = false, cwd = false, env = false,
        timeout = false, zone = zone_of(given.zone, "log.file") }
end

--- What a command prints (both streams), run anew each time. In its arguments "{since}" becomes the time from which lines
--- are wanted, as ISO 8601, and "{since_unix}" the same in seconds.
function M.command(argv, options)
    local given = rt.options(options or {}, { cwd = "string", env = "table", name = "string", timeout = "duration",
        zone = "string" }, "log.command")
    if type(argv) ~= "table" or #argv == 0 then
        rt.raise("usage", 'log.command: expected a command such as { "docker", "logs", "--since", "{since}", "app" }')
    end
    for i, word in ipairs(argv) do
        text(word, "log.command", "argument " .. i)
    end
    return source { name = given.name or table.concat(argv, " "), path = false, command = argv, containers = false,
        cwd = given.cwd or false, env = given.env or false,
        timeout = given.timeout or false, zone = zone_of(given.zone, "log.command") }
end

-- What containers print; `of` is plain data for docker's lines.lua.
function native.containers(of, name)
    return source { name = name, path = false, command = false, containers = of, cwd = false, env = false, timeout = false,
        zone = false }
end

--- A container's log, by the Engine API: { engine = docker.engine { … } }, or the engine that docker.engine() finds.
function M.container(name, options)
    local given = rt.options(options or {}, { engine = "table" }, "log.container")
    text(name, "log.container", "the container's name")
    if given.engine and type(rawget(given.engine, "engine")) ~= "table" then
        rt.raise("usage", "log.container: engine is what docker.engine returned")
    end
    return native.containers({ engine = given.engine and given.engine.engine or {}, name = name }, "container " .. tostring(name))
end

--- The journal: { unit, identifier, priority }.
function M.journal(options)
    local given = rt.options(options or {}, { unit = "string", identifier = "string", priority = "string" }, "log.journal")
    local argv = { "journalctl", "--quiet", "--no-pager", "--output=short-unix", "--since=@{since_unix}" }
    local names = {}
    for _, name in ipairs { "unit", "identifier", "priority" } do
        if given[name] then
            argv[#argv + 1] = "--" .. name .. "=" .. given[name]
            names[#names + 1] = given[name]
        end
    end
    return M.command(argv, { name = "journal" .. (#names > 0 and " of " .. table.concat(names, " ") or "") })
end

-- ---- arguments ----

local FIND = { since = "any", except = "string", ignore_case = "boolean", per = "duration" }

local function with(more)
    local spec = {}
    for _, part in ipairs { FIND, more } do
        for name, kind in pairs(part) do
            spec[name] = kind
        end
    end
    return spec
end

-- A mark, a duration back from now, or a point in time (ms).
local function check_since(from, since, where)
    if since == nil then
        rt.raise("usage", where .. ': since is missing: a mark (log:mark()), a duration such as "15m", or a time')
    elseif rt.is_unknown(since) then
        return since
    elseif type(since) == "string" then
        return { back = rt.duration(since) }
    elseif math.type(since) == "integer" and since >= 0 then
        return { from = since }
    elseif type(since) ~= "table" or type(since.at) ~= "number" or since.log == nil then
        rt.raise("usage", where .. ': since is a mark (log:mark()), a duration such as "15m", or a time in ms')
    elseif since.log ~= from.name then
        rt.raise("usage", ("%s: the mark is one of %s, and this is %s"):format(where, tostring(since.log), from.name))
    end
    return { mark = since }
end

local function own(from, where)
    if type(from) ~= "table" or type(rawget(from, "name")) ~= "string" then
        rt.raise("usage", where .. ": call it with a colon on what log.file, log.journal or log.command returned")
    end
    return { name = from.name, path = from.path or nil, command = from.command or nil,
        containers = from.containers or nil, cwd = from.cwd or nil,
        env = from.env or nil, timeout = from.timeout or nil, zone = from.zone or nil }
end

local function find_args(from, match, options, where, more)
    local base = own(from, where)
    local given = rt.options(options or {}, with(more or {}), where)
    return { log = base, match = text(match, where, "what to look for"), except = given.except,
        ignore_case = given.ignore_case, since = check_since(from, given.since, where), per = given.per }, given
end

-- ---- scanning ----

local scanners, order = {}, {} -- by what they look for: those that read on from a mark

local function new_scanner(args, path)
    local since = args.since
    local from = since.mark and not since.mark.print and since.mark.at or since.from
        or since.back and rt.now() - since.back or nil
    return native.scanner {
        path = path, zone = args.log.zone, match = args.match, except = args.except, ignore_case = args.ignore_case, per = args.per,
        place = since.mark and since.mark.print and since.mark or nil, from = from,
    }
end

local function kept_scanner(args)
    if not args.since.mark then
        return new_scanner(args, args.log.path) -- its beginning moves
    end
    local key = rt.json.encode { args.log.path, args.match, args.except or "", args.ignore_case or false, args.per or 0,
        args.since.mark.inode, args.since.mark.offset, args.since.mark.print, args.since.mark.at }
    local scanner = scanners[key]
    if scanner and not native.busy(scanner) then
        return scanner, key
    elseif not scanner then
        scanner = new_scanner(args, args.log.path)
        scanners[key] = scanner
        order[#order + 1] = key
        if #order > SCANNERS then
            scanners[table.remove(order, 1)] = nil
        end
        return scanner, key
    end
    return new_scanner(args, args.log.path)
end

local function iso(ms)
    return rt.require("time").format(ms, { ms = true })
end

local function start_of(since)
    return since.mark and since.mark.at or since.from or rt.now() - since.back
end

local tidied

-- What a host that died while it read has left: the file, and perhaps the command that goes on writing to it.
local function tidy(sh, fs, folder)
    for _, name in ipairs(tidied and {} or fs.work { verb = "list", path = folder }) do
        local id = name:match("^lines%-(.+)$")
        if id then
            if sh.state(id) == "alive" then
                sh.stop(id)
            end
            fs.work { verb = "remove", path = folder .. "/" .. name }
        end
    end
    tidied = true
end

-- A file for what is printed: nothing of it but what the scanner keeps is held in memory. Nobody has used its id yet.
local function new_file(ctx)
    local sh, fs = rt.native("sh"), rt.native("fs")
    tidy(sh, fs, ctx.dir)
    local n, id = 0
    repeat
        n = n + 1
        id = ctx.id .. ".log" .. n
    until sh.state(id) == "never"
    local path = ctx.dir .. "/lines-" .. id
    fs.work { verb = "write", path = path, data = "", mode = 384 } -- 0600
    return path, id
end

-- Masked by the guardian.
local function run_command(args, path, id)
    local from = start_of(args.since)
    local argv = {}
    for i, word in ipairs(args.log.command) do
        argv[i] = word:gsub("{since_unix}", ("%d"):format(from // 1000)):gsub("{since}", iso(from))
    end
    local timeout = args.log.timeout or COMMAND_TIMEOUT
    local result = rt.native("sh").run { id = id, argv = argv, cwd = args.log.cwd, env = args.log.env, log = path,
        timeout = timeout, capture = 4096 }
    if result.code == 0 and not result.timed_out then
        return from
    end
    local said = rt.readable(result.err:find("%S") and result.err or result.out):gsub("%s+$", "")
    rt.raise(result.timed_out and "timeout" or "command", ("log: `%s` %s%s"):format(table.concat(argv, " "),
        result.timed_out and "did not end within " .. rt.show_duration(timeout)
            or "failed (" .. (result.signal or "exit " .. result.code) .. ")", said ~= "" and ": " .. said or ""))
end

local function scan_printed(args, ctx)
    local path, id = new_file(ctx)
    local ok, found = pcall(function()
        local from, gap
        if args.log.command then
            from = run_command(args, path, id)
        else -- the engine leaves out what is older
            gap = rt.native("docker").lines.add(args.log.containers, args.since.mark and args.since.mark.ends,
                start_of(args.since), path)
        end
        local scanned = native.advance(native.scanner { path = path, zone = args.log.zone, match = args.match,
            except = args.except, ignore_case = args.ignore_case, per = args.per, from = from })
        scanned.gap = scanned.gap or gap or false
        return scanned
    end)
    rt.native("fs").work { verb = "remove", path = path }
    if not ok then
        error(found, 0)
    end
    return found
end

-- Where lines are wanted by their times, these have to be there and to fit what the file system says: a log that is written in
-- another zone would seem to be silent.
local function check_times(args, found)
    local from = start_of(args.since)
    local last = found.tail[#found.tail]
    local why
    if found.matches > found.stamped then
        why = "lines do not say when they were written"
    elseif last and last.at and last.at > rt.now() + SKEW then
        why = "its last line is of " .. iso(last.at) .. ", which is yet to come: say zone = … of log.file"
    elseif found.lines == 0 and found.bytes > 0 and found.changed_at > from + SKEW then
        why = "it was written to at " .. iso(found.changed_at) .. ", but its lines are older: say zone = … of log.file"
    end
    if why then
        rt.raise("no_times", ("log: what %s says since %s cannot be told by its times: %s. A mark needs none"):format(
            args.log.name, iso(from), why))
    end
end

local function scan(args, ctx)
    if not args.log.path then
        return scan_printed(args, ctx)
    end
    local scanner, key = kept_scanner(args)
    local ok, found = pcall(native.advance, scanner)
    if not ok then
        scanners[key or ""] = nil -- it may have stopped half-way
        error(found, 0)
    end
    if not args.since.mark and start_of(args.since) > 0 then
        check_times(args, found)
    end
    return found
end

-- Masked, then cut: half a secret is not recognised. The end of what was kept of a longer line may be one.
local function shown(line)
    local masked = rt.readable(rt.masked(line.text))
    if #line.text >= native.longest and #masked < native.longest / 2 then
        return "… (a long line)"
    elseif #masked <= LINE then
        return masked
    end
    return masked:sub(1, utf8.offset(masked, 0, LINE + 1) - 1) .. "…"
end

local function texts(lines)
    local list = {}
    for i, line in ipairs(lines) do
        list[i] = shown(line)
    end
    return rt.json.array(list)
end

local function need_file(args, found)
    if found.missing then
        rt.raise("missing", ("log: there is no %s"):format(args.log.name))
    end
end

local find_effect = rt.effect {
    name = "log.find",
    class = "read",
    args = function(args) return args end,
    describe = function(args) return ("look for %q in %s"):format(tostring(args.match), args.log.name) end,
    call = function(args, ctx)
        local found = scan(args, ctx)
        need_file(args, found)
        local elapsed = math.max(1, rt.now() - start_of(args.since))
        return {
            count = found.matches, lines = texts(found.samples), scanned = found.lines, bytes = found.bytes,
            first_at = found.first_at, last_at = found.last_at, gap = found.gap, elapsed = elapsed,
            stamped = found.stamped == found.matches,
            rate = args.per and found.matches * args.per / elapsed or nil,
            peak = args.per and found.stamped == found.matches and found.peak or nil, peak_at = found.peak_at,
        }
    end,
    sample = function()
        return { count = 0, lines = rt.json.array {}, scanned = rt.unknown "lines", bytes = rt.unknown "bytes", gap = false,
            elapsed = rt.unknown "elapsed", stamped = true, peak = 0, rate = 0.0 }
    end,
}

-- ---- what a playbook calls ----

local mark = rt.effect {
    name = "log.mark",
    class = "read",
    args = function(from) return own(from, "log.mark") end,
    describe = function(args) return "where does " .. args.name .. " end" end,
    call = function(args)
        local found = args.path and native.mark(args.path)
            or args.containers and { ends = rt.native("docker").lines.ends(args.containers) } or {}
        found.log, found.at = args.name, rt.now()
        return found
    end,
    sample = function(args) return { log = args.name, at = rt.now() } end,
}

local function find(from, match, options)
    return find_effect((find_args(from, match, options, "log.find")))
end

local function quoted(match)
    return '"' .. match .. '"'
end

local function counted(n)
    return n == 1 and "1 line matches" or ("%.6g lines match"):format(n)
end

-- What cannot be told is no pass.
local function judge(fields, from, found, alive)
    if fields.verdict == "pass" and (found.gap or (alive and found.scanned == 0)) then
        fields.verdict = "unknown"
        fields.text = found.gap and ("%s: lines were lost, rotated or truncated away, so nobody can tell"):format(from.name)
            or ("%s: not a line was written, so it says nothing"):format(from.name)
    end
    fields.detail = found.lines[1]
    return rt.expectation(fields)
end

--- An expectation: no line matches.
local function none(from, match, options)
    local args, given = find_args(from, match, options, "log.none", { alive = "boolean" })
    local found = find_effect(args)
    return judge({
        name = quoted(match) .. " in " .. from.name, verdict = found.count == 0 and "pass" or "fail", measured = found.count,
        limit = 0, unit = "lines",
        text = found.count == 0 and ("%s: none of %s lines matches %s"):format(from.name, found.scanned, quoted(match))
            or ("%s: %s %s: %s"):format(from.name, counted(found.count), quoted(match), found.lines[1]),
    }, from, found, given.alive)
end

-- The worst span where lines say when they were written; where they do not, the mean since the beginning.
local function most(found, per)
    if not per then
        return found.count, "in all"
    elseif found.peak then
        return found.peak, ("within %s"):format(rt.show_duration(per))
            .. (found.peak_at and " until " .. iso(found.peak_at) or "")
    end
    return math.min(found.count, found.rate), ("per %s on average"):format(rt.show_duration(per))
end

--- An expectation: at most so many lines match, `per` a span of time or in all.
local function at_most(from, limit, match, options)
    if type(limit) ~= "number" then
        rt.raise("usage", 'log.at_most: expected a number and what to look for: log:at_most(5, "ERROR", { per = "1m", … })')
    end
    local args, given = find_args(from, match, options, "log.at_most", { alive = "boolean" })
    local found = find_effect(args)
    local measured, how = most(found, args.per)
    return judge({
        name = quoted(match) .. " in " .. from.name, verdict = measured <= limit and "pass" or "fail", measured = measured,
        limit = limit, unit = args.per and "lines per " .. rt.show_duration(args.per) or "lines",
        text = ("%s: %s %s %s (limit %.6g)%s"):format(from.name, counted(measured), quoted(match), how, limit,
            measured > limit and found.lines[1] and ": " .. found.lines[1] or ""),
    }, from, found, given.alive)
end

--- An expectation: at least so many lines match. Where fewer do, and lines were lost, nobody can tell.
local function at_least(from, limit, match, options)
    if type(limit) ~= "number" or options and options.per then
        rt.raise("usage", 'log.at_least: expected a number and what to look for: log:at_least(1, "ready", { since = … }), without'
            .. " per")
    end
    local found = find_effect((find_args(from, match, options, "log.at_least")))
    local there = found.count >= limit
    return rt.expectation {
        name = quoted(match) .. " in " .. from.name, verdict = there and "pass" or found.gap and "unknown" or "fail",
        measured = found.count, limit = limit, unit = "lines", detail = found.lines[1],
        text = ("%s: %s %s (at least %.6g)%s"):format(from.name, found.count > 0 and counted(found.count)
            or ("none of %s lines matches"):format(found.scanned), quoted(match), limit,
            found.lines[1] and ": " .. found.lines[1] or found.gap and ", and lines were lost" or ""),
    }
end

local function said_last(found)
    local lines = texts(found.tail)
    return #lines > 0 and "; it said last:\n  " .. table.concat(lines, "\n  ") or "; nothing was written to it"
end

local wait_for = rt.effect {
    name = "log.wait_for",
    class = "read",
    args = function(from, match, options)
        local args, given = find_args(from, match, options, "log.wait_for", { timeout = "duration", fail = "string" })
        args.fail, args.timeout = given.fail, given.timeout or WAIT
        return args
    end,
    describe = function(args)
        return ("wait for %q in %s, %s at most"):format(tostring(args.match), args.log.name, rt.show_duration(args.timeout))
    end,
    call = function(args, ctx)
        local deadline = rt.now() + args.timeout
        local bad = args.fail and { log = args.log, match = args.fail, ignore_case = args.ignore_case, since = args.since }
        while true do
            local wrong = bad and scan(bad, ctx)
            if wrong and wrong.matches > 0 then
                rt.raise("matched", ("log: %s says what it must not: %s"):format(args.log.name, texts(wrong.samples)[1]))
            end
            local found = scan(args, ctx)
            if found.matches > 0 then
                return { at = found.samples[1].at, text = texts(found.samples)[1] }
            end
            local left = deadline - rt.now()
            if left <= 0 then
                rt.raise("timeout", ("log: %s did not say %q within %s%s"):format(args.log.name, args.match,
                    rt.show_duration(args.timeout), found.missing and "; there is no such file" or said_last(found)))
            end
            native.wait(args.log.path, math.min(left, args.log.command and COMMAND_POLL or POLL))
        end
    end,
    sample = function() return { at = rt.unknown "time", text = rt.unknown "line" } end,
}

Source = rt.class("log", { mark = mark, find = find, none = none, at_most = at_most, at_least = at_least,
    wait_for = wait_for }, function(from) return "log " .. from.name end)

return M
