-- The database's own clients: mariadb-dump writes a backup, mariadb reads one. The password reaches them through standard
-- input, as the option file that they are told to read: it is in no argument, environment or file.
local native, rt, work, driver = ...

local client = {}
local start, await = work.start, work.await
local NO_PROGRAMS = "--loose-sandbox" -- a dump cannot run any (\!, system), where the client knows how to refuse that
local NO_ROWS = "--loose-skip-print-query-on-error" -- in logs and errors
local LARGEST_PACKET = "--max-allowed-packet=1G"

function client.check(command, code, what)
    return work.check(driver, command, code, what)
end

local function version(ctx, program)
    local command = start(ctx, "version", { argv = { program, "--version" } })
    await(command)
    local text = client.check(command, "client", program .. " --version").out
    local flavour = text:find("MariaDB") and "MariaDB" or "MySQL"
    local number = text:match("Distrib (%d+%.%d+)") or text:match("from (%d+%.%d+)") or text:match("Ver (%d+%.%d+)")
    return flavour, tonumber(number)
end

--- The dump program for a server of that version; refuses one that is older than the server.
function client.dump_program(ctx, server)
    local flavour = server:find("MariaDB") and "MariaDB" or "MySQL"
    local program = flavour == "MariaDB" and "mariadb-dump" or "mysqldump"
    local found, number = version(ctx, program)
    local major = tonumber(server:match("^(%d+)%."))
    if found == flavour and number and major and math.floor(number) < major then
        rt.raise("client", string.format("mysql: %s is version %s and the server %s: an older client leaves out what it"
            .. " does not know; install the server's", program, number, server))
    end
    return program
end

-- The option file is a file in memory that only its user may open (the clients ignore one that others might write).
local LOGIN = "--defaults-file=/dev/fd/3"
local EVENTS = "/^-- Dumping events for database /,/^-- Dumping routines for database /"
-- For sed, the parts of a dump that a copy does without. Events: the server's scheduler would run them. Drops: a new schema has
-- no tables, and the server takes longer to find that out than to create one. Views need no right of their definers.
local COPY = "/^-- Table structure for table /{n;n;n;/^DROP TABLE IF EXISTS /d;}\n" .. EVENTS
    .. [[d;s,^\(/\*!50013 DEFINER=.* SQL SECURITY \)DEFINER \*/$,\1INVOKER */,]]
local VIEWS = ";/^-- Final view structure for view /,$d"

local function load_words(server, name)
    local mariadb = server:find("MariaDB")
    return { mariadb and "mariadb" or "mysql", LOGIN, NO_PROGRAMS, NO_ROWS, "--default-character-set=utf8mb4", "--batch",
        LARGEST_PACKET, "--init-command=SET SESSION max_" .. (mariadb and "statement" or "execution") .. "_time=0", "--", name }
end

-- What loads a dump says here who it is, and has the dump open as 4: how far it has come is how much of it is loaded.
local function place(job)
    return job.ctx.dir .. "/loading_" .. job.mark
end

--- How many bytes of the dump have been read by the client that loads it; nil where that cannot be told.
function client.loaded(job)
    local pid = work.size(place(job)) and math.tointeger(tonumber(work.head(place(job), 20)))
    return pid and work.offset(pid, 4)
end

-- The dump is read while it is written: $1 the file, $2 sed's script, $3 where it says who reads it, $4 the number of words of
-- the client that loads it, then these, then the dump's. What became of the load matters only to a dump that is whole.
local STREAM = [[
path=$1 part=$2 count=$4; echo $$ >"$3"; shift 4
exec 3<&0 4<"$path" 5>&2 </dev/null 2>/dev/null # what bash says of a signal is of no use
load=("${@:1:count}"); shift "$count"
"$@" 2>&5 & dump=$!
if [ "$count" -gt 0 ]; then
    tail --bytes=+1 --follow --sleep-interval=0.05 --pid=$dump <&4 | LC_ALL=C sed "$part" | "${load[@]}" >/dev/null 2>&1
    loaded=${PIPESTATUS[*]}
fi
wait $dump; code=$?
[ $code -lt 128 ] || kill -s $((code - 128)) $$
[ $code = 0 ] || exit $code
[ "${loaded:-0 0 0}" = "0 0 0" ] || exit 99
]]
local NOT_LOADED = 99

-- Without --no-autocommit: in one transaction a table MariaDB sorts all rows before it writes them, at twice the CPU time.

--- Starts the dump of job's schema into `path`, which must not exist; with `scratch` (an empty schema) it is loaded there
--- meanwhile, without its events.
function client.dump(job, program, path, scratch)
    local load = scratch and load_words(job.server, scratch) or {}
    local words = { "bash", "--norc", "-uc", STREAM, "dump", path, COPY, place(job), tostring(#load) }
    table.move(load, 1, #load, #words + 1, words)
    -- A table whose default is a sequence's next value cannot be loaded with no lock but its own.
    local locks = job.own.sequences and "--skip-add-locks" or "--add-locks"
    for _, word in ipairs { program, LOGIN, locks, "--single-transaction", "--quick", "--routines", "--events", "--triggers",
        "--hex-blob", "--default-character-set=utf8mb4", LARGEST_PACKET, "--", job.name } do
        words[#words + 1] = word
    end
    return start(job.ctx, "dump", { input = native.options(job.database.config), output = path, argv = words })
end

--- The end of a dump that was awaited; raises where it failed. → was it loaded, too? Where not, loading it again says why.
function client.dumped(job, command)
    work.remove(place(job))
    if work.result(command).code == NOT_LOADED then
        return false
    end
    client.check(command, "dump_failed", "the dump")
    return true
end

-- $1 a dump, $2 "gzip" or "cat", $3 sed's script, $4 where it says who reads it; then the client and its arguments
local LOAD = [[
exec 3<&0 4<"$1"
echo $$ >"$4"
read_it() { if [ "$1" = gzip ]; then gzip -dc <&4 | LC_ALL=C sed "$2"; else LC_ALL=C sed "$2" <&4; fi; }
read_it "$2" "$3" | "${@:5}"
]]

local function load_part(job, server, name, path, what, gzip, part, each)
    local command = start(job.ctx, "load", {
        input = native.options(job.database.config),
        argv = { "bash", "--norc", "-euo", "pipefail", "-c", LOAD, "load", path, gzip and "gzip" or "cat", part,
            place(job), table.unpack(load_words(server, name)) },
    })
    work.see_through(command, each)
    work.remove(place(job))
    client.check(command, "load", what)
end

--- Loads a dump into a schema, as a copy. how = { what = for errors, gzip, no_views, each = each() is called meanwhile }
function client.load(job, server, name, path, how)
    load_part(job, server, name, path, how.what, how.gzip, COPY .. (how.no_views and VIEWS or ""), how.each)
end

--- Only the events of a user's dump.
function client.load_events(job, server, name, plain)
    load_part(job, server, name, plain.path, "creating the events of " .. plain.path, plain.gzip, EVENTS .. "!d")
end

local READ = [=[read_it() { if [ "$2" = gzip ]; then gzip -dc -- "$1"; else cat -- "$1"; fi; }
export LC_ALL=C
read_it "$1" "$2" |]=]
local LEAVES = READ .. [=[
    grep -aiEm1 '^[[:space:]]*(USE[[:space:]]+[^;(]*;|\\u |CREATE DATABASE |/\*![0-9]+ DROP DATABASE )' || true]=]
local INVOKERS = READ .. [=[
    sed -nE '/^\/\*!50013 DEFINER=.* SQL SECURITY INVOKER \*\/$/{n;s/^\/\*!50001 VIEW `(([^`]|``)*)` AS .*/\1/p}']=]

local function read_plain(job, plain, script)
    local command = start(job.ctx, "look", { argv = { "bash", "--norc", "-eu", "-c", script, "look", plain.path,
        plain.gzip and "gzip" or "cat" } })
    work.see_through(command)
    return client.check(command, "load", "reading " .. plain.path).out
end

--- The names (keys) of the views in a user's dump that run under the rights of who asks.
function client.invokers(job, plain)
    local names = {}
    for name in read_plain(job, plain, INVOKERS):gmatch "[^\n]+" do
        names[name:gsub("``", "`")] = true
    end
    return names
end

--- A dump that names its database goes there, and not into the scratch.
function client.refuse_leaving(job, plain)
    local found = read_plain(job, plain, LEAVES)
    if found ~= "" then
        rt.raise("unsupported", string.format("mysql: %s names its database (%s): make it of one database, without"
            .. " --databases", plain.path, found:gsub("%s+$", "")))
    end
end

return client
