-- The swap of a restored PostgreSQL database: the host is killed, its connection cut, the server killed at each message of it;
-- and clients that connect over and over meanwhile.
local t = require "spec.helper"
local chain = require "spec.faults.chain"
local play = require "spec.modules.pg_backup_play"
local proxy = require "spec.world.proxy"

local uv = require "luv"

local PLAYBOOK = [[
playbook "spec" { environments = { "test" } }
local db = require("rollout.pg").database(secret "DATABASE_URL")
local backup = step("back up", function() return db:dump { to = "backups" } end)
step("ruin", function() db:exec "UPDATE t SET x = 'bad'" end)
step("restore", function() return db:restore(backup, { loses = 1000 }) end)
]]

describe("a swap of pg's", function()
    local server

    setup(function()
        server = t.postgres { settings = { max_connections = 80 } }
    end)

    local function fresh()
        play.fresh(server, "CREATE TABLE t (x text); INSERT INTO t SELECT 'good' FROM generate_series(1, 50)")
    end

    local function through(port)
        return server:url():gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. port) .. "?sslmode=disable"
    end

    -- Whoever connects to the name finds this: never neither, never a part.
    local function content()
        return server:sql "SELECT string_agg(DISTINCT x, ',') || count(*) FROM t"
    end

    local function settled()
        t.eventually("the server has finished what it was told", function()
            return server:sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rollouthost%'"
                .. " AND backend_type = 'client backend'", "postgres") == "0"
        end, 40)
    end

    local function kept()
        local names = play.kept(server)
        return select(2, names:gsub("%S+", "")), names
    end

    -- A run whose messages to the server are counted from the one that closes the scratch on. happens(n, bytes) says what the
    -- proxy does with the nth.
    local function run(happens)
        fresh()
        local path, folder = t.playbook(PLAYBOOK)
        local count, from = 0, nil
        local host
        local watched = proxy.start(server.port, function(bytes, to_server)
            if not to_server then
                return nil
            elseif bytes:find("ALLOW_CONNECTIONS false", 1, true)
                and server.restoring then
                from = true
            end
            if from then
                count = count + 1
                return happens(count, host, bytes)
            end
        end)
        local variables = t.write(folder .. "/variables", "DATABASE_URL='" .. through(watched.port) .. "'\n")
        server.restoring = false
        host = t.start_host { path, "--env-file", variables, "--output", "json", state = folder .. "/state", cwd = folder }
        local function strike() -- not within the proxy's callback, which libuv is in
            if server.doomed then
                server.doomed = false
                server:kill()
            end
        end
        t.eventually("the restore begins, or ends", function()
            strike()
            if host.out:find('"key":"restore"', 1, true) then
                server.restoring = true
            end
            return host.code
        end, 60)
        host:wait()
        strike() -- the host does not wait for its last message
        return host, { "resume", "--env-file", variables, state = folder .. "/state", cwd = folder, timeout = 60 }, count
    end

    local function resumed(command, moment)
        local result = t.host(command)
        assert.equal(0, result.code, moment .. ": " .. result.out .. result.err)
        assert.equal("good50", content())
        local number, names = kept()
        assert.equal(1, number, moment .. ": " .. names)
        assert.equal("", play.scratches(server))
    end

    it("is old or new when the host is killed at any message of it, and new when it was resumed", function()
        local _, _, messages = run(function() end)
        assert.is_true(messages > 8, messages .. " messages")
        local every, first = chain.pace(10)
        for moment = first, messages, every do
            local _, command = run(function(n, host)
                if n == moment then
                    host:kill("sigkill")
                end
            end)
            settled()
            local found = content() -- it can be connected to, without anybody's help
            assert.is_true(found == "bad50" or found == "good50", moment .. ": " .. found)
            resumed(command, moment)
        end
    end)

    it("is old or new when its connection is cut at any message, and new when it was resumed", function()
        local _, _, messages = run(function() end)
        local every, first = chain.pace(12)
        for moment = first, messages, every do
            local host, command = run(function(n) return n == moment and "cut" end)
            settled()
            assert.matches("^%l+50$", content())
            if host.code ~= 0 then
                resumed(command, moment)
            end
        end
    end)

    it("is old or new when the server is killed at any message, and new when it was resumed", function()
        local whole = server
        t.finally(function() server = whole end)
        server = t.postgres() -- what is started in a test ends with it
        local _, _, messages = run(function() end)
        local every, first = chain.pace(15)
        for moment = first, messages, every do
            local host, command = run(function(n)
                if n == moment then
                    server.doomed = true
                    return "hold"
                end
            end)
            if server.process.code then -- one run has a message more than another
                server:up()
            end
            if host.code == 0 then
                assert.equal("good50", content())
            else
                resumed(command, moment)
            end
        end
    end)

    -- For how long, spec/bench measures.
    it("turns reconnecting clients away and lets them in again", function()
        fresh()
        server:sql("GRANT ALL ON t TO PUBLIC")
        local body = "user\0postgres\0database\0app\0\0"
        local startup = string.pack(">I4I4", #body + 8, 196608) .. body
        local refused, answered, turned_away = {}, 0, 0
        local going = true
        -- Connects, is let in or turned away, and begins anew.
        local function client()
            local pipe, bytes = uv.new_pipe(), ""
            local function over(why)
                if pipe:is_closing() then
                    return
                end
                if why then
                    refused[why] = true
                    turned_away = turned_away + 1
                else
                    answered = answered + 1
                end
                pipe:close(function()
                    if going then
                        client()
                    end
                end)
            end
            pipe:connect(server.socket .. "/.s.PGSQL." .. server.port, function(problem)
                if problem then
                    return over(problem)
                end
                pipe:write(startup)
                pipe:read_start(function(_, chunk)
                    bytes = bytes .. (chunk or "")
                    if bytes:find("Z\0\0\0\5I", 1, true) then
                        over()
                    elseif not chunk or bytes:sub(1, 1) == "E" then
                        over(bytes:match("\0M([^\0]+)") or "closed")
                    end
                end)
            end)
        end
        for _ = 1, 6 do
            client()
        end
        local path, folder = t.playbook(PLAYBOOK)
        local result = t.host { path, cwd = folder, state = folder .. "/state",
            env = { DATABASE_URL = server:url("app", "postgres") }, timeout = 60 }
        local before = answered
        t.eventually("they are let in", function() return answered > before + 10 end)
        going = false
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_true(turned_away > 0, "nobody was turned away: nothing was tried")
        for why in pairs(refused) do
            assert.is_truthy(why:find "not currently accepting connections" or why:find "does not exist"
                or why:find "terminating connection", why)
        end
        assert.equal("good50", content())
    end)
end)
