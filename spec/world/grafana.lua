-- A Grafana as far as a rollout talks to it, in the shapes of its HTTP API's reference:
--   https://grafana.com/docs/grafana/latest/developers/http_api/annotations/
--   https://grafana.com/docs/grafana/latest/developers/http_api/data_source/#query-a-data-source
--   https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
-- and its alert rules in Prometheus' shape (/api/prometheus/grafana/api/v1/rules).
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"

local M = {}

local function has(list, wanted)
    for _, one in ipairs(list) do
        if one == wanted then
            return true
        end
    end
end

--- → the stand-in, with annotations, frames (what a query gives), rules
function M.start(token)
    local self
    local annotations = {}

    local function annotation(request)
        if request.method == "POST" then
            local given = request.json
            given.id = #annotations + 1
            annotations[given.id] = given
            return 200, { message = "Annotation added", id = given.id }
        elseif request.method == "PATCH" then
            local found = annotations[tonumber(request.path:match "%d+$")]
            if not found then
                return 404, { message = "Could not find annotation to update" }
            end
            for name, value in pairs(request.json) do
                found[name] = value
            end
            return 200, { message = "Annotation patched" }
        end
        local list = setmetatable({}, { __jsontype = "array" })
        for _, one in ipairs(annotations) do
            if has(one.tags, request.query.tags) then
                list[#list + 1] = one
            end
        end
        return 200, list
    end

    local function query(request)
        local given = request.json.queries[1]
        if given.datasource.uid ~= "prom1" then
            return 400, { message = "Query data error", results = { A = { status = 400, error = "data source not found" } } }
        elseif given.expr == "sum((" then
            return 400, { results = { A = { status = 400, error = "parse error: unclosed left parenthesis" } } }
        end
        return 200, { results = { A = { status = 200, frames = self.frames } } }
    end

    self = stand_in.start(function(request)
        if request.headers.authorization ~= "Bearer " .. token then
            return 401, { message = "Invalid API key" }
        elseif request.path:find "^/api/annotations" then
            return annotation(request)
        elseif request.path == "/api/ds/query" then
            return query(request)
        elseif request.path == "/api/dashboards/uid/shop" then
            return 200, { dashboard = { uid = "shop", title = "Shop" }, meta = { slug = "shop" } }
        elseif request.path == "/api/prometheus/grafana/api/v1/rules" then
            return 200, { status = "success", data = { groups = self.rules } }
        end
        return 404, { message = "Not found" }
    end)
    self.annotations = annotations
    self.frames, self.rules = setmetatable({}, { __jsontype = "array" }), setmetatable({}, { __jsontype = "array" })
    return self
end

--- A frame with one series.
function M.frame(labels, values)
    local times = {}
    for i = 1, #values do
        times[i] = 1700000000000 + i * 1000
    end
    return { schema = { refId = "A", fields = { { name = "Time", type = "time" }, { name = "Value", type = "number",
        labels = labels } } }, data = { values = { times, values } } }
end

M.null = json.null

return M
