-- A TCP proxy before a server on this machine, which can hold and cut what passes through it.
local uv = require "luv"
local tcp = require "spec.world.tcp"

local M = {}

-- watch(bytes, to_server) is called with what passes, and may return "cut" (both sides are closed, the bytes are lost),
-- "deliver" (they are delivered, then both sides are closed) or "hold" (nothing passes any more, both sides stay open).
-- Returns { port, connections (how many there were), keeps = true: the server does not learn that its client is gone }.
function M.start(port, watch)
    local proxy = { connections = 0 }
    local upstream = {} -- client → { socket, early = bytes that came before it was connected, held }

    local function close(socket)
        if not socket:is_closing() then
            socket:close()
        end
    end

    local function pass(link, bytes, to_server)
        if link.held then
            return
        end
        local verdict = watch and watch(bytes, to_server)
        local target = to_server and link.server or link.client
        link.held = verdict == "hold"
        if verdict == "cut" or link.held then
            bytes = nil
        end
        local function over()
            if verdict == "cut" or verdict == "deliver" then
                close(link.server)
                close(link.client)
            end
        end
        if bytes and not target:is_closing() then
            target:write(bytes, over)
        else
            over()
        end
    end

    proxy.port = tcp.serve(function(client, bytes)
        local link = upstream[client]
        if bytes == nil then
            proxy.connections = proxy.connections + 1
            link = { client = client, server = uv.new_tcp(), early = {} }
            upstream[client] = link
            link.server:connect("127.0.0.1", port, function(problem)
                if problem then
                    close(link.server)
                    close(client)
                    return
                end
                link.server:read_start(function(_, answer)
                    if answer then
                        pass(link, answer, false)
                    else
                        close(link.server)
                        close(client)
                    end
                end)
                local early = table.concat(link.early)
                link.early = nil
                if early ~= "" then
                    pass(link, early, true)
                end
            end)
        elseif not bytes then
            if not proxy.keeps then
                close(link.server)
            end
        elseif link.early then
            link.early[#link.early + 1] = bytes
        else
            pass(link, bytes, true)
        end
    end)
    return proxy
end

return M
