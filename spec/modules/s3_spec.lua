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
        assert.same({ 209715200, 4, r.is }, { r.put.bytes, r.put.parts, r.put.sha256 })
        assert.equal(r.is, r.got.sha256)
        assert.equal(0, t.run({ "cmp", folder .. "/large", folder .. "/back" }).code)
        assert.is_true(tonumber(r.peak) < 40 * 1024, "peak memory: " .. r.peak .. " KiB")
    end)
end)
