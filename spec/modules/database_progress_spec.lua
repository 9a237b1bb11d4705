-- How far a dump is: bytes, with the count of tables beside them, then the tables that the proof has looked at.
local t = require "spec.helper"
local pg_play = require "spec.modules.pg_backup_play"
local mysql_play = require "spec.modules.mysql_play"

local TABLES = ([[CREATE TABLE t$ (id int PRIMARY KEY); INSERT INTO t$ VALUES (1), (2);]]):rep(12)

local function tables()
    local n = 0
    return (TABLES:gsub("t%$ %(.-VALUES", function(text)
        n = n + 1
        return (text:gsub("%$", tostring(n)))
    end))
end

local function check(_, problem, run)
    assert.is_nil(problem and problem.message)
    local beside, proof
    for _, event in ipairs(run.events) do
        local told = event.type == "progress" and event.payload
        if told and told.unit == "bytes" then
            beside = beside or told.beside
        elseif told and told.unit == "tables" then
            proof = told
        end
    end
    assert.equal("tables", beside.unit)
    assert.equal(12, beside.total)
    assert.same({ done = 12, total = 12, unit = "tables" }, proof)
end

describe("progress of a dump", function()
    local BODY = "return db:dump { to = %q, keep_scratch = false }"

    it("has the count of tables: pg", function()
        local server = t.postgres()
        pg_play.fresh(server, tables())
        check(pg_play.body(server:url(), BODY:format(t.temp())))
    end)

    it("has the count of tables: mysql", function()
        local server = t.mariadb()
        server:sql(tables(), "app")
        check(mysql_play.body(server:url(), BODY:format(t.temp())))
    end)
end)
