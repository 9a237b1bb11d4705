-- s3rver: an S3 server that checks signatures. Its keys are S3RVER and S3RVER.
local files = require "spec.world.files"
local npm = require "spec.world.npm"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

-- options.ahead: seconds that its clock is ahead of this machine's. Returns { url, folder, process } with a bucket "backups";
-- folder/backups holds what is stored.
function M.start(options)
    options = options or {}
    local folder, port = files.temp(), tcp.free_port()
    local command = { "node" }
    if options.ahead then
        local skew = files.write(files.temp() .. "/skew.js", ([[
            const here = Date;
            global.Date = class extends here {
                constructor(...given) { given.length ? super(...given) : super(here.now() + %d); }
                static now() { return here.now() + %d; }
            };]]):format(options.ahead * 1000, options.ahead * 1000))
        table.move({ "--require", skew }, 1, 2, 2, command)
    end
    table.move({ npm.package "s3rver" .. "/bin/s3rver.js", "--directory", folder, "--address", "127.0.0.1", "--port",
        tostring(port), "--no-vhost-buckets", "--configure-bucket", "backups" }, 1, 10, #command + 1, command)
    local server = { folder = folder, url = "http://127.0.0.1:" .. port, process = process.start(command) }
    local up = process.turn_until(function()
        return server.process.code and "ended" or (tcp.accepts(port) and "up")
    end, 30)
    if up ~= "up" then
        error("s3rver does not start: " .. server.process.err .. server.process.out, 2)
    end
    return server
end

return M
