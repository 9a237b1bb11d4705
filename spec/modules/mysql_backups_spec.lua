-- Backups that are there: their list, what may go, copies in a bucket.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"
local s3 = require "spec.world.s3"
local json = require "dkjson"

describe("backups", function()
    local server, folder

    setup(function()
        server = t.mariadb()
        server:sql("CREATE TABLE wine (id INT PRIMARY KEY, name TEXT); INSERT INTO wine VALUES (1, 'a'), (2, 'b')", "app")
    end)

    before_each(function()
        folder = t.temp()
    end)

    local function body(text, options)
        return play.body(server:url(), ("local F = %q\n"):format(folder) .. text, options)
    end

    local function value(text, options)
        local found, problem = body(text, options)
        assert.is_nil(problem and problem.code .. ": " .. problem.message)
        return found
    end

    local function names(list)
        local found = {}
        for i, entry in ipairs(list) do
            found[i] = (type(entry) == "table" and entry.path or entry):match "[^/]+$"
        end
        return found
    end

    -- Three of one database, a minute apart, made days ago.
    local function three(days)
        for i = 1, 3 do
            value(([[db:dump { to = F, name = "b%d.sql", verify = %s, keep = %s }]]):format(i, tostring(i < 3),
                i == 1 and '"forever"' or "nil"))
            local path = folder .. "/b" .. i .. ".sql.manifest.json"
            local manifest = json.decode(t.read(path))
            manifest.time = manifest.time - math.floor(days * 86400000) + i * 60000
            t.write(path, json.encode(manifest))
        end
    end

    it("are listed from their manifests, newest first, with what is wrong with them", function()
        three(0)
        t.write(folder .. "/b2.sql", t.read(folder .. "/b2.sql"):sub(1, -10))
        os.remove(folder .. "/b3.sql")
        t.write(folder .. "/torn.sql.manifest.json", "{")
        t.write(folder .. "/notes.txt", "x")
        local list = value "return db:backups { folder = F }"
        assert.same({ "b3.sql", "b2.sql", "b1.sql", "torn.sql" }, names(list))
        assert.equal("it is not there", list[1].why)
        assert.is_false(list[1].verified)
        assert.matches("instead of", list[2].why)
        assert.is_true(list[3].whole and list[3].verified)
        assert.equal("forever", list[3].keep)
        assert.equal("app", list[3].database)
        assert.equal(2, list[3].rows)
        assert.is_false(list[4].whole)
        assert.same({}, value "return db:backups { folder = F .. '/none' }")
    end)

    it("can be restored as they are listed", function()
        value "db:dump { to = F }"
        server:sql("DELETE FROM wine WHERE id = 2", "app")
        local restored = value "return db:restore(db:backups({ folder = F })[1], { loses = 1 })"
        assert.equal(2, restored.rows)
        assert.equal("2", server:sql("SELECT COUNT(*) FROM wine", "app"))
    end)

    it("are planned as they are listed", function()
        local path = t.playbook([[
            local pg, mysql = require "rollout.pg", require "rollout.mysql"
            playbook "spec" { environments = { "test" } }
            for _, db in ipairs { pg.database "postgresql://127.0.0.1/app", mysql.database "mysql://127.0.0.1/app" } do
                step("restore the newest", function() db:restore(db:backups({ folder = "backups" })[1]) end)
                gate("backups are made", function()
                    local newest = db:backups({ folder = "backups" })[1]
                    return expect("age", newest and run.now() - newest.time):below(86400000, "ms")
                end)
            end
        ]], nil, folder)
        local plan = t.host { "plan", path, cwd = folder }
        assert.equal(0, plan.code, plan.out .. plan.err)
        assert.equal(2, select(2, plan.out:gsub("→ restore [^\n]+/app from", "")), plan.out)
        assert.is_nil(plan.out:find("without a run", 1, true), plan.out)
    end)

    it("are removed when they are old and beyond the count, and no others", function()
        three(40)
        local pruned = value [[return db:prune { folder = F, older_than = "50d", keep_last = 1 }]]
        assert.same({}, pruned.removed)
        assert.same({}, value([[return db:prune { folder = F, older_than = "30d", keep_last = 3 }]]).removed)
        value [[db:dump { to = F, name = "b4.sql" }]]
        pruned = value [[return db:prune { folder = F, older_than = "30d", keep_last = 1 }]]
        table.sort(pruned.removed)
        assert.same({ "b2.sql", "b3.sql" }, names(pruned.removed))
        assert.same({ "b1.sql", "b1.sql.manifest.json", "b4.sql", "b4.sql.manifest.json" }, t.list(folder))
        assert.matches("for ever", pruned.kept[2].why)
    end)

    it("of which one was verified keep that one", function()
        three(40)
        local manifest = json.decode(t.read(folder .. "/b1.sql.manifest.json"))
        manifest.keep = nil
        t.write(folder .. "/b1.sql.manifest.json", json.encode(manifest))
        local pruned = value [[return db:prune { folder = F, older_than = "1d", keep_last = 1 }]]
        assert.same({ "b1.sql" }, names(pruned.removed))
        local why = {}
        for _, entry in ipairs(pruned.kept) do
            why[entry.path:match "[^/]+$"] = entry.why
        end
        assert.matches("last one that was verified", why["b2.sql"])
    end)

    it("of a run that may go on stay", function()
        local state = t.temp()
        local path = t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local db = require("rollout.mysql").database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
            step("dump", function() return db:dump { to = %q, name = "mine.sql", verify = false } end)
            step("stop", { on_failure = "stop" }, function() error "stop" end)
        ]]):format(folder))
        assert.equal(1, t.host({ path, state = state, env = { DATABASE_URL = server:url() } }).code)
        value [[db:dump { to = F, name = "newer.sql" }]]
        local function pruned_by(environment)
            local text = ([[
                playbook "prune" { environments = { "test" } }
                local db = require("rollout.mysql").database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
                step("it", function() return db:prune { folder = %q, older_than = "0s", keep_last = 1 } end)
            ]]):format(folder)
            return assert(t.outcome(t.play(text, { state = state, env = environment, name = "prune" })))
        end
        local pruned = pruned_by { DATABASE_URL = server:url() }
        assert.same({}, pruned.removed)
        assert.matches("has not come to its end", pruned.kept[2].why)
        for _, id in ipairs(t.list(state .. "/runs")) do
            t.host { "abort", id, state = state, env = { DATABASE_URL = server:url() } }
        end
        assert.same({ "mine.sql" }, names(pruned_by({ DATABASE_URL = server:url() }).removed))
    end)

    it("are refused what would keep nothing", function()
        assert.equal("usage", select(2, body [[db:prune { folder = F, older_than = "1d", keep_last = 0 }]]).code)
        assert.equal("usage", select(2, body [[db:prune { folder = F, keep_last = 1 }]]).code)
    end)

    describe("with a copy in a bucket", function()
        local bucket

        setup(function()
            bucket = s3.start()
        end)

        local ENV = { S3_ACCESS = "S3RVER", S3_SECRET = "S3RVER" }
        local PLACE = [[
            local s3 = require "rollout.s3"
            local place = s3.bucket { bucket = "backups", prefix = "shop", endpoint = %q, access_key = secret "S3_ACCESS",
                secret_key = secret "S3_SECRET" }
        ]]

        it("are copied there, and come back when the file is gone", function()
            local copied = value(PLACE:format(bucket.url) .. [[
                local backup = db:dump { to = F .. "/first", also = { place } }
                return { backup = backup, head = place:head(backup.path:match "[^/]+$") }
            ]], { env = ENV })
            assert.matches("^s3://backups/shop/app%-.*%.sql$", copied.backup.copies[1])
            assert.equal(copied.backup.bytes, copied.head.bytes)
            local result = t.play(([[
                playbook "spec" { environments = { "test" } }
                local db = require("rollout.mysql").database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
                local sh = require "rollout.sh"
                %s
                local backup = step("dump", function() return db:dump { to = %q, also = { place }, keep_scratch = false } end)
                step("lose it", function() sh.run { "rm", backup.path } end)
                step("damage", function() db:exec "DELETE FROM wine" end)
                step("it", function() return db:restore(backup) end)
            ]]):format(PLACE:format(bucket.url), folder), { env = { DATABASE_URL = server:url(), S3_ACCESS = "S3RVER",
                S3_SECRET = "S3RVER" }, timeout = 60 })
            local restored, problem = t.outcome(result)
            assert.is_nil(problem and problem.message)
            assert.matches("^s3://backups/shop/", restored.file)
            assert.equal("2", server:sql("SELECT COUNT(*) FROM wine", "app"))
            assert.same({}, (t.run { "find", result.state, "-name", "fetched*" }).out ~= "" and { "left" } or {})
        end)

        it("that is addressed by its URL takes the keys from the environment", function()
            local copied = value([[return db:dump { to = F, also = { "s3://backups/by-url" } }]], { env = {
                AWS_ACCESS_KEY_ID = "S3RVER", AWS_SECRET_ACCESS_KEY = "S3RVER", AWS_ENDPOINT_URL = bucket.url } })
            assert.matches("^s3://backups/by%-url/app", copied.copies[1])
        end)

        it("say so when the bucket stored something else", function()
            bucket.flip()
            local _, problem = body(PLACE:format(bucket.url) .. "db:dump { to = F, also = { place } }", { env = ENV })
            assert.equal("checksum", problem.code)
        end)
    end)
end)
