-- The connection is cut, or the host killed, at each moment of a write: it is done once.
local t = require "spec.helper"
local proxy = require "spec.world.proxy"

local PLAY = [[
local pg = require "rollout.pg"
playbook "spec" { environments = { "test" } }
local db = pg.database(secret "DATABASE_URL")
step("it", function() return %s end)
]]

local WRITES = {
    exec = [[db:exec("INSERT INTO done VALUES ($1) RETURNING x", "ü").affected]],
    transaction = [[db:transaction(function(tx)
        tx:exec("INSERT INTO done VALUES ($1)", "a")
        return tx:exec("UPDATE done SET x = $1", "ü").affected
    end)]],
}

describe("pg, cut in the middle of a write,", function()
    local server

    local function start()
        local one = t.postgres()
        one:sql "CREATE TABLE done (x text); ALTER TABLE done OWNER TO app"
        return one
    end

    setup(function() server = start() end)

    before_each(function() server:sql "TRUNCATE done" end)

    local function through(port)
        return (server:url():gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. port) .. "?sslmode=disable")
    end

    local function rows()
        return server:sql "SELECT string_agg(x, ',') FROM done"
    end

    -- How many times something passes in the whole of it, from host to server and back.
    local function passes(write)
        local count = 0
        local through_all = proxy.start(server.port, function() count = count + 1 end)
        local run = t.play(PLAY:format(write), { env = { DATABASE_URL = through(through_all.port) } })
        assert.equal(0, run.code, run.err)
        server:sql "TRUNCATE done"
        return count
    end

    for name, write in pairs(WRITES) do
        for _, how in ipairs { "cut", "deliver" } do
            it(("has done it once in the end: %s, %s"):format(name, how), function()
                local moments = passes(write)
                assert.is_true(moments > 10)
                for moment = 1, moments do
                    local count = 0
                    local cutting = proxy.start(server.port, function()
                        count = count + 1
                        return count == moment and how
                    end)
                    local env = { DATABASE_URL = through(cutting.port) }
                    local run = t.play(PLAY:format(write), { env = env })
                    if run.code ~= 0 then
                        assert.equal(1, run.code, run.err)
                        assert.matches("connect", run.err .. run.out)
                        local again = t.host { "resume", state = run.state, cwd = run.folder, env = env }
                        assert.equal(0, again.code, again.err .. again.out)
                    end
                    assert.equal("ü", rows(), "cut at " .. moment)
                    server:sql "TRUNCATE done"
                end
            end)
        end

        -- The host dies when COMMIT is on its way, or its answer.
        for _, when in ipairs { "before", "after" } do
            it(("knows after a crash what became of it: %s, %s the server has heard of COMMIT"):format(name, when), function()
                local seen, over
                local holding = proxy.start(server.port, function(bytes, to_server)
                    if seen or over then
                        return not over and "hold"
                    end
                    seen = to_server and bytes:find("^Q....COMMIT") ~= nil
                    return seen and when == "before" and "hold"
                end)
                local path, folder = t.playbook(PLAY:format(write))
                local run = t.start_host { path, state = folder .. "/state", cwd = folder,
                    env = { DATABASE_URL = through(holding.port) } }
                t.eventually("COMMIT", function() return seen or run.code end)
                assert.is_true(seen)
                if when == "after" then
                    t.eventually("the row", function() return rows() == "ü" end)
                end
                run:kill("sigkill")
                run:wait()
                over = true
                local again = t.host { "resume", state = folder .. "/state", cwd = folder,
                    env = { DATABASE_URL = through(holding.port) } }
                assert.equal(0, again.code, again.err .. again.out)
                assert.equal("ü", rows())
            end)
        end
    end

    it("by a host that dies, is not waited for to its end", function()
        server:sql "CREATE TABLE pause (s int); INSERT INTO pause VALUES (50); GRANT SELECT ON pause TO app"
        local path, folder = t.playbook(PLAY:format
            [[db:exec("INSERT INTO done SELECT 'ü' FROM (SELECT pg_sleep(s) FROM pause) p")]])
        local command = { state = folder .. "/state", cwd = folder, env = { DATABASE_URL = server:url() }, timeout = 40 }
        local run = t.start_host { path, state = command.state, cwd = folder, env = command.env }
        t.eventually("the statement", function() return run.code or server:running "INSERT INTO done%" == 1 end)
        run:kill("sigkill")
        run:wait()
        server:sql "UPDATE pause SET s = 0"
        command[1] = "resume"
        local again = t.host(command)
        assert.equal(0, again.code, again.err .. again.out)
        assert.equal("ü", rows())
    end)

    it("and asking again in vain, says that it does not know", function()
        local gone, over
        local cutting = proxy.start(server.port, function(bytes, to_server)
            if gone or over then
                return not over and "cut"
            end
            gone = to_server and bytes:find("^Q....COMMIT") ~= nil
            return gone and "deliver"
        end)
        local run = t.play(PLAY:format(WRITES.exec), { env = { DATABASE_URL = through(cutting.port) } })
        assert.matches("whether it was committed is not known", run.err .. run.out)
        assert.not_equal(0, run.code)
        over = true
        local again = t.host { "resume", state = run.state, cwd = run.folder, env = { DATABASE_URL = through(cutting.port) } }
        assert.equal(0, again.code, again.err .. again.out)
        assert.equal("ü", rows())
    end)

    it("by a server that dies with the COMMIT, knows when it is there again", function()
        local server, dead = start(), nil -- luacheck: ignore 431 (what is started within a test ends with it)
        local before = proxy.start(server.port, function(bytes, to_server)
            if dead then
                return
            elseif to_server and bytes:find("^Q....COMMIT") then
                dead = true
                server:kill()
                return "cut"
            end
        end)
        local run = t.play(PLAY:format(WRITES.exec), { env = { DATABASE_URL = through(before.port) } })
        assert.equal(1, run.code, run.err)
        assert.matches("whether it was committed is not known", run.err .. run.out)
        server:up()
        assert.equal("", server:sql "TABLE done")
        local again = t.host { "resume", state = run.state, cwd = run.folder, env = { DATABASE_URL = through(before.port) } }
        assert.equal(0, again.code, again.err .. again.out)
        assert.equal("ü", server:sql "TABLE done")
    end)

    it("leaves a read to be asked again", function()
        local cut
        local cutting = proxy.start(server.port, function(bytes, to_server)
            if not cut and to_server and bytes:find("SELECT 2", 1, true) then
                cut = true
                return "cut"
            end
        end)
        local run = t.play(PLAY:format [[db:value "SELECT 1" + db:value "SELECT 2"]],
            { env = { DATABASE_URL = through(cutting.port) } })
        assert.equal(3, run.ended.it.value, run.err)
    end)
end)
