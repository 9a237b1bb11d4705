-- A header of 100 KiB and more in an answer was told as "Out of memory".
local t = require "spec.helper"

it("a header that is too long is called that", function()
    local port = t.serve(function(client, bytes)
        if bytes then
            client:write("HTTP/1.1 200 OK\r\nX-Long: " .. ("y"):rep(150000) .. "\r\nContent-Length: 0\r\n\r\n")
        end
    end)
    local _, problem = t.body(('return require "rollout.http".get("http://127.0.0.1:%d/").status'):format(port))
    assert.equal("protocol", problem.code)
    assert.matches("a line of the answer's headers is longer than 100 KiB", problem.message, 1, true)
end)
