-- s3: a file that has not the given SHA-256 was left in the bucket, under a digest that is not its own.
local s3rver = require "spec.world.s3"
local t = require "spec.helper"

it("a file that is another one is not left in the bucket", function()
    local server = s3rver.start()
    local head, problem = t.body(([[
        local s3 = require "rollout.s3"
        local bucket = s3.bucket { bucket = "backups", endpoint = %q, access_key = secret "KEY", secret_key = secret "KEY" }
        fs.write("file", "hello")
        local ok, err = pcall(function() bucket:put { file = "file", key = "k", sha256 = ("0"):rep(64) } end)
        return { code = not ok and err.code, message = not ok and err.message, there = bucket:head "k" ~= nil }
    ]]):format(server.url), { env = { KEY = "S3RVER" } })
    assert.is_nil(problem and problem.message)
    assert.equal("changed", head.code)
    assert.matches("`sha256` is that of another file", head.message, 1, true)
    assert.is_false(head.there)
end)
