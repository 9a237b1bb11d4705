-- A Statuspage with its state, in the shapes of https://developer.statuspage.io/ (incidents, components).
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"

local M = {}

local function array(list)
    return setmetatable(list or {}, { __jsontype = "array" })
end

--- → the stand-in, with components by id, incidents (the newest first)
function M.start(token)
    local self
    local components = { api1 = { id = "api1", name = "API", status = "operational" },
        shop1 = { id = "shop1", name = "Shop", status = "operational" } }
    local incidents = array()

    local function apply(incident, given)
        for id, status in pairs(given.components or {}) do
            if not components[id] then
                return 422, { error = "Component " .. id .. " does not exist" }
            end
            components[id].status = status
        end
        incident.status = given.status or incident.status
        table.insert(incident.incident_updates, 1, { status = incident.status, body = given.body or json.null })
        return 200, incident
    end

    local function create(given)
        local incident = { id = "i" .. #incidents + 1, name = given.name, shortlink = "https://stspg.io/i" .. #incidents + 1,
            metadata = given.metadata or {}, incident_updates = array(), impact = given.impact_override,
            scheduled_for = given.scheduled_for, scheduled_until = given.scheduled_until,
            notified = given.deliver_notifications }
        local status, body = apply(incident, given)
        if status == 200 then
            table.insert(incidents, 1, incident)
        end
        return status == 200 and 201 or status, body
    end

    local function by_id(id)
        for _, incident in ipairs(incidents) do
            if incident.id == id then
                return incident
            end
        end
    end

    self = stand_in.start(function(request)
        local path = request.path:match "^/v1/pages/page1(/.*)$"
        if request.headers.authorization ~= "OAuth " .. token then
            return 401, { error = "Could not authenticate" }
        elseif path == "/components" then
            return 200, array { components.api1, components.shop1 }
        elseif path == "/incidents" and request.method == "POST" then
            return create(request.json.incident)
        elseif path == "/incidents" then
            return 200, incidents
        end
        local kind, id = (path or ""):match "^/(%a+)/(%w+)$"
        local found = kind == "components" and components[id] or kind == "incidents" and by_id(id)
        if not found then
            return 404, { error = "Record not found" }
        elseif request.method == "GET" then
            return 200, found
        elseif kind == "components" then
            found.status = request.json.component.status
            return 200, found
        end
        return apply(found, request.json.incident)
    end)
    self.components, self.incidents = components, incidents
    return self
end

return M
