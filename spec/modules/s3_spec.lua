local t = require "spec.helper"
local s3rver = require "spec.world.s3"

local PLAY = [[
local s3, http, fs = require "rollout.s3", require "rollout.http", require "rollout.fs"
playbook "s3" { environments = { "test" } }
local U = %q
local function bucket(more)
    local options = { bucket = "backups", endpoint = U, access_key = secret "S3_ACCESS", secret_key = secret "S3_SECRET" }
    for name, value in pairs(more or {}) do options[name] = value end
    return s3.bucket(options)
end
local value = step("it", { timeout = "2m" }, function()
%s
end)
return value
]]

describe("rollout.s3", function()
    local server
    setup(function()
        server = s3rver.start()
    end)

    local function body(text, options)
        options = options or {}
        options.env = options.env or { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER" }
        options.timeout = 150
        options.state = t.temp()
        return t.outcome(t.play(PLAY:format(options.url or server.url, text), options))
    end

    local function value(text, options)
        local found, problem, run = body(text, options)
        assert.is_nil(problem and problem.code .. ": " .. problem.message)
        return found, run
    end

    local function problem(text, options)
        local _, err = body(text, options)
        assert.is_truthy(err, "no error of " .. text)
        return err
    end

    it("copies a file there and back, and proves both", function()
        local folder = t.temp()
        t.write(folder .. "/a.sql", "select 1;\n")
        local r = value([[
            local put = bucket { prefix = "shop/" }:put { file = "a.sql", key = "2026/a.sql" }
            local head = bucket():head("shop/2026/a.sql")
            local got = bucket { prefix = "shop" }:get { key = "2026/a.sql", to = "b.sql" }
            return { put = put, head = head, got = got, back = fs.read "b.sql", is = fs.sha256 "a.sql" }
        ]], { folder = folder })
        assert.equal("s3://backups/shop/2026/a.sql", r.put.url)
        assert.same({ 10, r.is, 1, "read" }, { r.put.bytes, r.put.sha256, r.put.parts, r.put.verified })
        assert.same({ 10, r.is }, { r.head.bytes, r.head.sha256 })
        assert.same({ "b.sql", 10, r.is, true }, { r.got.path, r.got.bytes, r.got.sha256, r.got.verified })
        assert.equal("select 1;\n", r.back)
    end)

    -- awscli's opinion of what is stored.
    local function aws(...)
        local command = { "/usr/bin/aws", "--endpoint-url", server.url, "s3", ... }
        command.env = { AWS_ACCESS_KEY_ID = "S3RVER", AWS_SECRET_ACCESS_KEY = "S3RVER", AWS_DEFAULT_REGION = "us-east-1" }
        command.timeout = 60
        local run = t.run(command)
        assert.equal(0, run.code, run.err)
        return run.out
    end

    it("agrees with awscli", function()
        local folder = t.temp()
        t.write(folder .. "/mine", ("mine\n"):rep(1000))
        t.write(folder .. "/theirs", "theirs")
        value([[ bucket():put { file = "mine", key = "agree/mine" } ]], { folder = folder })
        aws("cp", "s3://backups/agree/mine", folder .. "/mine.back")
        assert.equal(t.read(folder .. "/mine"), t.read(folder .. "/mine.back"))
        aws("cp", folder .. "/theirs", "s3://backups/agree/theirs")
        local r = value([[
            local got = bucket():get { key = "agree/theirs", to = "theirs.back" }
            return { got = got, list = bucket():list { prefix = "agree/" }, text = fs.read "theirs.back",
                one = bucket { prefix = "agree" }:list { limit = 1 } }
        ]], { folder = folder })
        assert.equal("theirs", r.text)
        assert.is_false(r.got.verified)
        assert.same({ "agree/mine", "agree/theirs" }, { r.list[1].key, r.list[2].key })
        assert.is_true(math.abs(r.list[1].modified / 1000 - os.time()) < 100)
        assert.same({ 1, "mine" }, { #r.one, r.one[1].key })
    end)

    it("takes any key, and an empty file", function()
        local folder = t.temp()
        t.write(folder .. "/empty", "")
        local r = value([[
            local found = {}
            for _, key in ipairs { "a b", "ä/ö+ü", "100%25 & <more>='\"", "x;y:z@~!*()$,?#", "日本/🚀", "e" } do
                bucket():put { file = "empty", key = "odd/" .. key }
                local got = bucket():get { key = "odd/" .. key, to = "back" }
                found[key] = got.bytes
            end
            return { found = found, list = bucket { prefix = "odd" }:list() }
        ]], { folder = folder })
        local names = {}
        for _, entry in ipairs(r.list) do
            names[entry.key] = entry.bytes
        end
        assert.same(r.found, names)
        assert.equal(0, names["100%25 & <more>='\""])
        assert.is_truthy(aws("ls", "s3://backups/odd/"):find("100%25 & <more>='\"", 1, true))
    end)

    it("says that a key, the secret key or the bucket is wrong, or the clock", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local put = [[ bucket():put { file = "f", key = "f" } ]]
        local err = problem(put, { folder = folder, env = { S3_ACCESS = "nobody-here", S3_SECRET = "S3RVER" } })
        assert.equal("access_denied", err.code)
        assert.matches("^copy f to s3://backups/f: answered 403 %(InvalidAccessKeyId.*the access key is not known there%)",
            err.message)
        err = problem(put, { folder = folder, env = { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER-not" } })
        assert.equal("access_denied", err.code)
        assert.matches("the secret key is not the access key's", err.message)
        err = problem([[ bucket { bucket = "nothing-here" }:put { file = "f", key = "f" } ]], { folder = folder })
        assert.equal("no_bucket", err.code)
        err = problem([[ bucket():get { key = "nothing", to = "g" } ]], { folder = folder })
        assert.equal("not_found", err.code)
        assert.is_nil(value([[ return bucket():head "nothing" ]], { folder = folder }))
        local later = s3rver.start { ahead = 3600 }
        err = problem(put, { folder = folder, url = later.url })
        assert.equal("clock", err.code)
        assert.matches("this machine's clock is not the server's.*the server's time is %d%d%d%d%-", err.message)
    end)

    it("is a gate's matter", function()
        local r = value [[
            local function code(more) return select(2, pcall(function() bucket(more):check() end)).code end
            return { good = bucket { prefix = "p" }:check(), none = code { bucket = "nope" },
                key = code { access_key = "nobody-here" } }
        ]]
        assert.same({ "pass", "s3://backups/p/ answers, and lets this key look" }, { r.good.verdict, r.good.text })
        assert.same({ "no_bucket", "access_denied" }, { r.none, r.key })
        local gate = PLAY:gsub("local value = .*", 'gate("it", function() return bucket { bucket = "nope" }:check() end)')
        local run = t.play(gate:format(server.url), { env = { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER" } })
        assert.equal(1, run.code)
        assert.matches("there is no such bucket at this endpoint", run.out)
    end)

    it("deletes, once and again", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local r = value([[
            bucket():put { file = "f", key = "gone" }
            bucket():delete "gone"
            bucket():delete "gone"
            return { head = bucket():head "gone" }
        ]], { folder = folder })
        assert.same({}, r)
    end)

    it("copies what is large in parts, with little memory", function()
        local folder = t.temp()
        local made = t.run { cwd = folder, "sh", "-c",
            "head -c 209715200 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 > large" }
        assert.equal(0, made.code, made.err)
        local r = value([[
            local put = bucket():put { file = "large", key = "large" }
            local got = bucket():get { key = "large", to = "back" }
            return { put = put, got = got, is = fs.sha256 "large", peak = fs.read("/proc/self/status"):match "VmHWM:%s*(%d+)" }
        ]], { folder = folder })
        assert.same({ 209715200, 13, r.is }, { r.put.bytes, r.put.parts, r.put.sha256 })
        assert.equal(r.is, r.got.sha256)
        assert.equal(0, t.run({ "cmp", folder .. "/large", folder .. "/back" }).code)
        assert.is_true(tonumber(r.peak) < 96 * 1024, "peak memory: " .. r.peak .. " KiB")
    end)

    local function large_folder()
        local folder = t.temp()
        local file = assert(io.open(folder .. "/large", "wb"))
        for n = 1, 70 do
            file:write(("%05d"):format(n):rep(1 << 18):sub(1, 1 << 20))
        end
        file:close()
        return folder
    end

    it("sends a part again when its connection breaks", function()
        local folder = large_folder()
        server.cut(5000000)
        local before = #server.requests()
        local r = value([[ return bucket():put { file = "large", key = "again" } ]], { folder = folder })
        assert.same({ 70 << 20, 5 }, { r.bytes, r.parts })
        local _, puts = server.requests():sub(before):gsub("PUT [^\n]*partNumber=", "")
        assert.equal(6, puts)
    end)

    it("ends an upload that failed for good", function()
        local folder = large_folder()
        server.cut(5000000, 100)
        local before = #server.requests()
        local err = problem([[ bucket():put { file = "large", key = "never" } ]], { folder = folder })
        assert.equal("reset", err.code)
        assert.matches("DELETE /backups/never%?uploadId=", server.requests():sub(before))
        server.cut(0, 0)
        assert.is_nil(value([[ return bucket():head "never" ]], { folder = folder }))
    end)

    it("ends an upload that a killed run has left", function()
        local folder = large_folder()
        local path = t.playbook(PLAY:format(server.url, [[ return bucket():put { file = "large", key = "left" } ]]), "left", folder)
        local env = { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER" }
        local before = #server.requests()
        local host = t.start_host { path, state = folder .. "/state", cwd = folder, env = env }
        t.eventually("a part", function() return server.requests():sub(before):find("partNumber=1", 1, true) end)
        host:kill("sigkill")
        host:wait()
        local resumed = t.host { "resume", state = folder .. "/state", cwd = folder, env = env, timeout = 60 }
        assert.equal(0, resumed.code, resumed.err .. resumed.out)
        local seen = server.requests():sub(before)
        local _, deleted = seen:gsub("DELETE /backups/left%?uploadId=", "")
        assert.equal(1, deleted)
        local _, begun = seen:gsub("POST /backups/left%?uploads=", "")
        assert.equal(2, begun)
    end)

    it("finds that another thing is stored than was sent, and does not keep it", function()
        local folder = t.temp()
        t.write(folder .. "/f", "the text")
        server.flip()
        local err = problem([[ bucket():put { file = "f", key = "flipped" } ]], { folder = folder })
        assert.equal("checksum", err.code)
        assert.matches("reads back as %x+, and %x+ was sent; it was deleted again", err.message)
        assert.is_nil(value([[ return bucket():head "flipped" ]], { folder = folder }))
        server.flip()
        value([[ bucket():put { file = "f", key = "flipped", verify = "sent" } ]], { folder = folder })
        err = problem([[ bucket():get { key = "flipped", to = "g" } ]], { folder = folder })
        assert.equal("checksum", err.code)
        assert.is_false(t.exists(folder .. "/g"))
        assert.same({}, t.run({ "sh", "-c", "ls -A | grep '^[.]g'", cwd = folder }).out:match("%S") and { "left" } or {})
    end)

    it("signs a session's token as well, and leaves none of it in sight", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local env = { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER", S3_TOKEN = "token/with+odd==characters" }
        local r, run = value([[ return bucket { session_token = secret "S3_TOKEN" }:put { file = "f", key = "by token" } ]],
            { folder = folder, env = env })
        assert.equal("s3://backups/by token", r.url)
        assert.equal("", t.run({ "grep", "-rla", env.S3_TOKEN, run.state }).out)
    end)

    it("keeps its keys secret", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local _, run = value([[ bucket():put { file = "f", key = "quiet" } note(tostring(bucket { prefix = "p" })) ]],
            { folder = folder })
        assert.is_nil((run.out .. run.err):find("S3RVER", 1, true))
        assert.is_truthy(run.out:find("s3://backups/p/", 1, true))
        local found = t.run { "grep", "-rla", "S3RVER", run.state }
        assert.equal("", found.out)
    end)

    it("finds its keys in the environment", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local env = { AWS_ACCESS_KEY_ID = "S3RVER", AWS_SECRET_ACCESS_KEY = "S3RVER", AWS_ENDPOINT_URL = server.url,
            S3_ACCESS = "unused", S3_SECRET = "unused" }
        assert.equal("s3://backups/deep/er/f",
            value([[ return s3.bucket "s3://backups/deep/er":put { file = "f", key = "f" }.url ]], { folder = folder, env = env }))
        env.AWS_SECRET_ACCESS_KEY = false
        assert.matches("AWS_SECRET_ACCESS_KEY is not set", problem([[ return s3.bucket "s3://backups" ]], { env = env }).message)
    end)

    it("is told in a plan, with nothing sent", function()
        local folder = t.temp()
        local path = t.playbook(PLAY:format("http://127.0.0.1:1", [[
            local put = bucket { prefix = "p" }:put { file = "f", key = "k" }
            bucket():get { key = put.key, to = "g" }
            for _, entry in ipairs(bucket():list()) do bucket():delete(entry.key) end
            bucket():check()
        ]]), "plan", folder)
        local plan = t.host { "plan", path, cwd = folder }
        assert.equal(0, plan.code, plan.err .. plan.out)
        assert.matches("copy f to s3://backups/p/k .*idempotent", plan.out)
        assert.matches("copy s3://backups/k to g .*idempotent", plan.out)
        assert.matches("list s3://backups/ .*read", plan.out)
        assert.matches("check s3://backups/ .*read", plan.out)
    end)

    it("refuses what it cannot mean", function()
        for text, part in pairs {
            ["s3.bucket { bucket = 'b', access_key = 'abcdef' }"] = "secret_key is missing",
            ["s3.bucket { bukket = 'b' }"] = 'did you mean "bucket"',
            ["bucket { bucket = 'a/b' }"] = "is no bucket's name; what comes after it is its prefix",
            ["bucket { endpoint = 'minio:9000' }"] = "is not an http:// or https:// URL",
            ["s3.bucket 'backups'"] = "is not s3://bucket/prefix",
            ["bucket():put { file = 'f' }"] = "key is missing",
            ["bucket():put { file = 'f', key = '' }"] = "key is the object's name",
            ["bucket():put { file = 'f', key = 'k', sha256 = 'abc' }"] = "64 hexadecimal digits",
            ["bucket():put { file = 'f', key = 'k', verify = 'no' }"] = "verify",
            ["bucket():put { file = 'missing', key = 'k' }"] = "there is no such file",
            ["bucket():putt {}"] = 'has no "putt"',
        } do
            local message = problem(text).message
            assert.is_truthy(message:find(part, 1, true), text .. ": " .. message)
        end
    end)
end)
