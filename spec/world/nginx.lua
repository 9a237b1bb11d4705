-- A real nginx in a temporary folder.
local cleanup = require "spec.world.cleanup"
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local CONFIG = [[
daemon off;
master_process off;
pid $folder/pid;
error_log $folder/error.log info;
events { worker_connections 4096; }
http {
    access_log $folder/access.log;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    default_type text/plain;
$http
}
]]

-- options.master: with a master process, which reloads.
-- options.http: what the http block holds; $port1 … $port9 in it are free ports, $folder is the server's folder.
-- Returns { folder, ports = {…}, process, access() → the access log }.
function M.start(options)
    local folder = files.temp()
    local server = { folder = folder, ports = {} }
    local text = CONFIG:gsub("%$http", { ["$http"] = options.http }):gsub("%$port(%d)", function(number)
        number = tonumber(number)
        server.ports[number] = server.ports[number] or tcp.free_port()
        return tostring(server.ports[number])
    end):gsub("%$folder", { ["$folder"] = folder })
    files.write(folder .. "/nginx.conf", options.master and (text:gsub("master_process off;\n", "", 1)) or text)
    server.process = process.start {
        "nginx", "-p", folder, "-c", folder .. "/nginx.conf", "-e", folder .. "/error.log",
        env = { PATH = os.getenv("PATH") .. ":/usr/sbin" },
    }
    if options.master then -- killed, it would leave its workers
        cleanup.add(function()
            server.process:kill "sigterm"
            process.turn_until(function() return server.process.code end, 10)
        end)
    end
    for _, port in pairs(server.ports) do
        local up = process.turn_until(function()
            return server.process.code and "ended" or (tcp.accepts(port) and "up")
        end, 20)
        if up ~= "up" then
            error("nginx does not start: " .. server.process.err .. files.read(folder .. "/error.log"), 2)
        end
    end
    function server.access()
        return files.read(folder .. "/access.log")
    end
    return server
end

return M
