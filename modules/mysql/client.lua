-- The database's own clients: mariadb-dump writes a backup, mariadb reads one. The password reaches them through standard
-- input, as the option file that they are told to read: it is in no argument, environment or file.
local native, rt, work, driver = ...

local client = { file = work.file, stamp = work.stamp, mark = work.mark, need_database = work.need_database }
local start, await = work.start, work.await
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

-- A pipe, since the clients ignore an option file that others might write, and what a command's standard input is made of
-- is not ours to say.
local DUMP = [[exec "$1" --defaults-file=<(exec cat) "${@:2}"]]

--- Starts the dump of one schema into `path`, which must not exist.
function client.dump(ctx, database, program, name, path)
    return start(ctx, "dump", {
        input = native.options(database.config),
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
        input = native.options(database.config),
        argv = { "bash", "-euo", "pipefail", "-c", LOAD, "load", path, name, program, LARGEST_PACKET },
    })
    work.see_through(command)
    client.check(command, "load", what)
end

return client
