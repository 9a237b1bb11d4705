-- Where a dump of MariaDB's could not be loaded, the whole statement that failed, with its rows, stood in the error and the log.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a dump of MariaDB's with an error in its middle", function()
    it("is refused without its rows in error or log", function()
        local server = t.mariadb()
        server:sql("CREATE TABLE people (name varchar(50)); INSERT INTO people VALUES ('Ada Lovelace')", "app")
        local text = t.run { "mariadb-dump", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app" }.out
        local path = t.write(t.temp() .. "/own.sql", (text:gsub("INSERT INTO `people`", "INSERT INTO `poeple`")))
        local value, problem, run = play.body(server:url(), ("return db:restore(%q)"):format(path))
        assert.is_nil(value)
        assert.matches("failed %(exit 1%): ERROR %d+ .*'poeple'", problem.message)
        assert.is_nil(run.out:find("Lovelace", 1, true))
        assert.not_equal(0, t.run { "grep", "-r", "Lovelace", run.state }.code)
        assert.equal("1", server:sql("SELECT count(*) FROM people", "app"))
    end)
end)
