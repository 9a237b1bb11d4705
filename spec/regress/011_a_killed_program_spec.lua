-- A pg_dump or pg_restore that somebody killed (or the system, for want of memory) was reported as an archive that ends too
-- early, or with no word at all.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local SLOW = [[
CREATE FUNCTION slow(id int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_database() LIKE 'rh%' THEN PERFORM pg_sleep(60); END IF; RETURN true; END $$;
CREATE TABLE orders (id int CHECK (slow(id)));
INSERT INTO orders VALUES (1);
]]

describe("a program of PostgreSQL's that is killed in a dump", function()
    it("is said to have been killed", function()
        local server = t.postgres()
        play.fresh(server, SLOW)
        local host = play.start(server:url(), ("db:dump { to = %q }"):format(t.temp()))
        local scratch
        t.eventually("it is being loaded", function()
            scratch = play.scratches(server)
            return server:running "COPY public.orders%" > 0
        end, 30)
        t.run { "pkill", "-KILL", "-f", "^[^ ]*pg_restore .*" .. scratch }
        assert.equal(1, host:wait(30).code)
        assert.matches("restoring the backup to prove it failed %(signal 9%): killed by somebody", host.out)
        assert.equal("", play.scratches(server))
    end)
end)
