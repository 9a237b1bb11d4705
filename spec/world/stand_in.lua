-- An HTTP service inside the spec, for what nobody can run here: it keeps what it is told, so that it can be read back.
-- It answers while the spec waits for something (process.run, eventually).
local json = require "dkjson"
local tcp = require "spec.world.tcp"

local M = {}

local function unescaped(text)
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function decoded(text)
    return unescaped((text:gsub("+", " ")))
end

local function parsed(head, body)
    local method, target = head:match "^(%u+) (%S+)"
    local path, query = target:match "^([^?]*)%??(.*)$"
    local request = { method = method, path = unescaped(path), target = target, query = {}, headers = {}, body = body, head = head }
    for name, value in query:gmatch "([^&=]+)=([^&]*)" do
        request.query[decoded(name)] = decoded(value)
    end
    for name, value in head:gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do
        request.headers[name:lower()] = value
    end
    request.json = body ~= "" and json.decode(body) or nil
    return request
end

local function answer(client, status, body, headers)
    local kind = type(body) == "table" and "application/json" or "text/html"
    body = type(body) == "table" and json.encode(body) or body or ""
    local lines = { ("HTTP/1.1 %d Status"):format(status), "Content-Length: " .. #body, "Content-Type: " .. kind }
    for name, value in pairs(headers or {}) do
        lines[#lines + 1] = name .. ": " .. value
    end
    client:write(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (status == 204 and "" or body))
end

--- handler(request { method, path, query, headers, body, json }) → status, table (sent as JSON) or text, headers; nil: no answer.
--- Returns { url, handler, requests = all so far, last() = the newest, fail(status, body, headers, times) = queues answers that are
--- given instead of the handler's }.
function M.start(handler)
    local self = { requests = {}, heard = {}, queue = {}, handler = handler }
    local port = tcp.serve(function(client, bytes)
        if not bytes then
            self.heard[client] = nil
            return
        end
        local all = (self.heard[client] or "") .. bytes
        self.heard[client] = all
        local head, body = all:match "^(.-\r\n)\r\n(.*)$"
        if not head or #body < tonumber(head:match "\r\n[Cc]ontent%-[Ll]ength: (%d+)" or "0") then
            return
        end
        self.heard[client] = nil
        local request = parsed(head, body)
        table.insert(self.requests, request)
        local queued = table.remove(self.queue, 1)
        if queued then
            return answer(client, table.unpack(queued, 1, 3))
        end
        local status, result, headers = self.handler(request)
        if status then
            answer(client, status, result, headers)
        end
    end)
    self.url = "http://127.0.0.1:" .. port
    function self.fail(status, body, headers, times)
        for _ = 1, times or 1 do
            table.insert(self.queue, { status, body, headers })
        end
    end
    function self.last()
        return self.requests[#self.requests]
    end
    return self
end

--- What every module of a service owes its playbook: a check that gets no usable answer is unknown, and says what to do. `gate`
--- is the playbook whose gate "it" asks the stand-in; `secret`, what no output may hold.
function M.bad_luck(service, gate, text)
    for _, case in ipairs {
        { 500, "oops", nil, 3, "answered 500" },
        { 429, { message = "slow down" }, { ["Retry-After"] = "3600" }, 1, "slow down %(it asks to be left alone for 3600 s" },
        { 401, { message = "no" }, nil, 1, "answered 401: no %(" },
        { 200, "<html><title>Sign in</title></html>", nil, 1, "not with JSON: Sign in" },
        { 200, { hello = 1 }, nil, 1, "is no %a+" },
        { 200, { data = { hello = 1 }, status = "success" }, nil, 1, "is no %a+" },
        { 302, "", { Location = "https://elsewhere.example/" }, 1, "it leads to https://elsewhere.example/" },
    } do
        service.queue = {}
        service.fail(case[1], case[2], case[3], case[4])
        local result = gate(text)
        local check
        for _, event in ipairs(result.events) do
            check = event.type == "check" and event.payload or check
        end
        assert(check, result.out .. result.err)
        assert(check.verdict == "unknown", ("%s: %s\n%s"):format(case[1], check.verdict, check.text))
        assert(check.text:find(case[5]), ("%q is not in: %s"):format(case[5], check.text))
        assert(result.code == 1, "exit " .. result.code)
    end
end

return M
