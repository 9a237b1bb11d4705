-- The first 4 KiB and the last of a compressed dump, rows among them, stood in the run's log and on the terminal.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

describe("a compressed dump of one's own", function()
    it("is recognised without its rows in the log", function()
        local server = t.postgres()
        play.fresh(server, "CREATE TABLE people (name text); INSERT INTO people VALUES ('Ada Lovelace')")
        local path = t.temp() .. "/own.sql.gz"
        assert.equal(0, t.run { "sh", "-c", "pg_dump --inserts '" .. server:url() .. "' | gzip >" .. path }.code)
        local value, problem, run = play.body(server:url(), ("return db:restore(%q)"):format(path))
        assert.is_nil(problem and problem.message)
        assert.equal(1, value.rows)
        assert.is_nil(run.out:find("Lovelace", 1, true))
        assert.not_equal(0, t.run { "grep", "-r", "Lovelace", run.state }.code)
    end)
end)
