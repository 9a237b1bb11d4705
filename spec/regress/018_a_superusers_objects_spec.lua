-- A backup of a database in which a superuser owns something was refused by pg_restore, after the whole dump, with "must be
-- member of role postgres": the server does not list what its first superuser owns.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

describe("a role that is no superuser", function()
    local server, url

    setup(function()
        server = t.postgres()
        url = server:url()
    end)

    local function dumped(sql)
        play.fresh(server, "CREATE TABLE ours (a int)")
        server:sql(sql)
        return play.body(url, ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
    end

    for what, sql in pairs {
        ["table public.theirs"] = "CREATE TABLE theirs (a serial); GRANT SELECT ON theirs, theirs_a_seq TO app",
        ["function public.theirs%(integer%)"] = "CREATE FUNCTION theirs(a int) RETURNS int LANGUAGE sql AS 'SELECT a'",
        ["schema theirs"] = "CREATE SCHEMA theirs; GRANT ALL ON SCHEMA theirs TO app",
        ["publication theirs"] = "CREATE PUBLICATION theirs FOR ALL TABLES",
        ["large object %d+"] = "SELECT lo_from_bytea(0, 'x') \\g /dev/null\nALTER DATABASE app SET lo_compat_privileges = on",
    } do
        it("is told before the dump that a superuser owns the " .. what:gsub("%%", ""), function()
            local _, problem = dumped(sql)
            assert.equal("privileges", problem.code, problem.message)
            assert.matches("a superuser owns " .. what, problem.message)
            assert.matches("Make app the owner", problem.message)
        end)
    end

    it("backs up what belongs to an extension, to the server or to this host", function()
        local backup, problem = dumped [[CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE SCHEMA rollouthost;
            CREATE TABLE rollouthost.effects (key text); CREATE TEMP TABLE passing (a int)]]
        assert.is_nil(problem and problem.message)
        assert.is_true(backup.verified)
    end)
end)
