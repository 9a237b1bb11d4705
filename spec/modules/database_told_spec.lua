-- What stands beside a step that has made a backup, or brought one back.
local t = require "spec.helper"
local pg_play = require "spec.modules.pg_backup_play"
local mysql_play = require "spec.modules.mysql_play"

local BODY = [[
    local backup = db:dump { to = %q }
    db:exec "INSERT INTO orders VALUES (3)"
    return db:restore(backup, { loses = 1 }).kept
]]
local ORDERS = "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2);"

local function notes(run)
    local list = {}
    for _, event in ipairs(run.events) do
        if event.type == "note" then
            list[#list + 1] = event.payload.text
        end
    end
    return list
end

local function check(kept, problem, run)
    assert.is_nil(problem and problem.message)
    local said = notes(run)
    assert.matches("2 rows in 1 table, proven by a restore; ", said[1], 1, true)
    assert.matches("stands ready for a rollback and takes %d+ %a+ of the server's disk", said[1])
    assert.matches("again: 2 rows in 1 table; lost: at least 1 row in orders (1); what was there is kept as " .. kept, said[2], 1,
        true)
end

describe("the report of a backup and of a restore", function()
    it("says the proof, the shape, the disk it costs, and what was lost: pg", function()
        local server = t.postgres()
        pg_play.fresh(server, ORDERS)
        check(pg_play.body(server:url(), BODY:format(t.temp())))
    end)

    it("says the proof, the shape, the disk it costs, and what was lost: mysql", function()
        local server = t.mariadb()
        server:sql(ORDERS, "app")
        check(mysql_play.body(server:url(), BODY:format(t.temp())))
    end)
end)
