-- railway: deployments by the Railway CLI. What is active is asked, never assumed, so that going back twice is going
-- back once.
local _, rt = ...
local sh, json, service = require "rollout.sh", require "rollout.json", require "rollout.service"

local railway = {}

local Service = {}
Service.__index = Service

--- One environment's service: { environment = "production", token = secret, cwd = checkout }. Nothing runs yet.
function railway.service(options)
    return setmetatable({
        environment = options.environment,
        cli = sh.with { cwd = options.cwd, env = { RAILWAY_TOKEN = options.token } },
    }, Service)
end

--- { environment, release, deployment, previous, deployed_at }: what is active now.
function Service:status()
    local told = self.cli.read { "railway", "status", "--environment", self.environment, "--json" }
    return json.decode(told.out)
end

--- Deploys what is checked out and returns the status after it.
function Service:deploy()
    self.cli.run { "railway", "deploy", "--environment", self.environment, timeout = "10m" }
    return self:status()
end

--- The release that is to be deployed, if it is active already: a step's `done`.
function Service:runs(release)
    local status = self:status()
    return status.release == release and status
end

--- Goes back to `release` if another one is active; fails if something else became active.
function Service:back_to(release)
    if self:status().release ~= release then
        self.cli.run { "railway", "rollback", "--environment", self.environment, timeout = "10m" }
    end
    local status = self:status()
    if status.release ~= release then
        fail(("railway rolled %s back to %s, not to %s"):format(self.environment, status.release, release))
    end
    return status
end

--- The lines of the active deployment's log that contain `text`, newest last; { since = seconds }.
function Service:log(text, options)
    local argv = { "railway", "logs", "--environment", self.environment, "--filter", text }
    if options and options.since then
        argv[#argv + 1], argv[#argv + 2] = "--since", options.since
    end
    local lines = {}
    for line in self.cli.read(argv).out:gmatch("[^\n]+") do
        lines[#lines + 1] = line
    end
    return lines
end

-- ---- by Railway's public API ----

-- Railway's own CLI has no way back: its API has. One request, whatever it is about: GraphQL.
local API = "https://backboard.railway.com"
local UNLISTED_MS, LONGEST_POLL_MS = 500, 10000
local RUNNING = { SUCCESS = true, SLEEPING = true }
local FAILED = { FAILED = true, CRASHED = true, REMOVED = true, SKIPPED = true }

local NODE = "{ id status createdAt canRollback meta }"
local LIST = "query($input: DeploymentListInput!) { deployments(first: 50, input: $input) { edges { node " .. NODE .. " } } }"
local ONE = "query($id: String!) { deployment(id: $id) " .. NODE .. " }"
local DEPLOY = "mutation($service: String!, $environment: String!, $commit: String) {"
    .. " serviceInstanceDeployV2(serviceId: $service, environmentId: $environment, commitSha: $commit) }"
local ROLLBACK = "mutation($id: String!) { deploymentRollback(id: $id) }"

local function ask(where, what, query, variables, change)
    local told = service.ask { what = what, where = where, method = "POST", path = "/graphql/v2", idempotent = not change,
        json = { query = query, variables = variables }, headers = { ["Project-Access-Token"] = where.token } }
    if type(told.errors) == "table" and told.errors[1] then
        local said = rt.masked(tostring(told.errors[1].message))
        rt.raise(said:find "[Nn]ot [Aa]uthorized" and "access_denied" or "refused", ("%s: Railway refused it: %s"):format(what,
            said))
    elseif type(told.data) ~= "table" then
        rt.raise("protocol", what .. ": the answer is no GraphQL result; is the url Railway's API?")
    end
    return told.data
end

local function told_of(node, what)
    if type(node) ~= "table" or type(node.id) ~= "string" or type(node.status) ~= "string" then
        rt.raise("protocol", what .. ": the answer is no deployment")
    end
    local meta = type(node.meta) == "table" and node.meta or {}
    return { id = node.id, status = node.status, created_at = node.createdAt, can_rollback = node.canRollback == true,
        commit = meta.commitHash ~= rt.json.null and meta.commitHash or nil }
end

-- The newest deployments, newest first.
local function deployments_of(where, what)
    local told = ask(where, what, LIST, { input = { projectId = where.project, environmentId = where.environment,
        serviceId = where.service } }).deployments
    if type(told) ~= "table" or type(told.edges) ~= "table" then
        rt.raise("protocol", what .. ": the answer is no list of deployments")
    end
    local list = {}
    for i, edge in ipairs(told.edges) do
        list[i] = told_of(edge.node, what)
    end
    return list
end

local function live_of(list)
    for _, deployment in ipairs(list) do
        if RUNNING[deployment.status] then
            return deployment
        end
    end
end

local function ended(args, id, what)
    return rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
        local now = told_of(ask(args.where, what, ONE, { id = id }).deployment, what)
        if FAILED[now.status] then
            rt.raise("failed", ("%s: deployment %s ended as %s; its log: railway logs --build %s"):format(what, id, now.status, id),
                { id = id })
        end
        return RUNNING[now.status] and now, now
    end, function(now)
        rt.raise("timeout", ("%s: deployment %s is still %s after %s"):format(what, id, now.status,
            rt.show_duration(args.within)))
    end)
end

-- Deployments that came after the newest of before, and are of that commit.
local function since(args, what)
    local found = {}
    for _, deployment in ipairs(deployments_of(args.where, what)) do
        if deployment.id == args.before then
            break
        elseif not args.commit or deployment.commit == args.commit then
            found[#found + 1] = deployment
        end
    end
    return found
end

local SURELY_NOT = { access_denied = true, refused = true, rate_limited = true, not_found = true }

-- The deployment that a request begins, also where its answer says nothing of it or is lost.
local function begun(args, what, query, variables)
    local ok, told = pcall(ask, args.where, what, query, variables, true)
    if ok and type(told.serviceInstanceDeployV2) == "string" then
        return told.serviceInstanceDeployV2
    elseif not ok and SURELY_NOT[told.code] then
        error(told, 0)
    end
    local deadline = rt.now() + 10000
    local asked, found = pcall(since, args, what)
    while ok and asked and #found == 0 and rt.now() < deadline do -- taken, and not listed yet
        rt.sleep(UNLISTED_MS)
        asked, found = pcall(since, args, what)
    end
    if asked and #found == 1 then
        return found[1].id
    elseif asked and #found == 0 and not ok then
        error(told, 0)
    end
    rt.doubt("lost", ("%s: which deployment it has begun cannot be told: %s"):format(what, not asked and found.message
        or #found .. " are new"))
end

local Instance = {}

local function sample(args)
    return { id = rt.unknown "deployment", status = "SUCCESS", commit = args.commit or rt.unknown "commit", can_rollback = true }
end

local look = rt.effect {
    name = "railway.look", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function(args) return "look at the deployments of " .. args.where.service end,
    call = function(args)
        local list = deployments_of(args.where, "deployments of " .. args.where.service)
        return { newest = list[1] and list[1].id, live = live_of(list) }
    end,
    sample = function(args) return { live = sample(args) } end,
}

local function change(name, query, variables_of)
    return rt.effect {
        name = "railway." .. name, class = "probed",
        args = function(self, given)
            given.where = self.where
            return given
        end,
        describe = function(args)
            return ("%s %s%s"):format(name, args.where.service, args.to and " to " .. tostring(args.to)
                or args.commit and " " .. tostring(args.commit) or "")
        end,
        call = function(args)
            local what = ("%s %s"):format(name, args.where.service)
            return ended(args, begun(args, what, query, variables_of(args)), what)
        end,
        probe = function(args)
            local found = since(args, name .. " or not")
            if #found == 1 then
                return "done", ended(args, found[1].id, name .. " " .. args.where.service)
            end
            return #found == 0 and "undone" or "unknown"
        end,
        sample = sample,
    }
end

local deploy = change("deploy", DEPLOY, function(args)
    return { service = args.where.service, environment = args.where.environment, commit = args.commit }
end)
local back = change("rollback", ROLLBACK, function(args) return { id = args.to } end)

--- instance:live() → the deployment that runs: { id, status, commit, created_at, can_rollback }, or nil.
function Instance:live()
    return look(self).live
end

--- instance:deploy { commit = sha, within = "20m" } → as live: it runs, or an error. Without a commit it is the newest of the
--- branch.
function Instance:deploy(options)
    local given = rt.options(options or {}, { commit = "string", within = { "duration", default = 1200000 } }, "instance:deploy")
    given.before = look(self).newest
    return deploy(self, given)
end

--- instance:rollback(deployment, { within = "10m" }): what that one built runs again. Where it runs, nothing is done.
function Instance:rollback(to, options)
    local given = rt.options(options or {}, { within = { "duration", default = 600000 } }, "instance:rollback")
    local target = type(to) == "table" and not rt.is_unknown(to) and to or { id = to }
    if type(target.id) ~= "string" and not rt.is_unknown(target.id) then
        rt.raise("usage", "instance:rollback: expects a deployment: its id, or what live or deploy returned")
    end
    given.to = target.id
    local now = look(self)
    if now.live and now.live.id == given.to then
        return now.live
    end
    given.before = now.newest
    return back(self, given)
end

--- An expectation: that deployment, or one of that commit, runs.
Instance.is_live = service.is_live

local instance_class = rt.class("railway.instance", Instance, function(self) return self.where.service end)

--- One service in one environment, by the public API: railway.instance { project, environment, service = ids, token = secret
--- "RAILWAY_TOKEN" (a project token) }. Nothing is asked yet.
function railway.instance(options)
    local where = service.options(options, { token = "text", project = "string", environment = "string", service = "string" },
        "railway.instance")
    for _, name in ipairs { "token", "project", "environment", "service" } do
        service.demand(where, name, "railway.instance", name == "token" and "a project token of that environment"
            or "its id, as `railway status --json` tells it")
    end
    where.url = where.url or API
    return setmetatable({ where = where }, instance_class)
end

return railway
