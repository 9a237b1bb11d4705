-- Asks the host's http module: one step of one run, as a playbook would.
local t = require "spec.helper"

-- `body` is the step's; `vars` are locals it may use. Returns { value, error, run }: what the step returned, or the
-- error that failed it; run as of t.play.
return function(body, vars, options)
    local lines = {
        'playbook "http" { environments = { "test" } }',
        'local http = require "rollout.http"',
    }
    for name, value in pairs(vars or {}) do
        lines[#lines + 1] = ("local %s = %q"):format(name, value)
    end
    lines[#lines + 1] = ('step("ask", { timeout = "1m" }, function()\n%s\nend)'):format(body)
    local run = t.play(table.concat(lines, "\n"), options)
    for _, event in ipairs(run.events) do
        if event.type == "step.end" and event.key:find("ask", 1, true) then
            local payload = event.payload or event
            return { value = payload.value, error = payload.error, run = run }
        end
    end
    error("the step did not run: " .. run.err .. run.out, 2)
end
