-- Writes to PostgreSQL, the host killed before (or in the middle of) and after its commits: each is done once, and nobody is
-- asked.
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local PLAY = [[
local pg = require "rollout.pg"
playbook "spec" { environments = { "test" } }
local db = pg.database(secret "DATABASE_URL")

step("writes", function()
    db:exec("INSERT INTO done VALUES ($1)", "first ü")
    local id = db:exec("INSERT INTO done VALUES ('second') RETURNING x").rows[1].x
    return db:transaction(function(tx)
        tx:exec("INSERT INTO done SELECT x || ' and third' FROM done WHERE x = $1", id)
        return tx:value "SELECT count(*) FROM done"
    end)
end)

step("is tried again", { retry = { times = 3, backoff = "10ms" } }, function()
    db:exec "INSERT INTO done VALUES ('try')"
    if db:value "SELECT count(*) FROM done WHERE x = 'try'" < 3 then
        error "not yet"
    end
end)

rollback("take back", function()
    step("undo", function() db:exec "UPDATE done SET x = x || ' undone' WHERE x = 'broken'" end)
end)
step("breaks", function()
    db:exec "INSERT INTO done VALUES ('broken')"
    db:exec "INSERT INTO done VALUES ('never', 'never')"
end)
]]

describe("writes to PostgreSQL, the host killed at its commits,", function()
    it("are done once", function()
        local server = t.postgres()
        server:sql "CREATE TABLE done (x text); ALTER TABLE done OWNER TO app"
        local path, folder = t.playbook(PLAY)
        local every, first = chain.pace(1)
        local run = chain.new {
            start = { path, "--output", "plain" }, env = { DATABASE_URL = server:url() }, cwd = folder,
            state = folder .. "/state", every = every, first = first,
        }
        local code = run:run(400)
        print("\n" .. run:summary())
        assert.equal(3, code, run.said:sub(-3000))
        assert.same({}, run.doubts)
        assert.equal("broken undone,first ü,second,second and third,try,try,try",
            server:sql [[SELECT string_agg(x, ',' ORDER BY x COLLATE "C") FROM done]])
        assert.equal("", server:sql "TABLE rollouthost.effects")
    end)
end)
