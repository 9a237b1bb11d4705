-- The scratch that proved a backup stands ready for the run, and a restore asks about what was written since.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local me = require("luv").os_get_passwd().username

local HEAD = [[
local mysql, sh = require "rollout.mysql", require "rollout.sh"
playbook "spec" { environments = { "test" }, roles = { ["database admin"] = { "]] .. me .. [[" } } }
local cfg = env.require { DATABASE_URL = { format = "mysql" }, SQL = { public = true } }
local db = mysql.database(cfg.DATABASE_URL)
local function sql(text) sh.run("eval \"$SQL\"", { stdin = text }) end
local backup = step("back up", function() return db:dump { to = "backups" } end)
]]

describe("the kept scratch", function()
    local server, environment

    setup(function()
        server = t.mariadb { args = { "--table-definition-cache=2000" } }
        environment = { DATABASE_URL = server:url(),
            SQL = "mariadb --no-defaults --batch --user=root --socket=" .. server.socket .. " app" }
    end)

    before_each(function()
        local names = server:sql([[SELECT schema_name FROM information_schema.schemata
            WHERE schema_name LIKE 'app%' OR schema_name LIKE 'rh\_%']])
        for name in names:gmatch "[^\n]+" do
            server:sql("SET foreign_key_checks = 0; DROP DATABASE `" .. name .. "`")
        end
        server:sql("CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
    end)

    local function run(text, more)
        local options = { env = environment, timeout = 60 }
        for key, value in pairs(more or {}) do
            options[key] = value
        end
        return t.play(HEAD .. text, options)
    end

    local function scratches()
        return server:sql([[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end

    local function value_of(result, name)
        local ended = result.ended[name]
        assert(ended and ended.status == "ok", result.out .. result.err)
        return ended.value
    end

    local function fingerprints()
        return assert(play.body(server:url(), "return db:fingerprints()"))
    end

    it("is renamed in at once, and is the backup", function()
        local before = fingerprints()
        local result = run([[
            step("migrate", function() sql(]] .. ("%q"):format(play.RUIN) .. [[) end)
            gate("it is there", function() return expect("scratch", backup.scratch):matches "^rh_scratch_" end)
            step("restore", function() return db:restore(backup) end)
        ]])
        assert.equal(0, result.code, result.out .. result.err)
        local restored = value_of(result, "restore")
        assert.equal("scratch", restored.from)
        assert.equal("counters", restored.proof) -- without a look at the rows: how many there are makes no difference
        assert.same(before, fingerprints())
        assert.equal("new", server:sql("SELECT name FROM users ORDER BY id DESC LIMIT 1", restored.kept))
        assert.equal("0", scratches())
        assert.is_true(value_of(result, "back up").scratch_bytes > 100000)
    end)

    it("goes with the run, however that ends, and at once where it is not wanted", function()
        assert.equal(0, (run "").code)
        assert.equal("0", scratches())
        local failed = run [[rollback("back", function() end) step("x", function() sh.run "false" end)]]
        assert.equal(3, failed.code, failed.out)
        assert.equal("0", scratches())
        local stopped = run [[step("x", { on_failure = "stop" }, function() sh.run "false" end)]]
        assert.equal(1, stopped.code)
        assert.equal("1", scratches())
        local aborted = t.host { "abort", t.list(stopped.state .. "/runs")[1], state = stopped.state, env = environment }
        assert.equal("0", scratches(), aborted.out .. aborted.err)
        local count = [[db:value "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\\_%'"]]
        local none = run(([[local again = step("again", function() return db:dump { to = "others", keep_scratch = false } end)
            return step("count", function() return %s end)]]):format(count))
        assert.equal(1, value_of(none, "count"))
    end)

    it("is not used where somebody wrote to it", function()
        local before = fingerprints()
        local touched = run [[
            step("touch", function() sql("DELETE FROM `" .. backup.scratch .. "`.nokey LIMIT 1") end)
            step("restore", function() return db:restore(backup) end)
        ]]
        assert.equal("archive", value_of(touched, "restore").from)
        assert.same(before, fingerprints())
    end)

    it("is looked at row by row where the server was started again meanwhile", function()
        local mortal = t.mariadb() -- what is started in a test ends with it
        mortal:sql(play.SHOP, "app")
        local env = { DATABASE_URL = mortal:url(), SQL = "true" }
        local path, folder = t.playbook(HEAD .. [[
            step("wait", function() sh.run "while ! test -e go; do sleep 0.05; done" end)
            return step("restore", function() return db:restore(backup, { loses = 1 }) end)
        ]], "spec")
        local host = t.start_host { path, "--output", "json", state = folder .. "/state", cwd = folder, env = env }
        t.eventually("the backup is made", function() return host.code or host.out:find '"wait"' end, 30)
        mortal:stop()
        mortal:up()
        mortal:sql("DELETE FROM nokey LIMIT 1", "app")
        t.write(folder .. "/go", "")
        host:wait(60)
        local result = t.digest_events { out = host.out, err = host.err }
        local restored = value_of(result, "restore")
        assert.equal("scratch", restored.from)
        assert.equal("fingerprints", restored.proof)
        assert.equal(1, restored.lost_rows)
        assert.equal("10", mortal:sql("SELECT COUNT(*) FROM nokey", "app"))
    end)

    it("is not there any more: the archive is loaded", function()
        local before = fingerprints()
        local result = run [[
            step("drop", function() sql("DROP DATABASE `" .. backup.scratch .. "`") end)
            step("restore", function() return db:restore(backup) end)
        ]]
        assert.equal("archive", value_of(result, "restore").from)
        assert.same(before, fingerprints())
    end)

    describe("and what was written since:", function()
        local MIGRATE = [[
            step("migrate", function() sql "ALTER TABLE users ADD COLUMN added INT; UPDATE users SET added = 1" end)
        ]]

        it("the migration's own rows are no loss", function()
            local result = run(MIGRATE .. [[step("restore", function() return db:restore(backup) end)]])
            assert.equal(0, value_of(result, "restore").lost_rows)
            result = run [[
                step("fill", function() db:exec "UPDATE users SET name = 'x'" end)
                step("restore", function() return db:restore(backup) end)
            ]]
            assert.equal(0, value_of(result, "restore").lost_rows)
        end)

        it("what the application wrote after it is asked about, once, and lost when a person says so", function()
            local before = fingerprints()
            local path, folder = t.playbook(HEAD .. MIGRATE .. [[
                step("the application", function() sql "INSERT INTO nokey VALUES (7, 'a'), (8, 'b')" end)
                return step("restore", function() return db:restore(backup, { role = "database admin" }) end)
            ]], "spec")
            local command = { path, "--output", "json", state = folder .. "/state", cwd = folder, env = environment }
            local host = t.start_host(command)
            t.eventually("it asks", function() return host.code or host.out:find '"approve.begin"' end, 30)
            local id = t.list(folder .. "/state/runs")[1]
            t.eventually("the question is on disk", function()
                return t.host({ "show", id, state = folder .. "/state" }).out:find("restore: approval", 1, true)
            end)
            assert.matches('since the step \\"migrate\\" ended: at least 2 rows in nokey (2)', host.out, 1, true)
            host:kill("sigkill")
            host:wait()
            local approved = t.host { "approve", id, "restore", "--comment", "they are two test rows", state = folder .. "/state" }
            assert.equal(0, approved.code, approved.out .. approved.err)
            local resumed = t.host { "resume", id, "--output", "json", state = folder .. "/state", cwd = folder,
                env = environment, timeout = 60 }
            local restored = value_of(t.digest_events(resumed), "restore")
            assert.same({ nokey = 2 }, restored.lost)
            assert.equal("scratch", restored.from)
            assert.same(before, fingerprints())
            assert.equal("12", server:sql("SELECT COUNT(*) FROM nokey", restored.kept))
        end)

        it("what was written before the backup moves nothing, nor does a step that only looks on", function()
            local first = HEAD:gsub("local backup = .-\n", [[
                step("before", function() db:exec "INSERT INTO nokey VALUES (1, 'b')" end)
                local backup = step("back up", function()
                    local made = db:dump { to = "backups" }
                    sql "INSERT INTO nokey VALUES (7, 'the application, while the step runs')"
                    return made
                end)
            ]])
            local result = t.play(first .. [[
                step("look on", function() sh.run "true" end)
                return step("restore", function() return db:restore(backup, { loses = 1 }) end)
            ]], { env = environment, timeout = 60 })
            assert.same({ nokey = 1 }, value_of(result, "restore").lost)
        end)

        it("a resumed run knows where the migration ended", function()
            local path, folder = t.playbook(HEAD .. MIGRATE .. [[
                step("the application", function() sql "INSERT INTO nokey VALUES (7, 'a'), (8, 'b')" end)
                step("wait", function() sh.run "test -e go" end)
                step("deploy", function() sh.run "true" end)
                return step("restore", function() return db:restore(backup, { loses = 2 }) end)
            ]], "spec")
            local command = { path, "--output", "json", state = folder .. "/state", cwd = folder, env = environment }
            assert.equal(1, t.host(command).code)
            t.write(folder .. "/go", "")
            command[1] = "resume"
            local restored = value_of(t.digest_events(t.host(command)), "restore")
            assert.same({ nokey = 2 }, restored.lost)
        end)

        it("a person who says no keeps it", function()
            local path, folder = t.playbook(HEAD .. MIGRATE .. [[
                step("the application", function() sql "INSERT INTO nokey VALUES (7, 'a')" end)
                return step("restore", function() return db:restore(backup) end)
            ]], "spec")
            local host = t.start_host { path, "--output", "plain", state = folder .. "/state", cwd = folder, env = environment }
            t.eventually("it asks", function() return host.code or host.out:find "waits for approval" or host.out:find " WAIT " end,
                30)
            local id = t.list(folder .. "/state/runs")[1]
            assert.equal(0, t.host({ "reject", id, "restore", "--reason", "we need that row", state = folder .. "/state" }).code)
            host:wait(30)
            assert.equal(1, host.code)
            assert.matches("we need that row", host.out)
            assert.equal("11", server:sql("SELECT COUNT(*) FROM nokey", "app"))
            assert.equal("1", scratches())
        end)
    end)
end)
