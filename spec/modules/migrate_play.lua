-- For the migrate specs: a playbook that backs a real database up and migrates it. `text` stands in a stage; `db` is the
-- database, `backup` what was made of it (nil where it holds no table).
local t = require "spec.helper"

local play = {}

local PLAYBOOK = [[
local %s, migrate, fs, sh = require "rollout.%s", require "rollout.migrate", require "rollout.fs", require "rollout.sh"
playbook "spec" { environments = { "test", { "production", protected = true } } }
local cfg = env.require { DATABASE_URL = { format = %q } }
local db = %s.database(cfg.DATABASE_URL)
local result = stage("Migrate", function()
    local backup = step("back up", { when = %s }, function() return db:dump { to = "backups/" .. run.id } end)
    rollback("restore", function() step("restore it", function() return { was = backup and backup.path } end) end)
%s
end)
return result
]]

-- Runs it, with facts read off its events: `result` of the step `migrate`, `problem` (the innermost error) of what failed.
-- options: those of t.play, url, backup = false
function play.run(url, text, options)
    options = options or {}
    options.env = options.env or {}
    options.env.DATABASE_URL = url
    local module = url:find("^mysql") and "mysql" or "pg"
    local format = module == "pg" and "postgresql" or "mysql"
    local state = options.empty and "false" or "true"
    options[1], options[2] = "--env", options.environment or "test"
    local result = t.play(PLAYBOOK:format(module, module, format, module, state, text), options)
    return play.read(result)
end

-- The innermost error of the first unit that failed.
function play.read(result)
    for _, event in ipairs(result.events) do
        if event.type == "step.end" or event.type == "gate.end" then
            if event.key == "Migrate/migrate" and event.type == "step.end" then
                result.step = event.payload
                result.result = event.payload.value
            end
            if event.payload.status == "failed" and not result.problem then
                local problem = event.payload.error
                while problem.cause do
                    problem = problem.cause
                end
                result.problem, result.failed = problem, event.key
            end
        end
    end
    return result
end

return play
