-- A negative `loses` waited for a person though nothing was to be lost, a name that PostgreSQL cuts off was reported as if it were
-- there, and of a backup of another database nobody was told before it took this one's place.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

describe("a restore of pg's", function()
    local server, url, backup

    setup(function()
        server = t.postgres()
        url = server:url()
        play.fresh(server, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)")
        backup = play.lua(play.value(url, ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp())))
    end)

    for options, said in pairs {
        ["loses = -1"] = "loses is a number of rows: 0 or more",
        ["jobs = 0"] = "jobs is between 1 and 64",
        ["into = ''"] = "is no name of a database",
        ["into = ('x'):rep(64)"] = "1 to 63 bytes",
        ["into = 'a\\0b'"] = "is no name of a database",
    } do
        it("is refused with " .. options, function()
            local _, problem = play.body(url, ("return db:restore(%s, { %s })"):format(backup, options))
            assert.equal("usage", problem.code, problem.message)
            assert.matches(said, problem.message, 1, true)
        end)
    end

    it("from another database's backup says so before it takes anything away", function()
        server:sql("CREATE DATABASE other OWNER app", "postgres")
        server:sql("SET ROLE app; CREATE TABLE people (id int); INSERT INTO people VALUES (1), (2)", "other")
        local host = play.start(server:url("other"), ("db:restore(%s)"):format(backup))
        host:wait_for "Restore other from a backup of app, and lose what was written since the backup"
        host:kill "sigterm"
        host:wait(20)
        assert.equal("2", server:sql("SELECT count(*) FROM people", "other"))
    end)
end)
