local t = require "spec.helper"
local s3rver = require "spec.world.s3"

describe("a backup of many files in a bucket", function()
    it("goes there several files at once, and comes back when the folder is gone", function()
        local server, bucket = t.postgres(), s3rver.start()
        server:sql([[SET ROLE app; CREATE TABLE l1 AS SELECT i, repeat(md5(i::text), 50) AS a FROM generate_series(1, 60000) i;
            ALTER TABLE l1 ALTER a SET STORAGE EXTERNAL;
            CREATE TABLE l2 AS TABLE l1; CREATE TABLE l3 AS TABLE l1]])
        local folder = t.temp()
        local run = t.play(([[
            playbook "spec" { environments = { "test" } }
            local s3, sh = require "rollout.s3", require "rollout.sh"
            local db = require("rollout.pg").database((env.require { DATABASE_URL = { format = "postgresql" } }).DATABASE_URL)
            local place = s3.bucket { bucket = "backups", prefix = "shop", endpoint = %q, access_key = secret "S3_ACCESS",
                secret_key = secret "S3_SECRET" }
            local backup = step("dump", function()
                return db:dump { to = %q, also = { place }, jobs = 3, keep_scratch = false }
            end)
            step("lose it", function() sh.run { "rm", "-r", backup.path } end)
            step("damage", function() db:exec "DELETE FROM l1" end)
            step("it", function() return { file = db:restore(backup, { loses = 1000000 }).file, shape = backup.shape } end)
        ]]):format(bucket.url, folder), { env = { DATABASE_URL = server:url(), S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER" },
            timeout = 120 })
        local restored, problem = t.outcome(run)
        assert.is_nil(problem and problem.message)
        assert.equal("parallel", restored.shape)
        assert.matches("^s3://backups/shop/", restored.file)
        assert.equal("60000", server:sql("SELECT count(*) FROM l1"):match("%d+"))
        local puts = {}
        for line in bucket.requests():gmatch("[^\n]+") do
            if line:find("^PUT ") then
                puts[#puts + 1] = line
            end
        end
        assert.is_true(#puts >= 5)
        assert.matches("manifest%.json$", puts[#puts])
    end)
end)
