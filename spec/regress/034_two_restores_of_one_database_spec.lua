-- Two runs that restored one database swapped it under each other: both failed, of lost connections.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local PLAYBOOK = [[
playbook "%s" { environments = { "test" }, roles = { ["database admin"] = { "%s" } } }
local db = require("rollout.pg").database(env.require { DATABASE_URL = { format = "postgresql" } }.DATABASE_URL)
step("restore", function() return db:restore(%s, { role = "database admin", lock_wait = "1s" }) end)
]]

describe("a database that another run restores", function()
    it("is not restored meanwhile", function()
        local server = t.postgres()
        play.fresh(server, "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)")
        local backup = play.value(server:url(), ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
        server:sql("INSERT INTO orders VALUES (2)")
        local me = require("luv").os_get_passwd().username
        local function start(name)
            local path, folder = t.playbook(PLAYBOOK:format(name, me, play.lua(backup)), name)
            return t.start_host { path, "--output", "json", env = { DATABASE_URL = server:url() }, cwd = folder,
                state = folder .. "/state" }
        end
        local first = start "first"
        t.eventually("it asks whether the row may go", function()
            return first.code or first.out:find('"approve.begin"', 1, true)
        end, 30)
        assert.is_nil(first.code, first.out .. first.err)
        local second = start("second"):wait(60)
        assert.equal(1, second.code, second.out .. second.err)
        assert.matches('"code":"busy"', second.out, 1, true)
        assert.equal("2", server:sql "SELECT count(*) FROM orders")
        first:kill()
        first:wait()
        local third = start "third"
        t.eventually("nobody is in its way any more", function()
            return third.code or third.out:find('"approve.begin"', 1, true)
        end, 30)
        assert.is_nil(third.code, third.out .. third.err)
        third:kill()
        third:wait()
    end)
end)
