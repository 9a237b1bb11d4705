-- A Sentry as far as a rollout talks to it, in the shapes of its API's reference:
--   https://docs.sentry.io/api/explore/query-explore-events-in-table-format/
--   https://docs.sentry.io/api/releases/retrieve-release-health-session-statistics/
--   https://docs.sentry.io/api/events/list-an-organizations-issues/
--   https://docs.sentry.io/api/events/retrieve-an-event-for-a-project/
--   https://docs.sentry.io/api/releases/create-a-new-release-for-an-organization/
--   https://docs.sentry.io/api/releases/create-a-deploy/
--   https://develop.sentry.dev/sdk/data-model/envelopes/
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"

local M = {}

--- token: what the API wants. → the stand-in, with events, releases (by version), sessions { total, crash_free }, slow = true
--- (an event that was sent is not there yet), dsn
function M.start(token)
    local events, releases, self = {}, {}, nil

    local function store(request)
        if not (request.headers["x-sentry-auth"] or ""):find "sentry_key=abc123" then
            return 403, { detail = "bad sentry DSN public key" }
        end
        local lines = {}
        for line in request.body:gmatch "[^\n]+" do
            lines[#lines + 1] = json.decode(line)
        end
        assert(lines[2].type == "event", "an envelope's item has a header")
        events[lines[1].event_id] = lines[3]
        return 200, { id = lines[1].event_id }
    end

    -- The events that Sentry's search means: as much of its language as is used.
    local function found(request)
        local list = {}
        local release, level = request.query.query:match 'release:"([^"]*)"', request.query.query:match "level:(%w+)"
        for _, event in pairs(events) do
            if (not release or event.release == release) and (not level or event.level == level)
                and (not request.query.environment or event.environment == request.query.environment) then
                list[#list + 1] = event
            end
        end
        return list
    end

    local routes = {
        { "GET", "^/api/0/organizations/acme/events/$", function(request)
            if not request.query.query:find "project:shop" then
                return 400, { detail = "Invalid query. Project nope does not exist or is not an actively selected project." }
            end
            return 200, { data = { { [request.query.field] = #found(request) } }, meta = { fields = {} } }
        end },
        { "GET", "^/api/0/organizations/acme/sessions/$", function()
            return 200, { groups = { { by = {}, totals = { ["crash_free_rate(session)"] = self.sessions.crash_free or json.null,
                ["sum(session)"] = self.sessions.total } } } }
        end },
        { "GET", "^/api/0/organizations/acme/issues/$", function(request)
            local list = setmetatable({}, { __jsontype = "array" })
            for _, event in ipairs(found(request)) do
                list[#list + 1] = { id = "1", title = event.message.formatted, level = event.level, count = "1", userCount = 0,
                    permalink = "https://acme.sentry.io/issues/1/", firstSeen = event.timestamp }
            end
            return 200, list
        end },
        { "GET", "^/api/0/projects/acme/shop/events/(%x+)/$", function(_, id)
            if self.slow or not events[id] then
                return 404, { detail = "Event not found" }
            end
            return 200, { eventID = id, title = events[id].message.formatted }
        end },
        { "POST", "^/api/0/organizations/acme/releases/$", function(request)
            local known = releases[request.json.version]
            releases[request.json.version] = known or { version = request.json.version, refs = request.json.refs,
                projects = request.json.projects, deploys = setmetatable({}, { __jsontype = "array" }) }
            return known and 208 or 201, { version = request.json.version }
        end },
        { "POST", "^/api/0/organizations/acme/releases/([^/]+)/deploys/$", function(request, version)
            if not releases[version] then
                return 404, { detail = "The requested resource does not exist" }
            end
            local deploy = request.json
            deploy.id = #releases[version].deploys + 1
            table.insert(releases[version].deploys, deploy)
            return 201, deploy
        end },
        { "GET", "^/api/0/organizations/acme/releases/([^/]+)/deploys/$", function(_, version)
            return 200, releases[version] and releases[version].deploys or {}
        end },
    }

    self = stand_in.start(function(request)
        if request.path == "/api/42/envelope/" then
            return store(request)
        elseif request.headers.authorization ~= "Bearer " .. token then
            return 401, { detail = "Invalid token" }
        end
        for _, route in ipairs(routes) do
            local found_path = table.pack(request.path:match(route[2]))
            if route[1] == request.method and found_path[1] then
                return route[3](request, found_path[1])
            end
        end
        return 404, { detail = "The requested resource does not exist" }
    end)
    self.events, self.releases, self.sessions = events, releases, { total = 0 }
    self.dsn = self.url:gsub("://", "://abc123@") .. "/42"
    return self
end

return M
