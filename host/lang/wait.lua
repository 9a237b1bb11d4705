-- wait: a durable timer. It ends at the wall-clock time that was set when it began, whatever died meanwhile.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"
local units = require "lang.units"

engine.verb("wait", function(duration, opts)
    local ms, why = units.duration(duration)
    if not ms then options.refuse("wait", why) end
    local name = type(opts) == "table" and opts.name or duration
    opts = options.check(opts, { name = "string" }, "wait", options.common)
    engine.unit {
        kind = "wait", name = name, opts = opts,
        facts = { duration = ms },
        run = function(scope)
            local _, _, begun_at = host.recall("wait.begin", scope.key)
            local due = begun_at + ms
            engine.commit()
            if host.now() < due then
                engine.idle(name, due, function() host.task.sleep_until(due) end)
            end
        end,
    }
end)
