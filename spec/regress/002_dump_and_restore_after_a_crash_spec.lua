-- A host that died after a backup had its name, or after a restore was swapped in, and before that was recorded: the
-- backup failed on its own file, and the restore did not find its mark and was swapped in a second time.
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local PLAYBOOK = [[
local mysql = require "rollout.mysql"
playbook "demo" { environments = { "staging" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" } }
local db = mysql.database(cfg.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups", also = { "mirror" }, name = "b.sql" } end)
step("damage", { idempotent = true }, function() db:exec "delete from wine where id > 1" end)
return step("restore", function() return db:restore(backup) end)
]]

describe("a dump and a restore that were interrupted", function()
    it("are there once", function()
        local server = t.mariadb()
        server:sql("create table wine (id int primary key, name text); insert into wine values (1, 'a'), (2, 'b'), (3, 'c')",
            "app")
        local path, folder = t.playbook(PLAYBOOK, "demo")
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state",
            env = { DATABASE_URL = server:url() } }
        local code = run:run(100)
        assert(code == 0, run.said:sub(-3000))
        assert.equal("3", server:sql("select count(*) from wine", "app"))
        assert.same({ "b.sql", "b.sql.manifest.json" }, t.list(folder .. "/backups"))
        assert.same({ "b.sql", "b.sql.manifest.json" }, t.list(folder .. "/mirror"))
        local kept = {}
        for name in server:sql("show databases"):gmatch("[^\n]+") do
            assert(not name:find "^rh_", "left behind: " .. name)
            kept[#kept + 1] = name:match "^app_broken_"
        end
        assert.equal(1, #kept)
    end)
end)
