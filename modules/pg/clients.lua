-- PostgreSQL's own programs: pg_dump writes a backup, pg_restore and psql read one. The password reaches them through standard
-- input, a file in memory that each opens anew as PGPASSFILE: it is in no argument, environment or file.
local native, rt, lib = ...

local shared, databases = rt.native("database"), lib.databases
local M = {}

local WATCH_MS = 250

-- What a restore's sessions need: no limit of time, memory for the indexes, and no wait for the disk at each commit. It is on
-- disk before it is trusted: a later commit that does wait takes all before it along.
local LOADING = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
    .. " -c default_transaction_read_only=off -c synchronous_commit=off -c maintenance_work_mem=256MB"

local FOLDERS = { "/usr/lib/postgresql/%d/bin/", "/usr/pgsql-%d/bin/" }

local function version_of(job, program)
    local command = shared.start(job.ctx, "version", { argv = { program, "--version" } })
    shared.see_through(command)
    local said = shared.check(lib.driver, command, "client", program .. " --version").out
    return tonumber(said:match("%) (%d+)")), said:match("%) (%S+)")
end

--- Where the programs for the server are, "" for PATH: those of its own version where the distribution keeps several, else the
--- ones in PATH, which must not be older.
function M.find(job, major)
    for _, pattern in ipairs(FOLDERS) do
        local folder = pattern:format(major)
        if shared.file("stat", folder .. "pg_dump") and shared.file("stat", folder .. "pg_restore") then
            return folder
        end
    end
    local found, said = version_of(job, "pg_dump")
    if not found or found < major then
        rt.raise("client", string.format("pg: pg_dump is version %s and the server %d: an older one cannot dump it; install"
            .. " the package postgresql-client-%d", said or "unknown", major, major))
    end
    return ""
end

-- A database as the programs take it: its name alone could be read as a connection string.
local function target(database)
    return "--dbname=dbname='" .. database:gsub("[\\']", "\\%0") .. "'"
end

-- The words before a program that make its environment: where to connect, and the settings of its sessions.
local function environment(job, settings)
    local words = { "env" }
    local variables, passfile = native.client(job.database.config, "")
    for name, value in pairs(variables) do
        if name == "PGOPTIONS" then
            settings = (value and value .. " " or "") .. settings
        elseif value then
            words[#words + 1] = name .. "=" .. value
        else
            table.insert(words, 2, "--unset=" .. name)
        end
    end
    words[#words + 1] = "PGOPTIONS=" .. settings
    words[#words + 1] = "PGPASSFILE=/dev/fd/3"
    return words, passfile
end

local function add(list, ...)
    local more = { ... }
    return table.move(more, 1, #more, #list + 1, list)
end

-- bash runs `script` with the arguments. Standard input is kept as 3: a program may read another.
local function start(job, name, settings, script, ...)
    local argv, passfile = environment(job, settings)
    add(argv, "bash", "--norc", "-uo", "pipefail", "-c", "umask 077; exec 3<&0 </dev/null; " .. script, name, ...)
    return shared.start(job.ctx, name, { argv = argv, input = passfile })
end

local function dump_words(job, format)
    local own = job.own
    local words = { own.programs .. "pg_dump", target(own.dumped), "--format=" .. format, "--compress=1",
        "--file=" .. job.partial, "--encoding=" .. job.source.encoding,
        "--lock-wait-timeout=" .. databases.lock_wait(job), "--no-password", "--no-subscriptions",
        "--exclude-schema=rollouthost" }
    if format == "directory" then
        add(words, "--jobs=" .. job.args.jobs)
    end
    if own.snapshot_id then
        add(words, "--snapshot=" .. own.snapshot_id)
    end
    return words
end

local function restore_words(job, database, more)
    return add({ job.own.programs .. "pg_restore", target(database), "--no-password", "--exit-on-error" }, more)
end

--- Starts the dump into job.partial, a "directory" or a "custom" file.
function M.dump(job, format)
    return start(job, "dump", "-c statement_timeout=0", 'exec "$@"', table.unpack(dump_words(job, format)))
end

-- The archive is read while it is written: the proof takes hardly longer than the slower of dump and restore. What the dump
-- changes at its end (where each table begins) matters to a parallel restore only.
local STREAM = [[
archive=$1 settings=$2 count=$3; shift 3
restore=("${@:1:count}"); shift "$count"
: >"$archive" || exit 1
"$@" & dump=$!
tail --bytes=+1 --follow --sleep-interval=0.05 --pid=$dump -- "$archive" | PGOPTIONS="$PGOPTIONS $settings" "${restore[@]}"
restored=${PIPESTATUS[1]}
[ $restored = 0 ] || kill $dump 2>&-
wait $dump; dumped=$?
[ $restored = 0 ] || [ $dumped != 143 ] || dumped=0 # which ended because of it
[ $dumped -lt 128 ] || echo "pg_dump: error: ended by signal $((dumped - 128))" >&2
[ $restored -lt 128 ] || echo "pg_restore: error: ended by signal $((restored - 128))" >&2
[ $dumped = 0 ] && exit $restored
exit $dumped
]]

--- The same into a "custom" file, which is loaded into the empty database meanwhile.
function M.dump_and_load(job, database, single)
    local restore = restore_words(job, database, single and "--single-transaction" or nil)
    local words = { job.partial, LOADING, tostring(#restore) }
    add(words, table.unpack(restore))
    add(words, table.unpack(dump_words(job, "custom")))
    return start(job, "dump", "-c statement_timeout=0", STREAM, table.unpack(words))
end

--- Loads an archive into an empty database: in one transaction, or by several sessions.
function M.load(job, path, database, single, jobs)
    return start(job, "load", LOADING, 'exec "$@"', table.unpack(add(restore_words(job, database,
        single and "--single-transaction" or "--jobs=" .. jobs), path)))
end

-- Left out is what a dump made with --create does before its first object: the database that it would make and connect to
-- instead. psql's own words in it (\! runs a program, \connect goes elsewhere) are refused by psql: where it can, it is told so
-- first, in place of the dump's own \restrict.
local PLAIN = [=[
psql=$1 database=$2 unpack=$3 path=$4
guard() { echo "\\restrict $(od -An -N16 -tx1 /dev/urandom | tr -d ' ')"; }
{ [[ $("$psql" --help=commands) != *'\restrict '* ]] || guard; $unpack <"$path" | LC_ALL=C sed -E '
    /^COPY .* FROM stdin;\r?$/,/^\\\.\r?$/b; /^\\(un)?restrict [[:alnum:]]+\r?$/d
    /^-- (Data for )?Name: .*; Type: /{/; Type: (DATABASE|DATABASE PROPERTIES|COMMENT|ACL|SECURITY LABEL);/!h}
    x; /./{x;b}; x; /^((CREATE|ALTER|DROP|COMMENT ON) DATABASE |\\connect )/d'; } |
    "$psql" "$database" --no-psqlrc --quiet --single-transaction --set=ON_ERROR_STOP=1 --no-password --file=- >/dev/null
]=]

--- Loads a plain dump: whole, in one transaction, or not at all.
function M.load_plain(job, path, database, gzip)
    return start(job, "load", LOADING, PLAIN, job.own.programs .. "psql", target(database), gzip and "gzip -dc" or "cat", path)
end

-- One transaction: what is there goes, the archive's objects come. Without the last line it is rolled back.
local REPLACE = [[
psql=$1 database=$2 restore=$3 first=$4 path=$5
{ echo 'BEGIN;'; printf '%s\n' "$first"; "$restore" --exit-on-error --file=- "$path" && echo 'COMMIT;'; } |
    "$psql" "$database" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --no-password --file=- >/dev/null
]]

--- Replaces all that is in a database by an archive; `first`: the statements that empty it.
function M.replace(job, path, database, first)
    local programs = job.own.programs
    return start(job, "load", LOADING .. " -c synchronous_commit=on", REPLACE, programs .. "psql", target(database),
        programs .. "pg_restore", first, path)
end

--- Reads an archive to its end, into nothing.
function M.read_through(job, path)
    return start(job, "read", "", 'exec "$@"', job.own.programs .. "pg_restore", "--exit-on-error", "--file=/dev/null", path)
end

--- Reads what an archive holds.
function M.list(job, path)
    return start(job, "list", "", 'exec "$@" >/dev/null', job.own.programs .. "pg_restore", "--list", path)
end

-- The first errors in what the programs printed; lines that explain one (DETAIL, HINT) go with it.
local function errors_in(said_all, program)
    local lines, ours = {}, false
    for line in said_all:gmatch("[^\r\n]+") do
        local of, kind, text = line:match("^([%w_]+): (%l+): (.+)")
        local said = of == (program or of) and (kind == "error" and text or kind == "detail" and ours and text)
            or not program and line:match("^psql:.-: (%u+:.+)") or nil
        ours = said ~= nil or ours and line:find("^%u[%w ]+: ") ~= nil
        if ours and not line:find("^Command was: ") and #lines < 6 then
            lines[#lines + 1] = said or line
        end
    end
    return #lines > 0 and table.concat(lines, "\n  ")
end

local function raise_failed(code, what, result, said)
    local signal = result.signal ~= 0 and result.signal or tonumber(said:match("^ended by signal (%d+)"))
    said = said:gsub("No space left on device", "%0: the disk is full"):gsub("^ended by signal %d+$", "")
    if signal == 9 and not said:find("%S") then
        said = "killed by somebody, or by the system for want of memory"
    end
    rt.raise(code, string.format("pg: %s failed (%s): %s", what, signal and "signal " .. signal or "exit " .. result.code, said),
        { exit = result.code })
end

--- Waits for a program's end, and calls each() meanwhile; one that waits no more ends it.
function M.await(job, command, each)
    local ok, err = pcall(function()
        while shared.watch(command, WATCH_MS) ~= "ended" do
            if each and job.ctx.progress then
                each()
            end
        end
    end)
    if not ok then
        shared.stop_command(command)
        error(err, 0)
    end
end

--- The end of a program that was awaited. Raises `code` where it failed; of a dump that was loaded meanwhile, "load" where it
--- was the restore that failed.
function M.check(command, code, what)
    local result = shared.result(command)
    if result.code == 0 then
        return
    end
    local dumping = code == "dump_failed" and errors_in(result.err, "pg_dump")
    local said = dumping or errors_in(result.err) or result.err:sub(-500)
    if code == "dump_failed" and not dumping and result.err:find("pg_restore: error:", 1, true) then
        code, what = "load", "restoring the backup to prove it"
    end
    raise_failed(code, what, result, said)
end

return M
