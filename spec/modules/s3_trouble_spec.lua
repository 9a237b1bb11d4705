local t = require "spec.helper"

-- A server that answers what `script(method, path, head, number)` returns: status, body, headers; as S3's documentation
-- shows them; nothing: none.
local function scripted(script)
    local server = { seen = {} }
    local requests = {} -- by client: the one that is coming, { head, left }
    local function answer(client, head)
        local method, path = head:match("^(%u+) (%S+)")
        server.seen[#server.seen + 1] = method .. " " .. path
        local status, body, headers = script(method, path, head, #server.seen)
        if not status then
            return
        end
        client:write(("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s"):format(status, #(body or ""), headers or "",
            method == "HEAD" and "" or body or ""))
    end
    server.port = t.serve(function(client, bytes)
        local request = requests[client]
        if bytes and not request then
            local head, rest = bytes:match("^(.-\r\n\r\n)(.*)$")
            request = { head = head, left = tonumber(head:match("[Cc]ontent%-[Ll]ength: (%d+)") or 0) }
            requests[client], bytes = request, rest
            if head:find("100%-continue") then
                client:write("HTTP/1.1 100 Continue\r\n\r\n")
            end
        end
        if bytes then
            request.left = request.left - #bytes
            if request.left == 0 then
                requests[client] = nil
                answer(client, request.head)
            end
        end
    end)
    server.url = "http://127.0.0.1:" .. server.port
    return server
end

local PLAY = [[
local s3, fs = require "rollout.s3", require "rollout.fs"
playbook "s3" { environments = { "test" } }
local bucket = s3.bucket { bucket = "b", endpoint = %q, access_key = secret "S3_ACCESS", secret_key = secret "S3_SECRET" }
local value = step("it", { timeout = "1m" }, function()
%s
end)
return value
]]

local function body(server, text, folder)
    return t.outcome(t.play(PLAY:format(server.url, text), { env = { S3_ACCESS = "access", S3_SECRET = "secret-key" },
        folder = folder, state = t.temp(), timeout = 60 }))
end

local function error_xml(code, message, more)
    return ("<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>%s</Message>%s</Error>"):format(code, message, more or "")
end

describe("rollout.s3 in bad luck", function()
    it("reads a list to its last page", function()
        local server = scripted(function(_, path)
            local from = tonumber(path:match("continuation%-token=(%d+)") or 0)
            local entries = {}
            for i = from + 1, from + 2 do
                entries[#entries + 1] = ("<Contents><Key>k&amp;%d</Key><LastModified>2026-11-20T09:30:00.000Z</LastModified>"
                    .. "<ETag>&quot;e&quot;</ETag><Size>%d</Size></Contents>"):format(i, i)
            end
            return "200 OK", ("<ListBucketResult><IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>"):format(from < 4,
                table.concat(entries), from < 4 and "<NextContinuationToken>" .. from + 2 .. "</NextContinuationToken>" or "")
        end)
        local list = assert(body(server, "return bucket:list()"))
        assert.equal(6, #list)
        assert.same({ key = "k&6", bytes = 6, etag = '"e"', modified = 1795167000000 }, list[6])
        assert.equal(3, #server.seen)
        assert.equal(3, #assert(body(server, "return bucket:list { limit = 3 }")))
    end)

    it("waits where the server says that it is too fast, and tries an internal error again", function()
        local server = scripted(function(_, _, _, n)
            if n == 1 then
                return "503 Slow Down", error_xml("SlowDown", "Please reduce your request rate."), "Retry-After: 1\r\n"
            elseif n == 2 then
                return "500 Internal Server Error", error_xml("InternalError", "We encountered an internal error.")
            end
            return "204 No Content"
        end)
        assert.is_true(body(server, 'return bucket:delete "k"'))
        assert.equal(3, #server.seen)
    end)

    it("names the region that the bucket is in", function()
        local server = scripted(function()
            return "301 Moved Permanently", error_xml("PermanentRedirect", "The bucket must be addressed elsewhere."),
                "x-amz-bucket-region: eu-central-1\r\nLocation: http://elsewhere.invalid/\r\n"
        end)
        local _, err = body(server, "return bucket:list()")
        assert.equal("region", err.code, err.message)
        assert.matches("that is eu%-central%-1", err.message)
        _, err = body(server, 'return bucket:head "k"')
        assert.equal("region", err.code, err.message)
    end)

    it("has the bucket in the host's name where told", function()
        local host
        local server = scripted(function(_, _, head)
            host = head:match("[Hh]ost: (%S+)")
            return "204 No Content"
        end)
        local url = server.url:gsub("127.0.0.1", "localhost")
        assert(body({ url = url }, [[
            local options = { endpoint = bucket.where.endpoint .. "/", bucket = "my-bucket", path_style = false,
                access_key = secret "S3_ACCESS", secret_key = secret "S3_SECRET" }
            return s3.bucket(options):delete "a/../b"
        ]]))
        assert.equal("my-bucket.localhost:" .. server.port, host)
        assert.same({ "DELETE /a/../b" }, server.seen)
    end)

    it("does not take garbage for an answer", function()
        local server = scripted(function() return "200 OK", "<html>Log in to the hotel's network</html>" end)
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local _, err = body(server, 'return bucket:put { file = "f", key = "k" }', folder)
        assert.equal("checksum", err.code)
        assert.matches("the object that stands there is not what was sent", err.message)
        _, err = body(server, "return bucket:list()")
        assert.equal("s3", err.code)
        assert.matches("is this S3's protocol", err.message)
    end)

    -- A server of uploads in parts; `complete` answers their completion.
    local function parts_server(folder, complete)
        local sum = t.run({ "sha256sum", folder .. "/large" }).out:match("%x+")
        return scripted(function(method, path, head)
            if method == "GET" and path:find("uploads=", 1, true) then
                return "501 Not Implemented", error_xml("NotImplemented", "not here")
            elseif method == "POST" and path:find("uploads=", 1, true) then
                return "200 OK", "<InitiateMultipartUploadResult><UploadId>u 1</UploadId></InitiateMultipartUploadResult>"
            elseif method == "PUT" then
                assert(head:lower():find("authorization: aws4-hmac-sha256", 1, true))
                return "200 OK", "", 'ETag: "part"\r\n'
            elseif method == "POST" then
                return complete()
            elseif method == "HEAD" then
                return "200 OK", ("x"):rep(65 << 20), "x-amz-meta-sha256: " .. sum .. "\r\n"
            end
            return "204 No Content"
        end)
    end

    local function large()
        local folder = t.temp()
        assert.equal(0, t.run({ "sh", "-c", "head -c 68157440 /dev/zero > large", cwd = folder }).code)
        return folder
    end

    it("knows an error that comes with the status 200", function()
        local folder = large()
        local server = parts_server(folder, function()
            return "200 OK", "  \n" .. error_xml("InternalError", "We encountered an internal error. Please try again.")
        end)
        local _, err = body(server, 'return bucket:put { file = "large", key = "k", verify = "sent" }', folder)
        assert.equal("s3", err.code)
        assert.matches("InternalError", err.message)
        assert.equal("DELETE /b/k?uploadId=u%201", server.seen[#server.seen])
    end)

    it("takes an upload for complete whose answer was lost, where the object is there", function()
        local folder, times = large(), 0
        local server = parts_server(folder, function()
            times = times + 1
            if times == 1 then
                return "500 Internal Server Error", error_xml("InternalError", "lost")
            end
            return "404 Not Found", error_xml("NoSuchUpload", "The specified upload does not exist.")
        end)
        local r, err = body(server, 'return bucket:put { file = "large", key = "k", verify = "sent" }', folder)
        assert.is_nil(err and err.message)
        assert.same({ 65 << 20, 5 }, { r.bytes, r.parts })
    end)

    it("finds that something wrote the file meanwhile", function()
        local folder = large()
        local server = parts_server(folder, function()
            local file = assert(io.open(folder .. "/large", "r+b"))
            file:write("x")
            file:close()
            return "200 OK", "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
        end)
        local _, err = body(server, 'return bucket:put { file = "large", key = "k", verify = "sent" }', folder)
        assert.equal("changed", err.code)
        assert.equal("DELETE /b/k", server.seen[#server.seen])
    end)

    it("ends all parts with the step's time, and leaves none behind", function()
        local folder = large()
        local server = scripted(function(method, path)
            if method == "POST" then
                return "200 OK", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            elseif method == "GET" then
                return "200 OK", "<ListMultipartUploadsResult></ListMultipartUploadsResult>"
            elseif path:find("partNumber=2&", 1, true) then
                return "200 OK", "", 'ETag: "part"\r\n'
            end
        end)
        local begun = os.time()
        local run = t.play((PLAY:gsub('"1m"', '"2s"')):format(server.url, 'return bucket:put { file = "large", key = "k" }'),
            { env = { S3_ACCESS = "access", S3_SECRET = "secret-key" }, folder = folder, timeout = 60 })
        assert.equal(1, run.code, run.err)
        assert.equal("timeout", run.ended.it.error.code)
        assert.is_true(os.time() - begun < 20)
    end)
end)
