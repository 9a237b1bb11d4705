-- A dump or a restore that a second Ctrl-C cancelled left its half loaded database on the server; that of an aborted run for ever.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

-- Loading takes a minute, in a copy only.
local SLOW = [[
CREATE FUNCTION slow(id int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_database() LIKE 'rh%' THEN PERFORM pg_sleep(60); END IF; RETURN true; END $$;
CREATE TABLE orders (id int CHECK (slow(id)));
INSERT INTO orders VALUES (1);
]]

describe("a copy that was being loaded when its run was cancelled", function()
    local server

    setup(function()
        server = t.postgres()
        play.fresh(server, SLOW)
    end)

    local function cancelled(expression)
        local host = play.start(server:url(), expression, "plain")
        t.eventually("it is being loaded", function()
            return server:running "COPY public.orders%" > 0
        end, 30)
        host:kill("sigint")
        t.eventually("the first Ctrl-C is heard", function() return host.out:find("Pausing", 1, true) end)
        host:kill("sigint")
        assert.equal(5, host:wait(20).code, host.err)
        assert.equal("", play.scratches(server))
        assert.equal("app", server:sql("SELECT datname FROM pg_database WHERE datname LIKE 'app%'"))
    end

    it("is dropped: a dump's", function()
        cancelled(("db:dump { to = %q }"):format(t.temp()))
    end)

    it("is dropped: a restore's", function()
        cancelled(("db:restore(db:dump { to = %q, verify = false })"):format(t.temp()))
    end)
end)
