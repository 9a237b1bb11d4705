-- render: deploys of a service on Render, by its REST API.
local _, rt = ...
local service = require "rollout.service"

local render = {}

local API = "https://api.render.com/v1"
local LONGEST_POLL_MS = 10000
-- How a deploy ends; everything else is on its way.
local FAILED = { build_failed = true, update_failed = true, pre_deploy_failed = true, canceled = true, deactivated = true }

local function ask(where, what, method, path, more)
    local request = { what = what, where = where, method = method, bearer = where.token,
        path = ("/services/%s%s"):format(service.encoded(where.service), path) }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    return service.ask(request)
end

local function told_of(deploy, what)
    if type(deploy) ~= "table" or type(deploy.id) ~= "string" or type(deploy.status) ~= "string" then
        rt.raise("protocol", what .. ": the answer is no deploy; is the url Render's API?")
    end
    local commit = type(deploy.commit) == "table" and deploy.commit.id or nil
    return { id = deploy.id, status = deploy.status, commit = commit, created_at = deploy.createdAt,
        trigger = deploy.trigger ~= rt.json.null and deploy.trigger or nil }
end

-- The newest deploys, newest first.
local function deploys_of(where, what)
    local told, list = ask(where, what, "GET", "/deploys", { query = { limit = 50 } }), {}
    for i, entry in ipairs(told) do
        list[i] = told_of(entry.deploy, what)
    end
    if #list == 0 and next(told) ~= nil then
        rt.raise("protocol", what .. ": the answer is no list of deploys; is the url Render's API?")
    end
    return list
end

local function live_of(where, what)
    for _, deploy in ipairs(deploys_of(where, what)) do
        if deploy.status == "live" then
            return deploy
        end
    end
end

local function ended(args, id, what)
    return rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
        local now = told_of(ask(args.where, what, "GET", "/deploys/" .. service.encoded(id)), what)
        if FAILED[now.status] then
            rt.raise("failed", ("%s: deploy %s ended as %s; its log is in Render's dashboard"):format(what, id, now.status),
                { id = id })
        end
        return now.status == "live" and now, now
    end, function(now)
        rt.raise("timeout", ("%s: deploy %s is still %s after %s"):format(what, id, now.status, rt.show_duration(args.within)))
    end)
end

local Service = {}
local class = rt.class("render.service", Service, function(self) return self.where.service end)

local function sample(args)
    return { id = rt.unknown "deploy", status = "live", commit = args.commit or rt.unknown "commit" }
end

--- service:live() → the deploy that runs: { id, status, commit, created_at, trigger }, or nil.
Service.live = rt.effect {
    name = "render.live", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function(args) return "look what is live of " .. args.where.service end,
    call = function(args) return live_of(args.where, "what is live of " .. args.where.service) end,
    sample = sample,
}

-- Before: deploys after the newest of these may be this run's.
local newest = rt.effect {
    name = "render.newest", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function(args) return "look at the newest deploy of " .. args.where.service end,
    call = function(args)
        local list = deploys_of(args.where, "deploys of " .. args.where.service)
        return { id = list[1] and list[1].id, live = live_of(args.where, "deploys of " .. args.where.service) }
    end,
    sample = function() return {} end,
}

-- Those that came after the newest of before and fit: what a request whose answer was lost has begun.
local function since(args, what)
    local found = {}
    for _, deploy in ipairs(deploys_of(args.where, what)) do
        if deploy.id == args.before then
            break
        elseif deploy.trigger == "api" or deploy.trigger == "rollback" or not deploy.trigger then
            if not args.commit or deploy.commit == args.commit then
                found[#found + 1] = deploy
            end
        end
    end
    return found
end

local function begun(args, what, path, json)
    local ok, told = pcall(ask, args.where, what, "POST", path, { json = json })
    if ok and type(told.id) == "string" then
        return told.id
    elseif not ok and (told.code == "access_denied" or told.code == "not_found" or told.code == "refused"
        or told.code == "rate_limited") then
        error(told, 0)
    end
    local asked, found = pcall(since, args, what)
    if asked and #found == 1 then
        return found[1].id
    elseif asked and #found == 0 and not ok then
        error(told, 0)
    end
    rt.doubt("lost", ("%s: which deploy it has begun cannot be told: %s"):format(what, not asked and found.message
        or #found .. " are new"))
end

local function change(name, path, json_of)
    return rt.effect {
        name = "render." .. name, class = "probed",
        args = function(self, given)
            given.where = self.where
            return given
        end,
        describe = function(args)
            return ("%s %s%s"):format(name, args.where.service, args.commit and " " .. args.commit or args.to and " to " .. args.to
                or "")
        end,
        call = function(args)
            local what = ("%s %s"):format(name, args.where.service)
            return ended(args, begun(args, what, path, json_of(args)), what)
        end,
        probe = function(args)
            local found = since(args, name .. " or not")
            if #found == 0 then
                return "undone"
            elseif #found > 1 then
                return "unknown"
            end
            return "done", ended(args, found[1].id, name .. " " .. args.where.service)
        end,
        sample = sample,
    }
end

local deploy = change("deploy", "/deploys", function(args)
    return { commitId = args.commit, imageUrl = args.image, clearCache = args.clear_cache and "clear" or "do_not_clear" }
end)
local back = change("rollback", "/rollback", function(args) return { deployId = args.to } end)

--- service:deploy { commit = sha, image = url, clear_cache = false, within = "20m" } → { id, status, commit }: live, or an
--- error. Without a commit it is the newest of the connected branch.
function Service:deploy(options)
    local given = rt.options(options or {}, { commit = "string", image = "string", clear_cache = { "boolean", default = false },
        within = { "duration", default = 1200000 } }, "service:deploy")
    given.before = newest(self).id
    return deploy(self, given)
end

--- service:rollback(deploy, { within = "10m" }) → { id, status, commit }: what that deploy built runs again, as a new deploy.
--- Where it is live already, nothing is done. Automatic deploys stay on: a push brings the new release back.
function Service:rollback(to, options)
    local given = rt.options(options or {}, { within = { "duration", default = 600000 } }, "service:rollback")
    given.to = type(to) == "table" and not rt.is_unknown(to) and to.id or to
    if type(given.to) ~= "string" and not rt.is_unknown(given.to) then
        rt.raise("usage", "service:rollback: expects a deploy: its id, or what live or deploy returned")
    end
    local before = newest(self)
    if before.live and before.live.id == given.to then
        return before.live
    end
    given.before = before.id
    return back(self, given)
end

--- An expectation: that deploy, or one of that commit, is live.
Service.is_live = service.is_live

local PAGE = 100

local names = rt.effect {
    name = "render.variables", class = "read",
    args = function(self, options)
        rt.options(options, {}, "service:variables")
        return { where = self.where }
    end,
    describe = function(args) return "which variables " .. args.where.service .. " has" end,
    call = function(args)
        local what = "variables of " .. args.where.service
        local found, more, cursor = rt.json.array {}, true, nil
        while more do
            local told = ask(args.where, what, "GET", "/env-vars", { query = { limit = PAGE, cursor = cursor } })
            for _, one in ipairs(service.list(told, what, "Render")) do
                if type(one.envVar) ~= "table" then
                    rt.raise("protocol", what .. ": the answer is no list of variables; is the url Render's API?")
                end
                found[#found + 1], cursor = one.envVar.key, one.cursor
            end
            more = #told == PAGE
        end
        return found
    end,
    sample = function(args) return rt.unknown("variables of " .. args.where.service) end,
}

--- An expectation: these variables of the service itself (not of a group) are set, whatever their values:
--- service:variables("DATABASE_URL", "JWT_SECRET").
Service.variables = service.has_variables(names, "service:variables")

--- A service: render.service("srv-…", { token = secret "RENDER_API_KEY" }). Nothing is asked yet.
function render.service(id, options)
    local where = service.options(options, { token = "text" }, "render.service")
    service.demand(where, "token", "render.service", "token = secret \"RENDER_API_KEY\"")
    if type(id) ~= "string" or id == "" then
        rt.raise("usage", "render.service: expects the service's id, such as \"srv-cukouhrtq21c73e9scng\"")
    end
    where.service, where.url = id, where.url or API
    return setmetatable({ where = where }, class)
end

return render
