local t = require "spec.helper"
local play = require "spec.modules.migrate_play"

describe("migrate, a folder of SQL", function()
    local server, folder

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql("CREATE TABLE clients (id INT PRIMARY KEY, name TEXT) ENGINE=InnoDB; INSERT INTO clients VALUES (1, 'a'), (2, 'b')", "app")
        folder = t.temp()
    end)

    local function file(name, text)
        t.write(folder .. "/migrations/" .. name, text)
    end

    local MIGRATE = [[    return migrate("migrate", { tool = "sql", db = db, backup = backup })]]

    local function migrated(text, options)
        options = options or {}
        options.folder = options.folder or folder
        return play.run(server:url(), text or MIGRATE, options)
    end

    it("applies what is pending, in order, and records what it did", function()
        file("2_plan.sql", "ALTER TABLE clients ADD COLUMN plan TEXT;\nUPDATE clients SET plan = 'trial';\n")
        file("10_more.sql", "-- ; no end\nINSERT INTO clients (id, name) VALUES (3, 'it''s; not `ended'); -- end\n")
        local run = migrated()
        assert.equal(0, run.code, run.out .. run.err)
        assert.same({ "2_plan.sql", "10_more.sql" }, run.result.applied)
        assert.equal("10_more.sql", run.result.version)
        assert.not_equal(run.result.before.digest, run.result.after.digest)
        assert.equal("1\ttrial\n2\ttrial\n3\tNULL", server:sql("SELECT id, plan FROM clients ORDER BY id", "app"))
    end)
end)
