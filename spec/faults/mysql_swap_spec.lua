-- kill -9 at each statement of a restore from the kept scratch, and the server's connection cut there: before a resume the
-- database is the old or the new one, after it the new one, and an application can use it.
local t = require "spec.helper"
local chain = require "spec.faults.chain"
local play = require "spec.modules.mysql_play"
local proxy = require "spec.world.proxy"

local PLAYBOOK = [[
local mysql = require "rollout.mysql"
playbook "swap" { environments = { "test" } }
local db = mysql.database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups" } end)
step("ruin", { idempotent = true }, function() db:exec "DELETE FROM users WHERE id < 20" end)
step("restore", function() return db:restore(backup) end)
]]

local EVERY = 160 -- messages; all of them in `make matrix`

describe("a swap", function()
    local server

    setup(function()
        server = t.mariadb { args = { "--table-definition-cache=2000" } }
    end)

    local function fresh()
        local names = server:sql([[SELECT schema_name FROM information_schema.schemata
            WHERE schema_name LIKE 'app%' OR schema_name LIKE 'rh\_%']])
        for name in names:gmatch "[^\n]+" do
            server:sql("SET foreign_key_checks = 0; DROP DATABASE `" .. name .. "`")
        end
        server:sql("CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
    end

    local function fingerprints()
        return assert(play.body(server:url(), "return db:fingerprints()"))
    end

    local function count(pattern)
        return server:sql("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE '" .. pattern .. "'")
    end

    local function idle()
        return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'") == "0"
    end

    -- A run whose n-th message to the server, counted from the restore's first, is its last; nil: there are not so many.
    local function run_to(n, how)
        local seen, run = nil, nil
        local between = proxy.start(server.port, function(bytes, to_server)
            if not to_server then
                return nil
            elseif not seen and bytes:find("GET_LOCK", 1, true) then
                seen = 0
            end
            seen = seen and seen + 1
            if seen == n then
                if how == "kill" then
                    run:kill("sigkill")
                end
                return n % 2 == 0 and "deliver" or "cut"
            end
        end)
        local path, folder = t.playbook(PLAYBOOK, "swap")
        local env = { DATABASE_URL = server:url():gsub(":" .. server.port .. "/", ":" .. between.port .. "/") }
        run = t.start_host { path, "--output", "plain", state = folder .. "/state", cwd = folder, env = env }
        run:wait(60)
        t.eventually("the server has finished what it was told", idle, 30)
        return seen and seen >= n and run, { "resume", "--output", "plain", state = folder .. "/state", cwd = folder, env = env,
            timeout = 60 }
    end

    for how, what in pairs { kill = "whose host is killed", cut = "whose connection is cut" } do
        it(what .. " at a statement is old or new, and goes on", function()
            local every, first = chain.pace(EVERY)
            local n = first
            while true do
                fresh()
                local before = fingerprints()
                local run, resume = run_to(n, how)
                if not run then
                    break
                end
                local where = ("%s at %d: %s%s"):format(how, n, run.out, run.err)
                local between = fingerprints()
                if between.tables.users.rows == 281 then
                    assert.same({ 181, 19, 10 }, { between.tables["o r'd\"e.r`s ü"].rows, between.tables.audit.rows,
                        between.tables.nokey.rows }, where)
                else
                    assert.same(before.tables, between.tables, where)
                end
                if run.code ~= 0 then -- what was cut may have been reconnected
                    local resumed = t.host(resume)
                    assert.equal(0, resumed.code, where .. resumed.out .. resumed.err)
                end
                assert.same(before, fingerprints(), where)
                assert.equal("0", count [[rh\_%]], where)
                assert.equal("1", count [[app\_broken%]], where)
                assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app"))
                n = n + every
            end
            assert.is_true(n > 60, "the restore had only " .. n .. " messages")
        end)
    end
end)
