local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local alembic = require "spec.world.alembic"

describe("migrate, alembic", function()
    local server, folder

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql("CREATE TABLE clients (id INT PRIMARY KEY, name TEXT); INSERT INTO clients VALUES (1, 'a')", "app")
        folder = alembic.project(t.temp())
        alembic.revision(folder, "aa01", nil, [[op.execute("ALTER TABLE clients ADD COLUMN plan TEXT")]],
            [[op.execute("ALTER TABLE clients DROP COLUMN plan")]])
    end)

    local MIGRATE = ([[    return migrate("migrate", { tool = "alembic", db = db, backup = backup, command = { %q },
        env = { DATABASE_URL = cfg.DATABASE_URL } })]]):format(alembic.python)

    local function migrated(text, options)
        options = options or {}
        options.folder = options.folder or folder
        return play.run(server:url(), text or MIGRATE, options)
    end

    it("upgrades to the head", function()
        alembic.revision(folder, "aa02", "aa01", [[op.execute("UPDATE clients SET plan = 'trial'")]])
        local run = migrated()
        assert.equal(0, run.code, run.out .. run.err)
        assert.same({ "aa01", "aa02" }, run.result.applied)
        assert.equal("aa02", run.result.version)
        assert.equal("trial", server:sql("SELECT plan FROM clients", "app"))
    end)
end)
