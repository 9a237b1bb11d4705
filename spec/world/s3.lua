-- An S3 server: s3rver, and before it a gate that checks signatures and breaks things (s3_gate.py). Its keys are S3RVER
-- and S3RVER.
local files = require "spec.world.files"
local npm = require "spec.world.npm"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local function start(port, command)
    local server = process.start(command)
    local up = process.turn_until(function()
        return server.code and "ended" or (tcp.accepts(port) and "up")
    end, 30)
    if up ~= "up" then
        error(table.concat(command, " ") .. " does not start: " .. server.err .. server.out, 3)
    end
end

-- Makes node's clock `seconds` ahead of this machine's.
local function skewed(seconds)
    local script = [[
        const here = Date;
        global.Date = class extends here {
            constructor(...given) { given.length ? super(...given) : super(here.now() + SKEW); }
            static now() { return here.now() + SKEW; }
        };]]
    return files.write(files.temp() .. "/skew.js", (script:gsub("SKEW", tostring(seconds * 1000))))
end

-- options.ahead: seconds that its clock is ahead of this machine's. Returns { url, cut(bytes), flip(), requests() } with a
-- bucket "backups": cut breaks the next uploads (1) after so many bytes, flip has its first byte stored wrong.
function M.start(options)
    options = options or {}
    local folder, backend, port = files.temp(), tcp.free_port(), tcp.free_port()
    local command = { "node" }
    if options.ahead then
        table.move({ "--require", skewed(options.ahead) }, 1, 2, 2, command)
    end
    local arguments = { npm.package "s3rver" .. "/bin/s3rver.js", "--directory", folder .. "/data", "--address", "127.0.0.1",
        "--port", tostring(backend), "--no-vhost-buckets", "--configure-bucket", "backups" }
    start(backend, table.move(arguments, 1, #arguments, #command + 1, command))
    start(port, { "/usr/bin/python3", "spec/world/s3_gate.py", tostring(port), tostring(backend), folder })
    return {
        url = "http://127.0.0.1:" .. port,
        cut = function(bytes, times)
            if times == 0 then
                return os.remove(folder .. "/cut")
            end
            files.write(folder .. "/cut", ("%d %d"):format(bytes, times or 1))
        end,
        flip = function() files.write(folder .. "/flip", "1 1") end,
        requests = function() return files.exists(folder .. "/log") and files.read(folder .. "/log") or "" end,
    }
end

return M
