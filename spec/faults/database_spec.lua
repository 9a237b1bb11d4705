-- A database that is down, refuses, or dies in the middle: what the operator is told, and what is left.
local t = require "spec.helper"

local PLAY = [[
local mysql = require "rollout.mysql"
playbook "demo" { environments = { "staging" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" } }
local db = mysql.database(cfg.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups", name = "b.sql", keep_scratch = false } end)
step("damage", { idempotent = true }, function() db:exec "delete from wine where id > 10" end)
step("restore", function() return db:restore(backup) end)
]]

local ROWS = 3000

local server

local function fill()
    server:sql(("create table wine (id int primary key, name varchar(900) default (hex(random_bytes(400)))); "
        .. "insert into wine (id) select seq from seq_1_to_%d"):format(ROWS), "app")
end

local function left_over()
    return (server:sql "select schema_name from information_schema.schemata where schema_name like 'rh\\_%'")
end

local function command(folder, url, words)
    local list = { state = folder .. "/state", cwd = folder, env = { DATABASE_URL = url }, timeout = 60 }
    return table.move(words, 1, #words, 1, list)
end

-- Starts the playbook, kills the server when `seen` is there, and starts it again.
local function dies(seen)
    local path, folder = t.playbook(PLAY, "demo")
    local run = t.start_host(command(folder, server:url(), { path, "--output", "plain" }))
    t.eventually("the moment", function() return run.code or seen(folder) end)
    server:kill()
    run:wait(60)
    assert.equal(1, run.code, run.out .. run.err)
    server:up()
    return folder, run.out .. run.err
end

local function goes_on(folder)
    local again = t.host(command(folder, server:url(), { "resume", "--output", "plain" }))
    assert.equal(0, again.code, again.out .. again.err)
    assert.equal(tostring(ROWS), server:sql("select count(*) from wine", "app"))
    assert.same({ "b.sql", "b.sql.manifest.json" }, t.list(folder .. "/backups"))
    assert.equal("", left_over())
end

-- In the file system: asking the server takes longer than it all does.
local function has_schema(pattern)
    return t.run({ "find", server.data, "-maxdepth", "1", "-name", pattern }).out ~= ""
end

describe("a database", function()
    before_each(function()
        server = t.mariadb { args = { "--innodb-flush-log-at-trx-commit=1" } } -- what it was told is there after a kill
        fill()
    end)

    it("that is down stops the run, which goes on when it is up", function()
        server:kill()
        local path, folder = t.playbook(PLAY, "demo")
        local run = t.host(command(folder, server:url(), { path }))
        assert.equal(1, run.code)
        assert.matches("back up.*127%.0%.0%.1:" .. server.port .. ".*Is the server running", run.out .. run.err)
        assert.same({}, t.exists(folder .. "/backups") and t.list(folder .. "/backups") or {})
        server:up()
        goes_on(folder)
    end)

    it("that refuses the password says so, and shows none", function()
        local path, folder = t.playbook(PLAY, "demo")
        local run = t.host(command(folder, (server:url():gsub("//app:[^@]+@", "//app:not-the-password@")), { path }))
        assert.equal(1, run.code)
        assert.matches("password", run.out)
        assert.is_nil((run.out .. run.err):find("not-the-password", 1, true))
        goes_on(folder)
    end)

    it("that dies during a dump leaves nothing, and the run goes on", function()
        local folder = dies(function(folder)
            for _, name in ipairs(t.exists(folder .. "/backups") and t.list(folder .. "/backups") or {}) do
                if name:find "partial$" then return true end
            end
        end)
        assert.same({}, t.list(folder .. "/backups"))
        goes_on(folder)
    end)

    it("that dies during a restore is the old or the new one, and the run goes on", function()
        local folder = dies(function() return has_schema "rh_restore_*" end)
        goes_on(folder)
    end)
end)
