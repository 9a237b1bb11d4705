-- The database's own clients: mariadb-dump writes a backup, mariadb reads one. The password reaches them through standard
-- input, as the option file that they are told to read: it is in no argument, environment or file.
local native, rt = ...

local client = {}
local LARGEST_PACKET = "--max-allowed-packet=1G"

function client.need_database(database, where)
    if not database.name then
        rt.raise("usage", where .. ": the handle names no database: mysql://…/NAME")
    end
    return database.name
end

--- The fs module's work, as part of the effect that is under way.
function client.file(verb, path, more)
    local request = { verb = verb, path = path }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    return rt.native("fs").work(request)
end

--- "20261120-093000", in UTC: for names of files and schemas.
function client.stamp()
    return (rt.require("time").format(rt.now()):gsub("%.%d+", ""):gsub("[-:Z]", ""):gsub("T", "-"))
end

local began = tostring(rt.now())

--- What an effect's own schemas and files are called: the same for a resumed run and for all attempts of a step, so that
--- each finds what the one before it has left. What runs outside of a run is never resumed.
function client.mark(ctx, name)
    local run = rt.mode() == "run" and ctx.dir or began
    local place = ctx.key:gsub("@%d+%.(%d+)", "@%1")
    return rt.sha256(run .. "\0" .. place .. "\0" .. name):sub(1, 16)
end

-- A command that a crashed host started is never adopted, since its snapshot died with the host: it is ended, and the next
-- one gets an id of its own.
local function fresh_id(ctx, name)
    local n = 0
    while true do
        n = n + 1
        local id = ctx.id .. "." .. name .. n
        local state = native.command_state(id)
        if state == "never" then
            return id
        elseif state == "alive" then
            local command = native.command { id = id, argv = { "true" } }
            native.stop_command(command)
            while native.watch(command, 1000) ~= "ended" do
            end
        end
    end
end

local function start(ctx, name, spec)
    spec.id = fresh_id(ctx, name)
    spec.log = ctx.log
    return native.command(spec)
end

local function last_lines(text)
    local lines = {}
    for line in text:gmatch("[^\r\n]+") do
        lines[#lines + 1] = line
    end
    local said = table.concat(lines, "\n  ", math.max(1, #lines - 4))
    said = said:gsub("[Ee]rrno:? 28", "%0 (no space left on the disk)")
    return #lines > 1 and ":\n  " .. said or #lines == 1 and ": " .. said or ""
end

--- The result of a command that has ended, or an error that says what it said.
function client.check(command, code, what)
    local result = native.result(command)
    if result.code ~= 0 then
        rt.raise(code, string.format("mysql: %s failed (%s)%s", what,
            result.signal ~= 0 and "signal " .. result.signal or "exit " .. result.code, last_lines(result.err)))
    end
    return result
end

local function await(command)
    while native.watch(command, 1000) ~= "ended" do
    end
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

-- A pipe, since the clients ignore an option file that others might write, and what a command's standard input is made of
-- is not ours to say.
local DUMP = [[exec "$1" --defaults-file=<(exec cat) "${@:2}"]]

--- Starts the dump of one schema into `path`, which must not exist.
function client.dump(ctx, database, program, name, path)
    return start(ctx, "dump", {
        config = database.config,
        output = path,
        argv = { "bash", "-euo", "pipefail", "-c", DUMP, "dump", program, "--single-transaction", "--quick",
            "--routines", "--events", "--triggers", "--hex-blob", "--no-autocommit",
            "--default-character-set=utf8mb4", LARGEST_PACKET, "--", name },
    })
end

-- An event that exists is run by the server's scheduler, also in a scratch schema: events are left out.
local LOAD = [[
exec 3< <(exec cat)
LC_ALL=C sed '/^-- Dumping events for database /,/^-- Dumping routines for database /d' "$1" |
    "$3" --defaults-file=/dev/fd/3 --default-character-set=utf8mb4 --batch "$4" "$2"
]]

--- Loads a dump into a schema, without its events.
function client.load(ctx, database, server, name, path, what)
    local program = server:find("MariaDB") and "mariadb" or "mysql"
    local command = start(ctx, "load", {
        config = database.config,
        argv = { "bash", "-euo", "pipefail", "-c", LOAD, "load", path, name, program, LARGEST_PACKET },
    })
    local ok, err = pcall(await, command)
    if not ok then
        native.stop_command(command)
        error(err, 0)
    end
    client.check(command, "load", what)
end

return client
