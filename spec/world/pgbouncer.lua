-- A real PgBouncer before a server of spec/world/postgres.lua, on a free port. It refuses to run as root, too.
local files = require "spec.world.files"
local postgres = require "spec.world.postgres"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local Bouncer = {}
Bouncer.__index = Bouncer

-- options: mode = "transaction" (or "session"), settings = { ignore_startup_parameters = "options", … }
function M.start(server, options)
    options = options or {}
    local folder = postgres.give(files.temp())
    local bouncer = setmetatable({ server = server, folder = folder, port = tcp.free_port() }, Bouncer)
    local settings = { listen_addr = "127.0.0.1", listen_port = bouncer.port, unix_socket_dir = "", auth_type = "plain",
        auth_file = folder .. "/users", pool_mode = options.mode or "transaction", default_pool_size = 2,
        server_reset_query = "DISCARD ALL", admin_users = "app" }
    for name, value in pairs(options.settings or {}) do
        settings[name] = value
    end
    local lines = { "[databases]", ("%s = host=127.0.0.1 port=%d"):format(server.database, server.port), "[pgbouncer]" }
    for name, value in pairs(settings) do
        lines[#lines + 1] = name .. " = " .. value
    end
    postgres.give(files.write(folder .. "/users", ('"%s" "%s"\n'):format(server.user, server.password), "600"))
    postgres.give(files.write(folder .. "/pgbouncer.ini", table.concat(lines, "\n") .. "\n", "600"))
    bouncer.process = process.start(postgres.as_owner { "pgbouncer", folder .. "/pgbouncer.ini" })
    bouncer.process:wait_for("process up", 30)
    return bouncer
end

function Bouncer:url(database)
    return (self.server:url(database):gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. self.port))
end

function Bouncer:kill()
    self.process:kill("sigkill")
    self.process:wait(10)
end

return M
