-- A backup was said not to be what was backed up where the application took a number from a sequence after pg_dump had
-- read it and before its fingerprint did.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"
local postgres = require "spec.world.postgres"

local WAITS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s' AND wait_event_type = 'Lock'"

describe("a sequence that moves on while it is backed up", function()
    local server

    -- Locks what a fingerprint reads of the catalog, and pg_dump does not where there is nothing to be dumped of it.
    local function lock(name)
        local client = t.start { postgres.programs() .. "/psql", "--no-psqlrc", "--host=" .. server.socket,
            "--port=" .. server.port, "--username=postgres", "--dbname=app", input = true, env = { PGAPPNAME = name } }
        client:write "BEGIN; LOCK TABLE pg_ts_config_map;\n\\echo held\n"
        return client
    end

    local function commit(client)
        client:write "COMMIT;\n"
        client:close_input()
        client:wait()
    end

    local function waits(name)
        t.eventually(name .. " waits", function() return server:sql(WAITS:format(name), "postgres") == "1" end)
    end

    it("is proven to stand no lower than it did when the backup began", function()
        server = t.postgres { settings = { log_min_duration_statement = "0" } }
        play.fresh(server, "CREATE TABLE jobs (id serial PRIMARY KEY); INSERT INTO jobs DEFAULT VALUES")
        local first = lock "first"
        first:wait_for "held"
        local host = play.start(server:url(), ("db:dump { to = %q }"):format(t.temp()))
        waits "rollouthost" -- for the mark by which a change of the schema is known
        local second = lock "second" -- behind it, and before what it reads next
        waits "second"
        commit(first)
        second:wait_for "held"
        waits "rollouthost" -- for the fingerprint
        t.eventually("pg_dump has read the sequence", function()
            return server:log():find("duration: [^\n]* SELECT last_value, is_called FROM")
        end)
        server:sql("SELECT nextval('jobs_id_seq')")
        commit(second)
        assert.equal(0, host:wait().code, host.out .. host.err)
    end)
end)
