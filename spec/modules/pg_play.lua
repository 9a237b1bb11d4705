-- For the pg specs: a body of Lua as a step of a run against a real server; `db` is its database, `pg` the module, and
-- try(fn) what an error says: { code, message, detail }, or nil.
local t = require "spec.helper"

local play = {}

local PLAYBOOK = [[
local pg, time = require "rollout.pg", require "rollout.time"
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
local db = pg.database(cfg.DATABASE_URL, %s)
local function try(fn, ...)
    local ok, err = pcall(fn, ...)
    if not ok then return { code = err.code, message = err.message, detail = err.detail } end
    return nil
end
local value = step("it", { timeout = "2m" }, function()
%s
end)
return value
]]

-- What the body returned, or nil and the innermost error { code, message, … }; then what t.play returns. options: what
-- t.play takes, and `handle`: the text of pg.database's options.
function play.body(url, text, options)
    options = options or {}
    options.env = options.env or {}
    options.env.DATABASE_URL = url
    options.timeout = options.timeout or 150 -- the step's own limit comes first
    return t.outcome(t.play(PLAYBOOK:format(options.handle or "{}", text), options))
end

-- The same for what must go well.
function play.value(url, text, options)
    local value, problem = play.body(url, text, options)
    if problem then
        error(problem.message, 2)
    end
    return value
end

return play
