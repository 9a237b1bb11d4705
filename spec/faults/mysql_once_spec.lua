-- What writes is done once, whatever dies in the middle: the marker that is committed with it tells.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"
local chain = require "spec.faults.chain"
local proxy = require "spec.world.proxy"

local HEAD = [[
local mysql = require "rollout.mysql"
playbook "once" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" }, TOKEN = { optional = true } }
local db = mysql.database(cfg.DATABASE_URL)
]]

describe("a write", function()
    local server

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        server:sql("DROP DATABASE IF EXISTS app; CREATE DATABASE app; DROP DATABASE IF EXISTS rollouthost")
        server:sql("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT)", "app")
    end)

    local function rows()
        return server:sql("SELECT GROUP_CONCAT(what ORDER BY id) FROM t", "app")
    end

    local function running(what)
        return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%" .. what .. "%'"
            .. " AND info NOT LIKE '%processlist%'") ~= "0"
    end

    -- Starts the playbook, kills the host when the server executes `what`, and resumes it.
    local function killed_within(text, what, url)
        t.eventually("the server is idle", function() return not running(what) end)
        local path, folder = t.playbook(HEAD .. text, "once")
        local command = { state = folder .. "/state", env = { DATABASE_URL = url or server:url() }, timeout = 60 }
        local run = t.start_host(table.move({ path }, 1, 1, 1, { state = command.state, env = command.env }))
        t.eventually("the statement runs", function() return run.code or running(what) end)
        run:kill("sigkill")
        run:wait()
        command[1], command[2], command[3] = "resume", "--output", "plain"
        return t.host(command), command
    end

    it("is there once, killed at every commit of the journal", function()
        local path, folder = t.playbook(HEAD .. [[
            step("one", function() return db:exec("INSERT INTO t (what) VALUES (?)", "one") end)
            local two = step("two", function()
                return db:transaction(function(tx)
                    tx:exec "INSERT INTO t (what) VALUES ('two')"
                    return { n = tx:value "SELECT COUNT(*) FROM t" }
                end)
            end)
            step("three", function() return db:exec("INSERT INTO t (what) VALUES (?)", "three of " .. two.n) end)
        ]], "once")
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state",
            env = { DATABASE_URL = server:url() } }
        assert.equal(0, run:run(100), run.said:sub(-3000))
        assert.equal("one,two,three of 2", rows())
        assert.equal("0", server:sql("SELECT COUNT(*) FROM rollouthost.done"))
    end)

    it("that the server still executes is waited for, and done again where it was given up", function()
        local resumed = killed_within([[
            step("slow", function() db:exec "INSERT INTO t (what) SELECT IF(SLEEP(1), 'x', 'slow')" end)
        ]], "SLEEP")
        assert.equal(0, resumed.code, resumed.out)
        assert.equal("slow", rows())
    end)

    it("that commits by itself needs a person: it says so in the plan, and after a crash", function()
        local text = 'step("ddl", function() db:exec "CREATE TABLE n AS SELECT SLEEP(1) AS x" end)\n'
            .. 'step("dml", function() db:exec "DELETE FROM t" end)'
        local plan = t.host { "plan", (t.playbook(HEAD .. text)), "--format", "json",
            env = { DATABASE_URL = server:url() } }
        assert.matches('"class":"unsafe"[^\n]*CREATE TABLE', plan.out)
        assert.matches('"class":"probed"[^\n]*DELETE FROM', plan.out)
        local resumed = killed_within(text, "SLEEP")
        assert.equal(7, resumed.code, resumed.out)
    end)

    it("needs a person where a table has no transactions, or the user may make no marker", function()
        server:sql("CREATE TABLE old (id INT) ENGINE=MyISAM", "app")
        local text = [[step("slow", function() db:exec "INSERT INTO t (what) SELECT IF(SLEEP(1), 'x', 'slow')" end)]]
        assert.equal(7, (killed_within(text, "SLEEP")).code)
        server:sql("DROP TABLE app.old; DROP USER IF EXISTS few; CREATE USER few IDENTIFIED BY 'few-rights'; "
            .. "GRANT ALL ON app.* TO few")
        local url = ("mysql://few:few-rights@127.0.0.1:%d/app"):format(server.port)
        local resumed, command = killed_within(text, "SLEEP", url)
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        local id = t.list(command.state .. "/runs")[1]
        local decided = t.host { "decide", id, "--retry", state = command.state, env = command.env }
        assert.equal(0, decided.code, decided.out .. decided.err)
        local again = t.host { "resume", state = command.state, env = command.env, timeout = 60 }
        assert.equal(0, again.code, again.out)
    end)

    it("is done again in a step that says that it may be", function()
        server:sql("CREATE TABLE old (id INT) ENGINE=MyISAM", "app")
        local resumed = killed_within([[step("slow", { idempotent = true }, function()
            db:exec "REPLACE INTO t (id, what) SELECT 1, IF(SLEEP(1), 'x', 'slow')" end)]], "SLEEP")
        assert.equal(0, resumed.code, resumed.out)
        assert.equal("slow", rows())
    end)

    it("whose COMMIT got no answer tells what became of it", function()
        local text = 'return db:exec "INSERT INTO t (what) VALUES (\'cut\')"'
        for _, forwarded in ipairs { true, false } do
            server:sql("DELETE FROM t", "app")
            local done
            local between = proxy.start(server.port, function(bytes, to_server)
                if to_server and not done and bytes:find("COMMIT", 1, true) then
                    done = true
                    return forwarded and "deliver" or "cut"
                end
            end)
            local url = server:url():gsub(":" .. server.port, ":" .. between.port)
            local value, problem = play.body(url, text)
            if forwarded then
                assert.equal(1, value.affected)
                assert.equal("cut", rows())
            else
                assert.equal("lost_connection", problem.code)
                assert.matches("nothing of it was committed", problem.message)
                assert.equal("NULL", rows())
            end
        end
    end)

    it("leaves no secret beside its marker", function()
        local token = "tok-of-the-grey-sea"
        local _, _, result = play.body(server:url(), [[
            db:transaction(function(tx) return { was = tx:value("SELECT ?", (env.require { TOKEN = {} }).TOKEN) } end)
            db:exec("INSERT INTO t (what) VALUES (?)", "plain")
            error("stop here")
        ]], { env = { TOKEN = token } })
        assert.equal(1, result.code, result.out)
        local kept = server:sql("SELECT result FROM rollouthost.done")
        assert.matches("affected", kept)
        assert.is_nil(kept:find(token, 1, true))
    end)
end)
