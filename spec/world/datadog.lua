-- A Datadog as far as a rollout talks to it, in the shapes of its API's reference:
--   https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points
--   https://docs.datadoghq.com/api/latest/monitors/#get-all-monitors
--   https://docs.datadoghq.com/api/latest/events/#post-an-event
local stand_in = require "spec.world.stand_in"

local M = {}

local function array(list)
    return setmetatable(list or {}, { __jsontype = "array" })
end

--- → the stand-in, with series, monitors, events, slow = true (an event that was sent is not found yet)
function M.start(api_key, app_key)
    local self
    local events = array()
    self = stand_in.start(function(request)
        if request.headers["dd-api-key"] ~= api_key or request.headers["dd-application-key"] ~= app_key then
            return 403, { errors = { "Forbidden" } }
        elseif request.path == "/api/v1/query" then
            if request.query.query:find "^nonsense" then
                return 400, { errors = { "Error parsing query: unable to parse" } }
            end
            return 200, { status = "ok", query = request.query.query, series = self.series }
        elseif request.path == "/api/v1/monitor" then
            return 200, self.monitors
        elseif request.path == "/api/v1/events" and request.method == "POST" then
            local event = request.json
            event.id = 7000000000000000 + #events
            table.insert(events, 1, event)
            return 202, { status = "ok", event = event }
        elseif request.path == "/api/v1/events" then
            local found = array()
            for _, event in ipairs(self.slow and {} or events) do
                if event.tags[#event.tags] == request.query.tags then
                    found[#found + 1] = event
                end
            end
            return 200, { events = found }
        end
        return 404, { errors = { "Not found" } }
    end)
    self.events, self.series, self.monitors = events, array(), array()
    return self
end

return M
