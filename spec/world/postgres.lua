-- A real PostgreSQL on a free port and a socket, with its data in a temporary folder. It refuses to run as root: there it
-- runs as the user that Debian's packages make, in a folder which belongs to that user.
local uv = require "luv"
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local Server = {}
Server.__index = Server

-- The folder of the newest version's programs: Debian keeps the server's out of PATH.
function M.programs()
    local newest
    for _, version in ipairs(files.list("/usr/lib/postgresql")) do
        if tonumber(version) and files.exists("/usr/lib/postgresql/" .. version .. "/bin/initdb")
            and tonumber(version) > (newest or 0) then
            newest = tonumber(version)
        end
    end
    return ("/usr/lib/postgresql/%d/bin"):format(assert(newest, "no initdb: install the package postgresql"))
end

-- Who the server runs as: { name, uid, gid }.
local function owner()
    local me = uv.os_get_passwd()
    if me.uid ~= 0 then
        return { name = me.username, uid = me.uid, gid = me.gid }
    end
    local ids = process.run { "getent", "passwd", "postgres" }
    local uid, gid = ids.out:match("^postgres:[^:]*:(%d+):(%d+):")
    assert(uid, "no user postgres: the package postgresql-common makes it")
    return { name = "postgres", uid = tonumber(uid), gid = tonumber(gid) }
end

-- A command line as that user. The process is replaced twice, never forked: its id stays the one that was started.
function M.as_owner(command)
    local who = owner()
    if uv.os_get_passwd().uid ~= 0 then
        return command
    end
    local all = { "setpriv", "--reuid=" .. who.uid, "--regid=" .. who.gid, "--clear-groups" }
    for name, value in pairs(command) do
        if type(name) == "string" then
            all[name] = value
        end
    end
    return table.move(command, 1, #command, #all + 1, all)
end

-- Gives a file or folder to that user.
function M.give(path)
    local who = owner()
    assert(uv.fs_chown(path, who.uid, who.gid))
    return path
end

-- The data folder as initdb leaves it, made once a process and copied: it takes seconds.
local template

local function data_folder(folder)
    if not template then
        local made = M.give(files.temp())
        local result = process.run(M.as_owner { M.programs() .. "/initdb", "--no-sync", "--encoding=UTF8",
            "--locale=C.UTF-8", "--username=postgres", "--auth=trust", "--pgdata=" .. made, timeout = 120 })
        assert(result.code == 0, "initdb: " .. result.out .. result.err)
        template = made
    end
    local result = process.run { "cp", "-a", "--reflink=auto", template, folder, timeout = 60 }
    assert(result.code == 0, result.err)
end

local function quoted(text)
    return "'" .. text:gsub("'", "''") .. "'"
end

local function configure(server, options)
    local settings = {
        listen_addresses = "127.0.0.1", port = server.port, unix_socket_directories = server.folder,
        fsync = "off", shared_buffers = "32MB", max_connections = 60, autovacuum = "off", log_line_prefix = "%m [%p] ",
        password_encryption = "scram-sha-256", logging_collector = "off",
    }
    if options.ssl then
        for name, from in pairs(options.ssl) do
            local to = files.write(server.folder .. "/server." .. name, files.read(from), "600")
            settings[({ cert = "ssl_cert_file", key = "ssl_key_file", ca = "ssl_ca_file" })[name]] = M.give(to)
        end
        settings.ssl = "on"
    end
    for name, value in pairs(options.settings or {}) do
        settings[name] = value
    end
    local lines = {}
    for name, value in pairs(settings) do
        lines[#lines + 1] = name .. " = " .. quoted(tostring(value))
    end
    M.give(files.write(server.data .. "/postgresql.conf", table.concat(lines, "\n") .. "\n", "600"))
    M.give(files.write(server.data .. "/pg_hba.conf", (options.hba or "") .. [[

local all,replication postgres trust
local all             all      scram-sha-256
host  all,replication all      127.0.0.1/32 scram-sha-256
]], "600"))
end

-- options: settings = { wal_level = "logical", fsync = "on", … }, password = of the role `app` (CREATEDB, owns the database
-- `app`), ssl = { cert =, key =, ca = } files, hba = lines that come first in pg_hba.conf, tablespaces = { "fast" },
-- database = another name than app
function M.start(options)
    options = options or {}
    local folder = M.give(files.temp())
    local server = setmetatable({
        folder = folder,
        data = folder .. "/data",
        socket = folder, -- what PGHOST wants
        port = tcp.free_port(),
        user = "app",
        password = options.password or "wine-dark&sea",
        superuser = "postgres",
        database = options.database or "app",
    }, Server)
    data_folder(server.data)
    configure(server, options)
    server:up()
    local name = '"' .. server.database:gsub('"', '""') .. '"'
    server:sql(("CREATE ROLE app LOGIN CREATEDB PASSWORD %s; ALTER ROLE postgres PASSWORD %s;"):format(
        quoted(server.password), quoted(server.password)), "postgres")
    server:sql("CREATE DATABASE " .. name .. " OWNER app", "postgres")
    for _, tablespace in ipairs(options.tablespaces or {}) do
        local path = folder .. "/" .. tablespace
        uv.fs_mkdir(path, tonumber("700", 8))
        server:sql(("CREATE TABLESPACE %s OWNER app LOCATION %s"):format(tablespace, quoted(M.give(path))), "postgres")
    end
    return server
end

-- Starts it, and waits until it takes connections.
function Server:up()
    self.process = process.start(M.as_owner { M.programs() .. "/postgres", "-D", self.data, env = { LC_ALL = "C" } })
    local up = process.turn_until(function()
        return self.process.code and "ended"
            or (self.process.err:find("database system is ready to accept connections", 1, true) and "up")
    end, 60)
    if up ~= "up" then
        error("postgres does not start:\n" .. self.process.err, 2)
    end
end

-- What its log says, since it was started.
function Server:log()
    process.turn_until(function() return true end, 0)
    return self.process.err
end

-- What `psql` prints: lines of values separated by "|" without a heading. As the superuser, over the socket. Each statement
-- commits by itself; the first error ends it.
function Server:sql(text, database)
    local result = process.run {
        M.programs() .. "/psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1",
        "--host=" .. self.socket, "--port=" .. self.port, "--username=" .. self.superuser,
        "--dbname=" .. (database or self.database), input = text, timeout = 300,
        env = { PGOPTIONS = false, PGCLIENTENCODING = "UTF8", PGSSLMODE = false },
    }
    if result.code ~= 0 then
        error("psql: " .. result.err, 2)
    end
    return (result.out:gsub("\n$", ""))
end

-- How many sessions are at a statement that is LIKE this.
function Server:running(like)
    return tonumber(self:sql(("SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' "
        .. "AND pid <> pg_backend_pid()"):format(quoted(like)), "postgres"))
end

local function encoded(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Of the role `app`, unless `user` is another one with the same password.
function Server:url(database, user)
    return ("postgresql://%s:%s@127.0.0.1:%d/%s"):format(encoded(user or self.user), encoded(self.password), self.port,
        encoded(database or self.database))
end

-- As a power cut: the postmaster and all its children at once, no clean end. Stopped first, it makes no more of them; one that
-- is still there would keep the next postmaster from starting.
function Server:kill()
    self.process:kill("sigstop")
    local children = {}
    for pid in process.run({ "pgrep", "-P", tostring(self.process.pid) }).out:gmatch("%d+") do
        children[#children + 1] = tonumber(pid)
    end
    self.process:kill("sigkill")
    for _, pid in ipairs(children) do
        uv.kill(pid, "sigkill")
    end
    self.process:wait(10)
    process.turn_until(function()
        for _, pid in ipairs(children) do
            if uv.kill(pid, 0) == 0 then
                return false
            end
        end
        return true
    end, 10)
end

-- signal: "sigint" ends sessions (the default), "sigterm" waits for them, "sigquit" at once.
function Server:stop(signal)
    self.process:kill(signal or "sigint")
    self.process:wait(60)
end

function Server:restart()
    if not self.process.code then
        self:stop()
    end
    self:up()
end

return M
