-- A real MariaDB on a free port and a socket, with its data in a temporary folder.
local uv = require "luv"
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local Server = {}
Server.__index = Server

-- The data folder as mariadb-install-db leaves it, made once a process and copied: it takes seconds.
local template

local function install(folder)
    local me = uv.os_get_passwd().username
    local result = process.run {
        "mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
        "--skip-test-db", "--force", "--datadir=" .. folder, "--user=" .. me, timeout = 120,
        env = { TMPDIR = folder }, -- one that starts removes the temporary tables of others, here too
    }
    assert(result.code == 0, "mariadb-install-db: " .. result.out .. result.err)
end

local function data_folder(folder)
    if not template then
        template = files.temp()
        install(template)
    end
    local result = process.run { "cp", "-a", "--reflink=auto", template, folder, timeout = 60 }
    assert(result.code == 0, result.err)
end

-- options: args = { "--require-secure-transport=ON", … } more of mariadbd's options, password = of user `app`
function M.start(options)
    options = options or {}
    local folder = files.temp()
    local server = setmetatable({
        folder = folder,
        data = folder .. "/data",
        socket = folder .. "/sock",
        port = tcp.free_port(),
        user = "app",
        password = options.password or "wine-dark&sea",
        args = options.args or {},
    }, Server)
    data_folder(server.data)
    server:up()
    server:sql(([[
        CREATE USER 'app'@'localhost' IDENTIFIED BY '%s';
        CREATE USER 'app'@'127.0.0.1' IDENTIFIED BY '%s';
        GRANT ALL ON *.* TO 'app'@'localhost' WITH GRANT OPTION;
        GRANT ALL ON *.* TO 'app'@'127.0.0.1' WITH GRANT OPTION;
        CREATE DATABASE app CHARACTER SET utf8mb4;
    ]]):format(server.password, server.password))
    return server
end

function Server:up()
    local command = {
        "mariadbd", "--no-defaults", "--user=" .. uv.os_get_passwd().username, "--datadir=" .. self.data,
        "--socket=" .. self.socket, "--bind-address=127.0.0.1", "--port=" .. self.port,
        "--tmpdir=" .. self.data, -- one that starts removes the temporary tables of others
        "--pid-file=" .. self.folder .. "/pid", "--log-error=" .. self.folder .. "/error.log",
        "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin",
    }
    table.move(self.args, 1, #self.args, #command + 1, command)
    local log = self.folder .. "/error.log"
    local said = files.exists(log) and #files.read(log) or 0
    self.process = process.start(command)
    -- it accepts connections before it is ready, and loses a SIGTERM that comes in between
    local up = process.turn_until(function()
        return self.process.code and "ended"
            or (files.exists(log) and files.read(log):find("ready for connections", said + 1, true) and "up")
    end, 60)
    if up ~= "up" then
        error("mariadbd does not start:\n" .. files.read(log), 2)
    end
end

-- What `mariadb` prints: tab-separated lines without a heading. As root, over the socket.
function Server:sql(text, database)
    local result = process.run {
        "mariadb", "--no-defaults", "--batch", "--skip-column-names", "--default-character-set=utf8mb4",
        "--user=root", "--socket=" .. self.socket, database, input = text, timeout = 300,
    }
    if result.code ~= 0 then
        error("mariadb: " .. result.err, 2)
    end
    return (result.out:gsub("\n$", ""))
end

function Server:url(database)
    local password = self.password:gsub("[^%w%-._~]", function(c)
        return ("%%%02X"):format(c:byte())
    end)
    return ("mysql://%s:%s@127.0.0.1:%d/%s"):format(self.user, password, self.port, database or "app")
end

function Server:kill()
    self.process:kill("sigkill")
    self.process:wait(10)
end

function Server:stop()
    self.process:kill("sigterm")
    self.process:wait(60)
end

return M
