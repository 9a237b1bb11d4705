-- A resumed run took the migrated schema for new: the first step after the resume became "the last step that wrote", and what the
-- application had written between the migration and that step was lost by the restore without a question.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local PLAYBOOK = [[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
local db = require("rollout.pg").database(cfg.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = %q } end)
step("migrate", function() db:exec "ALTER TABLE users ADD COLUMN plan text" end)
wait "4s"
step("deploy", function() sh.run "true" end)
step("restore", function() return db:restore(backup) end)
]]

describe("what was written after a migration, the run having been resumed since,", function()
    it("is asked about", function()
        local server = t.postgres()
        play.fresh(server, play.SHOP)
        local path, folder = t.playbook(PLAYBOOK:format(t.temp()))
        local variables = t.write(folder .. "/variables", "DATABASE_URL='" .. server:url() .. "'\n")
        local function start(word)
            return t.start_host { word, "--output", "plain", "--env-file", variables, state = folder .. "/state", cwd = folder }
        end
        local host = start(path)
        host:wait_for("WAIT", 30)
        host:kill("sigkill")
        host:wait()
        server:sql "INSERT INTO nokey VALUES (5, 'an order')"
        local resumed = start "resume"
        resumed:wait_for('since the step "migrate" ended: at least 1 row in nokey', 30)
        resumed:kill("sigkill")
        resumed:wait()
    end)
end)
