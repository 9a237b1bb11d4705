-- A real Redis on a free port and a socket, without persistence unless asked.
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

--- options: password, args = { "--maxmemory", "10mb" }, tls = { cert, key }, ca. → { url, port, socket, command(words…) }
function M.start(options)
    options = options or {}
    local folder, port = files.temp(), tcp.free_port()
    local self = { port = port, socket = folder .. "/redis.sock", folder = folder }
    local command = { "redis-server", "--bind", "127.0.0.1", "--port", tostring(options.tls and 0 or port), "--unixsocket",
        self.socket, "--dir", folder, "--save", "", "--loglevel", "warning" }
    local function add(...)
        table.move({ ... }, 1, select("#", ...), #command + 1, command)
    end
    if options.tls then
        add("--tls-port", tostring(port), "--tls-cert-file", options.tls.cert, "--tls-key-file", options.tls.key,
            "--tls-ca-cert-file", options.ca, "--tls-auth-clients", "no")
    end
    if options.password then
        add("--requirepass", options.password)
    end
    add(table.unpack(options.args or {}))
    self.process = process.start(command)
    local up = process.turn_until(function()
        return self.process.code and "ended" or tcp.accepts(port)
            and process.run { "redis-cli", "-s", self.socket, "PING" }.code == 0 and "up"
    end, 30)
    if up ~= "up" then
        error("redis-server does not start: " .. self.process.err .. self.process.out, 2)
    end
    self.url = ("%s://127.0.0.1:%d"):format(options.tls and "rediss" or "redis", port)
    function self.command(...)
        local words = { "redis-cli", "-s", self.socket, "--no-auth-warning" }
        if options.password then
            table.move({ "-a", options.password }, 1, 2, #words + 1, words)
        end
        local result = process.run(table.move({ ... }, 1, select("#", ...), #words + 1, words))
        assert(result.code == 0, result.err)
        return result.out
    end
    return self
end

return M
