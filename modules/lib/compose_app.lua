-- compose_app: a release of an application that is a compose project. What ran before is remembered by the images' ids and kept
-- under a name of its own, so that going back starts those very images again: nothing is built on the way back.
local _, rt = ...
local docker = require "rollout.docker"

local compose_app = {}

local SERVICE = "com.docker.compose.service"

local App = {}

--- app:running() → { service = { image = name, id = image's id } } of what runs now: what back_to takes. Inside a step.
function App:running()
    local found = {}
    for _, one in ipairs(self.engine:containers { label = "com.docker.compose.project=" .. self.project }) do
        local service = one.labels[SERVICE]
        if service and not found[service] then
            -- where the name has got another image meanwhile, the list shows an id; the container knows the name
            found[service] = { image = self.engine:container(one.id):inspect().image, id = one.image_id }
        end
    end
    return found
end

local function kept_name(self, service)
    return ("rollouthost-%s-%s:before"):format(self.project, service):lower()
end

--- app:keep(before): gives those images a name of their own (rollouthost-PROJECT-SERVICE:before), so that no clean-up removes
--- them. The next release's take it over.
function App:keep(before)
    for service, one in pairs(before) do
        self.engine:tag(one.id, { as = kept_name(self, service) })
    end
end

--- app:back_to(before, { within = "5m" }): the images that running() told of, under their names again, and up. Where nothing ran
--- before, the project is taken down; its volumes stay.
function App:back_to(before, options)
    local given = rt.options(options or {}, { within = { "duration", default = 300000 } }, "app:back_to")
    if next(before) == nil then
        self.compose:down()
        return {}
    end
    local services = { within = ("%dms"):format(given.within) }
    for service, one in pairs(before) do
        if one.image:find "^sha256:" or one.image:find "@sha256:" then
            rt.raise("pinned", ("app:back_to: %s names its image by digest (%s), not by a name that could lead back: revert the"
                .. " compose file instead"):format(service, one.image))
        end
        self.engine:tag(one.id, { as = one.image })
        services[#services + 1] = service
    end
    return self.compose:up(services)
end

--- An expectation for each service: it runs the image that `before` tells of (after a rollback).
function App:runs(before)
    local now, checks = self:running(), {}
    for service, one in pairs(before) do
        local id = now[service] and now[service].id
        checks[#checks + 1] = rt.expectation { name = ("%s runs %s"):format(service, one.id:sub(1, 19)),
            verdict = id == one.id and "pass" or "fail", measured = id or "nothing", limit = one.id,
            text = ("%s runs %s%s"):format(service, id and id:sub(1, 19) or "nothing", id ~= one.id
                and ", not " .. one.id:sub(1, 19) or "") }
    end
    if #checks == 0 then
        checks[1] = rt.expectation { name = "images", verdict = "unknown", text = "nothing ran before" }
    end
    return checks
end

local function valid(compose)
    local config = compose:config()
    return rt.expectation { name = "variables that are not set", verdict = #config.missing == 0 and "pass" or "fail",
        measured = config.missing, limit = rt.json.array {}, text = #config.missing == 0
            and ("the compose file is valid; services: " .. table.concat(config.services, ", "))
            or "not set, and compose takes them for empty: " .. table.concat(config.missing, ", ") }
end

--- A release, where steps stand: app:release("deploy", { build = true | pull = true, prepare = function(compose) … end, within
--- = "5m", smoke = function(compose) … end, timeout = "30m" }). The file is checked, what runs is kept, images are built or
--- pulled, `prepare` (a migration by compose:run) comes before the new containers, and then they must be healthy and pass
--- `smoke`. Undone: the images of before.
function App:release(name, options)
    local given = rt.options(options or {}, { build = "boolean", pull = "boolean", prepare = "function", smoke = "function",
        within = { "duration", default = 300000 }, timeout = { "duration", default = 1800000 } }, "app:release")
    if given.build and given.pull then
        rt.raise("usage", "app:release: images are built or pulled, not both")
    end
    local timeout, within = ("%dms"):format(given.timeout), ("%dms"):format(given.within)
    local function called(part)
        return name .. ": " .. part
    end
    gate(called "the compose file", function() return valid(self.compose) end)
    local before = step(called "what runs", function()
        local now = self:running()
        self:keep(now)
        return now
    end)
    if given.build or given.pull then
        -- it moves names that a restart would follow: undone even where nothing was started
        step(called(given.build and "build" or "pull"), { timeout = timeout, undo = function()
            if next(before) ~= nil then self:back_to(before, { within = within }) end
        end }, function()
            if given.build then self.compose:build() else self.compose:pull() end
        end)
    end
    if given.prepare then
        step(called "prepare", { timeout = timeout }, function() return given.prepare(self.compose) end)
    end
    step(called "up", { timeout = timeout, undo = function() self:back_to(before, { within = within }) end }, function()
        self.compose:up { within = within, remove_orphans = false }
        return self:running()
    end)
    gate(called "healthy", { every = "2s", within = within }, function() return self.compose:healthy() end)
    if given.smoke then
        gate(called "smoke", { every = "2s", within = within }, function() return given.smoke(self.compose) end)
    end
    return before
end

local class = rt.class("compose_app.app", App, function(self) return self.project end)

--- An application: compose_app.app { project = "shop", files, cwd, env, env_file, profiles, engine }, as of docker.compose.
--- `app.compose` is that handle.
function compose_app.app(options)
    local compose = docker.compose(options)
    return setmetatable({ compose = compose, project = options.project, engine = options.engine or docker.engine() }, class)
end

return compose_app
