-- A restore in_place failed, with nothing done, where the database had a range type, extended statistics, a foreign server, a
-- cast of its own, or an event trigger of an extension: each was to be dropped by words that the server refuses, or was not
-- dropped and stood in the archive's way.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local EXTENSION = [[
CREATE EXTENSION isn; CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION watched();
ALTER EXTENSION isn ADD EVENT TRIGGER watched; ALTER EXTENSION isn ADD FUNCTION watched;
]]

describe("a restore in place of pg's", function()
    local server, url

    setup(function()
        server = t.postgres()
        url = server:url("app", "postgres")
    end)

    local function brought_back(sql)
        play.fresh(server)
        server:sql(sql)
        local backup = play.value(url, ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
        local before = play.fingerprints(url)
        server:sql("DROP TABLE twins CASCADE; CREATE TABLE newcomer (a int)")
        play.value(url, ("return db:restore(%s, { mode = 'in_place', loses = 1000 })"):format(play.lua(backup)))
        assert.same(before, play.fingerprints(url))
    end

    it("takes away and brings back one of everything that PostgreSQL can hold", function()
        brought_back(t.read "spec/world/everything.sql" .. "REFRESH MATERIALIZED VIEW per_state")
    end)

    it("takes away and brings back casts between the server's own types", function()
        brought_back("CREATE TABLE twins (a int); CREATE CAST (int AS inet) WITH INOUT")
    end)

    it("leaves an extension what is the extension's", function()
        brought_back(EXTENSION .. "CREATE TABLE twins (a isbn); INSERT INTO twins VALUES ('978-0-393-04002-9')")
        assert.equal("watched", server:sql "SELECT evtname FROM pg_event_trigger")
    end)
end)
