-- A TCP server inside the spec, for peers that misbehave. It answers while the spec waits for something
-- (process.run, eventually).
local uv = require "luv"
local cleanup = require "spec.world.cleanup"

local M = {}

-- handler(client, bytes): bytes is nil when the client has just connected, false when it has closed.
-- client:write, client:close, client:close_reset as in luv. Returns the port.
function M.serve(handler)
    local server, clients = uv.new_tcp(), {}
    assert(server:bind("127.0.0.1", 0))
    assert(server:listen(64, function()
        local client = uv.new_tcp()
        server:accept(client)
        clients[#clients + 1] = client
        handler(client, nil)
        if not client:is_closing() then
            client:read_start(function(_, bytes)
                handler(client, bytes or false)
                if not bytes and not client:is_closing() then
                    client:close()
                end
            end)
        end
    end))
    cleanup.add(function()
        for _, client in ipairs(clients) do
            if not client:is_closing() then
                client:close()
            end
        end
        server:close()
        uv.run("nowait")
    end)
    return server:getsockname().port
end

-- A port that was free a moment ago, and is below those that the kernel gives to outgoing connections: a server that is
-- started anew finds it free again.
function M.free_port()
    while true do
        local server = uv.new_tcp()
        local port = math.random(10240, 32767)
        -- Whether it is taken is told by listen().
        local free = server:bind("127.0.0.1", port) and server:listen(1, function() end)
        server:close()
        uv.run("nowait")
        if free then
            return port
        end
    end
end

function M.accepts(port)
    local client, state = uv.new_tcp(), nil
    client:connect("127.0.0.1", port, function(problem)
        state = problem and "no" or "yes"
    end)
    while not state do
        uv.run("once")
    end
    client:close()
    uv.run("nowait")
    return state == "yes"
end

return M
