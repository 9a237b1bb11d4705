-- A real mail server: aiosmtpd (mail.py says what it does).
local json = require "dkjson"
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

--- mode: "plain", "starttls", "smtps"; certificate: { cert, key }. → { url, port, messages() = all taken so far }
function M.start(mode, certificate)
    local folder, port = files.temp(), tcp.free_port()
    local command = { "/usr/bin/python3", "spec/world/mail.py", tostring(port), folder, mode }
    if certificate then
        table.move({ certificate.cert, certificate.key }, 1, 2, #command + 1, command)
    end
    process.start(command):wait_for("up", 20)
    return {
        url = ("%s://127.0.0.1:%d"):format(mode == "smtps" and "smtps" or "smtp", port), port = port,
        messages = function()
            local list = {}
            while files.exists(("%s/%d.json"):format(folder, #list + 1)) do
                list[#list + 1] = json.decode(files.read(("%s/%d.json"):format(folder, #list + 1)))
            end
            return list
        end,
    }
end

return M
