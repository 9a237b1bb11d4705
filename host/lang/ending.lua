-- What modules do when a run comes to its end: what was kept for the run's sake goes.
local host = require "lang.host"
local engine = require "lang.engine"

local ending = {}

local LIMIT_MS = 2 * 60 * 1000

local list = {} -- { module, fn }

-- Under a key of this process: what was cut off is done again, and so is what a later rollback of the run left.
local function one(i, entry, status)
    local key = ("at end#%d.%d"):format(i, host.epoch)
    local scope = { kind = "step", name = "after the run", key = key, counts = {}, place = "effects", opts = { idempotent = true },
        log = engine.log_path(key) }
    local ok, err = pcall(engine.deadline, LIMIT_MS, "what rollout." .. entry.module .. " does after a run", engine.within, scope,
        entry.fn, status)
    if ok then
        return
    elseif type(err) == "table" and err.code == "journal" then
        error(err, 0)
    end
    engine.record("warning", key, { text = ("rollout.%s could not clean up after the run: %s"):format(entry.module,
        engine.as_error(err).message), error = engine.plain_error(err) })
end

local function at_end(status)
    for i, entry in ipairs(list) do
        host.task.clear() -- a pause that was asked for now has nothing left to pause
        one(i, entry, status)
    end
    engine.commit()
end

--- The loading module's fn(status), an idempotent effect or what calls some, is called when a run comes to its end.
function ending.at_run_end(fn)
    list[#list + 1] = { module = engine.loading, fn = fn }
    engine.at_end = at_end
end

return ending
