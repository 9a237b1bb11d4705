-- PagerDuty's Events API v2 with its incidents, in the shapes of
--   https://developer.pagerduty.com/docs/send-alert-event
--   https://developer.pagerduty.com/docs/send-change-event
local stand_in = require "spec.world.stand_in"

local M = {}

local function invalid(...)
    return 400, { status = "invalid event", message = "Event object is invalid", errors = { ... } }
end

local ACTIONS = { trigger = "triggered", acknowledge = "acknowledged", resolve = "resolved" }
local SEVERITIES = { critical = true, error = true, warning = true, info = true }

--- → the stand-in, with incidents by dedup key: { status, summary, times }, and changes
function M.start(routing_key)
    local incidents, changes = {}, {}

    local function event(request)
        local action, key, payload = request.json.event_action, request.json.dedup_key, request.json.payload
        if not ACTIONS[action] then
            return invalid "'event_action' is invalid"
        elseif action == "trigger" and not (payload and payload.summary and #payload.summary <= 1024 and payload.source
            and SEVERITIES[payload.severity]) then
            return invalid "'payload' is missing or blank"
        elseif action ~= "trigger" and not key then
            return invalid "'dedup_key' is missing or blank"
        end
        local incident = incidents[key]
        if action == "trigger" and (not incident or incident.status == "resolved") then
            incidents[key] = { status = "triggered", payload = payload, links = request.json.links, times = 1 }
        elseif action == "trigger" then
            incident.times = incident.times + 1
        elseif incident then
            incident.status = ACTIONS[action]
        end
        return 202, { status = "success", message = "Event processed", dedup_key = key }
    end

    local self = stand_in.start(function(request)
        if not request.json or request.json.routing_key ~= routing_key then
            return invalid "Invalid routing key"
        elseif request.path == "/v2/enqueue" then
            return event(request)
        elseif request.path == "/v2/change/enqueue" then
            changes[#changes + 1] = request.json.payload
            return 202, { status = "success", message = "Change event processed" }
        end
        return 404, ""
    end)
    self.incidents, self.changes = incidents, changes
    return self
end

return M
