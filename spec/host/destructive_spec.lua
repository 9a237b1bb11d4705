local play = require "spec.host.play"
local t = require "spec.helper"

local function run(body, environment, more)
    return play.run(('playbook "demo" { environments = { "staging", "production" }%s }\n'):format(more or "") .. body,
        { "--env", environment, raw = true })
end

describe("what destroys data", function()
    it("is refused in a protected environment, with the pattern and the line", function()
        local result = run([[
            local sh = require "rollout.sh"
            step("reset", function() sh.run "touch started; : pnpm db:reset" end)
        ]], "production")
        assert.equal(1, result.code, result.out .. result.err)
        local err = result:last("step.end").error
        assert.matches('it matches "db:reset" and would destroy data', err.message, 1, true)
        assert.matches("demo.lua:3", err.where)
        assert.is_false(t.exists(result.folder .. "/started"))
    end)
    it("is allowed with a reason, and elsewhere", function()
        local body = [[
            local sh = require "rollout.sh"
            step("reset", { %s }, function() sh.run ": pnpm db:reset" end)
        ]]
        assert.equal(0, run(body:format 'destructive = "the cache only"', "production").code)
        assert.equal(0, run(body:format "", "staging").code)
    end)
    it("is also what the header denies", function()
        local result = run([[
            local sh = require "rollout.sh"
            step("seed", function() sh.run { "echo", "db:seed", "--wipe" } end)
        ]], "production", ', deny = { "db:seed --wipe" }')
        assert.equal(1, result.code)
        assert.matches('it matches "db:seed --wipe"', play.message(result), 1, true)
    end)
    it("is also refused where it comes by standard input, or as a container's command, before anything is asked", function()
        local result = run([[
            local sh = require "rollout.sh"
            step("drop", function() sh.run { "sh", "-c", "touch started; cat", stdin = "begin;\nDROP TABLE orders;" } end)
        ]], "production")
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches('it matches "DROP TABLE"', play.message(result), 1, true)
        assert.is_false(t.exists(result.folder .. "/started"))
        result = run([[
            local sh = require "rollout.sh"
            step("look", function() return sh.read({ "grep", "-c", "table" }, { stdin = "bin/dropdb.sh\nDROP table a;" }).out end)
        ]], "production")
        assert.equal("1\n", result:last("step.end", "look").value)
        result = run([[
            local engine = require("rollout.docker").engine { host = "unix:///nowhere/docker.sock" }
            step("drop", function() engine:run { image = "postgres", command = { "dropdb", "shop" } } end)
        ]], "production")
        assert.matches('it matches "dropdb"', play.message(result), 1, true)
    end)
    it("is refused in the middle of a transaction, which is undone", function()
        local server = t.postgres()
        server:sql "CREATE TABLE orders (id int); ALTER TABLE orders OWNER TO app; INSERT INTO orders VALUES (1)"
        local body = [[
            local db = require("rollout.pg").database(env.require({ DATABASE_URL = { format = "postgresql" } }).DATABASE_URL)
            step("change", { %s }, function()
                return db:transaction(function(tx)
                    tx:exec "INSERT INTO orders VALUES (2)"
                    tx:exec "TRUNCATE orders"
                    return tx:value "select count(*) from orders"
                end)
            end)
        ]]
        local function changed(more, environment)
            return play.run(('playbook "demo" { environments = { "staging", "production" } }\n') .. body:format(more),
                { "--env", environment, raw = true, env = { DATABASE_URL = server:url() } })
        end
        local result = changed("", "production")
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches('TRUNCATE orders is refused in the protected environment "production"', play.message(result), 1, true)
        assert.equal("1", server:sql("SELECT count(*) FROM orders"))
        assert.equal(0, changed('destructive = "nobody ordered yet"', "production").code)
        assert.equal(0, changed("", "staging").code)
    end)
end)
