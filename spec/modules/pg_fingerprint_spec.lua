local t = require "spec.helper"
local json = require "dkjson"
local changes = require "spec.modules.pg_changes"
local play = require "spec.modules.pg_play"

-- Executes each change, and prints what fingerprint and schema digest tell of it, a line of JSON each.
local TELL = [[
local pg, json = require "rollout.pg", require "rollout.json"
local db = pg.database(arg[1])
local other = arg[2] ~= "" and pg.database(arg[2])
local changes = dofile(arg[3])

local function differences(a, b)
    local lines = {}
    local function each(x, y, tell)
        local keys = {}
        for key in pairs(x) do keys[key] = true end
        for key in pairs(y) do keys[key] = true end
        for key in pairs(keys) do tell(key, x[key], y[key]) end
    end
    each(a.tables, b.tables, function(name, x, y)
        if not x or not y then lines[#lines + 1] = "table " .. name return end
        for _, field in ipairs { "rows", "hash", "definition" } do
            if x[field] ~= y[field] then lines[#lines + 1] = ("table %s %s"):format(name, field) end
        end
    end)
    each(a.objects, b.objects, function(key, x, y) if x ~= y then lines[#lines + 1] = key end end)
    each(a.sequences, b.sequences, function(key, x, y)
        if not x or not y or y < x then lines[#lines + 1] = "sequence value " .. key end
    end)
    if a.large_objects.hash ~= b.large_objects.hash or a.large_objects.count ~= b.large_objects.count then
        lines[#lines + 1] = "large objects"
    end
    table.sort(lines)
    return json.array(lines)
end

local before, schema = db:fingerprints(), db:schema_digest()
if other then
    print(json.encode { differ = differences(before, other:fingerprints()), fingerprint = before,
        same_schema = other:schema_digest().digest == schema.digest })
end
for i, change in ipairs(changes) do
    db:exec(change[1])
    local now, now_schema = db:fingerprints(), db:schema_digest()
    print(json.encode { i = i, differ = differences(before, now), schema = now_schema.digest ~= schema.digest })
    before, schema = now, now_schema
end
]]

describe("pg fingerprints", function()
    local server, folder

    setup(function()
        server = t.postgres { settings = { wal_level = "logical" } }
        folder = t.temp()
        t.write(folder .. "/tell.lua", TELL)
        t.write(folder .. "/none.lua", "return {}")
        server:sql(t.read "spec/world/everything.sql")
    end)

    local function programs(name)
        return require("spec.world.postgres").programs() .. "/" .. name
    end

    local function run(command)
        local result = t.run(command)
        assert.equal(0, result.code, result.err)
    end

    local function restored(database, from)
        local target = { "--host=" .. server.socket, "--port=" .. server.port, "--username=postgres" }
        run { programs "pg_dump", "-Fc", "-Z1", "--file=" .. folder .. "/dump", target[1], target[2], target[3], from }
        run { programs "createdb", "-T", "template0", target[1], target[2], target[3], database }
        run { programs "pg_restore", "--exit-on-error", "--dbname=" .. database, target[1], target[2], target[3],
            folder .. "/dump" }
    end

    local function tell(url, other, list)
        local result = t.host { "lua", folder .. "/tell.lua", url, other or "", list, timeout = 240 }
        assert.equal(0, result.code, result.err .. result.out)
        local lines = {}
        for line in result.out:gmatch "[^\n]+" do
            lines[#lines + 1] = assert(json.decode(line), line)
        end
        return lines
    end

    it("are equal after dump and restore, whatever the database holds", function()
        restored("restored", "app")
        local found = tell(server:url("app", "postgres"), server:url("restored", "postgres"), folder .. "/none.lua")[1]
        assert.same({ "table per_state hash", "table per_state rows" }, found.differ, "a restore refreshes what was stale")
        assert.is_true(found.same_schema)
        local tables, count = found.fingerprint.tables, 0
        for _ in pairs(tables) do
            count = count + 1
        end
        assert.equal(18, count)
        assert.same({ 50, 6, 0, 1, 2 }, { tables.customers.rows, tables.twins.rows, tables["billing.invoices"].rows,
            tables.places.rows, tables['"Odd "" schema."."Table with "" and . and ü"'].rows })
        assert.equal(3, found.fingerprint.large_objects.count)
        assert.same({ 120, 2, 499 }, { found.fingerprint.sequences["billing.numbers"], found.fingerprint.sequences.down,
            found.fingerprint.sequences.set_back })
        assert.is_true(tables.per_state.derived)
    end)

    it("are equal however an expression is written down after a restore", function()
        server:sql("CREATE DATABASE expressions", "postgres")
        server:sql(t.read "spec/world/expressions.sql", "expressions")
        restored("expressions_again", "expressions")
        local found = tell(server:url("expressions", "postgres"), server:url("expressions_again", "postgres"),
            folder .. "/none.lua")[1]
        assert.same({}, found.differ)
    end)

    it("know a database without the schema public", function()
        server:sql("CREATE DATABASE bare", "postgres")
        server:sql("DROP SCHEMA public; CREATE SCHEMA app; CREATE TABLE app.t (a int)", "bare")
        local bare = server:url("bare", "postgres")
        local found = tell(bare, bare, folder .. "/none.lua")[1]
        assert.same({}, found.differ)
        assert.is_nil(found.fingerprint.objects["schema public"])
        assert.is_string(found.fingerprint.tables["app.t"].definition)
    end)

    it("prove a backup of it", function()
        local backup = play.value(server:url("app", "postgres"), [[return db:dump { to = "backups" }]], { timeout = 120 })
        assert.is_true(backup.verified == true or type(backup.verified) == "string", tostring(backup.verified))
    end)

    it("differ after each kind of change, and in nothing else", function()
        local lines = tell(server:url("app", "postgres"), nil, t.root .. "/spec/modules/pg_changes.lua")
        assert.equal(#changes, #lines)
        for i, change in ipairs(changes) do
            local wanted, in_schema = {}, false
            for k = 2, #change do
                if change[k] then
                    wanted[#wanted + 1] = change[k]
                    in_schema = in_schema or not (change[k]:find(" rows$") or change[k]:find(" hash$")
                        or change[k] == "large objects" or change[k]:find("^sequence value"))
                end
            end
            table.sort(wanted)
            assert.same(wanted, lines[i].differ, change[1])
            assert.equal(in_schema, lines[i].schema, "schema digest: " .. change[1])
        end
    end)
end)
