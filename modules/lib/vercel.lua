-- vercel: deployments of a project, who has its production domains, and aliases, by Vercel's REST API.
local _, rt = ...
local service = require "rollout.service"

local vercel = {}

local API = "https://api.vercel.com"
local LONGEST_POLL_MS = 5000
local ENDED = { READY = true, ERROR = true, CANCELED = true }

local function ask(where, what, method, path, more)
    local request = { what = what, where = where, method = method, path = path, bearer = where.token }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    request.query = request.query or {}
    request.query.teamId = where.team
    return service.ask(request)
end

local function told_of(deployment, what)
    if type(deployment) ~= "table" or type(deployment.id or deployment.uid) ~= "string"
        or type(deployment.readyState or deployment.state) ~= "string" then
        rt.raise("protocol", what .. ": the answer is no deployment; is the url Vercel's API?")
    end
    local meta = type(deployment.meta) == "table" and deployment.meta or {}
    local function given(value)
        return value ~= rt.json.null and value or nil
    end
    return { id = deployment.id or deployment.uid, url = "https://" .. tostring(deployment.url),
        state = deployment.readyState or deployment.state, target = given(deployment.target),
        commit = given(meta.githubCommitSha) or given(meta.gitlabCommitSha) or given(meta.bitbucketCommitSha),
        problem = given(deployment.errorMessage), rollouthost = given(meta.rollouthost) }
end

local function deployment_of(where, id, what)
    return told_of(ask(where, what, "GET", "/v13/deployments/" .. service.encoded((id:gsub("^https?://", "")))), what)
end

-- The deployment that has the production domains: nil where there is none yet.
local function live_of(where, what)
    local project = ask(where, what, "GET", "/v9/projects/" .. service.encoded(where.project))
    if type(project.id) ~= "string" then
        rt.raise("protocol", what .. ": the answer is no project; is the url Vercel's API?")
    end
    local production = type(project.targets) == "table" and project.targets.production
    if type(production) ~= "table" then
        return nil, project.id
    end
    return told_of(production, what), project.id
end

local function ready(args, id, what)
    local ended = rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
        local now = deployment_of(args.where, id, what)
        return ENDED[now.state] and now, now
    end, function(now)
        rt.raise("timeout", ("%s: %s is still %s after %s"):format(what, now.url, now.state, rt.show_duration(args.within)))
    end)
    if ended.state ~= "READY" then
        rt.raise("failed", ("%s: %s ended as %s%s; its log: vercel inspect --logs %s"):format(what, ended.url, ended.state,
            ended.problem and ": " .. ended.problem or "", ended.url), { id = ended.id })
    end
    ended.rollouthost = nil
    return ended
end

local Project = {}
local class = rt.class("vercel.project", Project, function(self) return self.where.project end)

local function id_of(value, call)
    local id = type(value) == "table" and not rt.is_unknown(value) and value.id or value
    if not rt.is_unknown(id) and (type(id) ~= "string" or id == "") then
        rt.raise("usage", ("project:%s: expects a deployment: its id, its URL, or what deploy or live returned"):format(call))
    end
    return id
end

local function sample_deployment(args)
    return { id = rt.unknown "deployment", url = rt.unknown "url", state = "READY", target = args.target or "production" }
end

--- project:live() → the deployment that has the production domains: { id, url, state, target, commit }, or nil.
Project.live = rt.effect {
    name = "vercel.live", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function(args) return "look what is live of " .. args.where.project end,
    call = function(args) return (live_of(args.where, "what is live of " .. args.where.project)) end,
    sample = sample_deployment,
}

--- project:deployment(id or URL) → { id, url, state, target, commit, problem }.
Project.deployment = rt.effect {
    name = "vercel.deployment", class = "read",
    args = function(self, id) return { where = self.where, id = id_of(id, "deployment") } end,
    describe = function(args) return "look at deployment " .. tostring(args.id) end,
    call = function(args) return deployment_of(args.where, args.id, "deployment " .. args.id) end,
    sample = sample_deployment,
}

-- What this very effect has made: known by a mark that it gives each deployment.
local function made(args, ctx, what)
    local mark = rt.sha256(run.id .. ctx.key):sub(1, 24)
    local told = ask(args.where, what, "GET", "/v6/deployments", { query = { projectId = args.where.project, limit = 100,
        ["meta-rollouthost"] = mark } })
    if type(told.deployments) ~= "table" then
        rt.raise("protocol", what .. ": the answer is no list of deployments")
    end
    for _, one in ipairs(told.deployments) do
        local deployment = told_of(one, what)
        if deployment.rollouthost == mark then
            return deployment, mark
        end
    end
    return nil, mark
end

--- project:deploy { repository = "acme/shop", ref = "v1.4.0", target = "production" | "preview", provider = "github", within =
--- "15m" }: Vercel builds that commit, and it is waited until it is ready → { id, url, state, target, commit }. With target
--- "production" it gets the production domains.
Project.deploy = rt.effect {
    name = "vercel.deploy", class = "probed",
    args = function(self, options)
        local args = rt.options(options, { repository = { "string", required = true }, ref = { "string", required = true },
            provider = { "string", default = "github", one_of = { "github" } }, within = { "duration", default = 900000 },
            target = { "string", default = "production", one_of = { "production", "preview" } } }, "project:deploy")
        args.where = self.where
        return args
    end,
    describe = function(args)
        return ("deploy %s of %s to Vercel's %s of %s"):format(tostring(args.ref), tostring(args.repository), args.target,
            args.where.project)
    end,
    call = function(args, ctx)
        local what = ("deploy %s of %s to %s"):format(args.ref, args.repository, args.where.project)
        local org, repo = args.repository:match("^([^/]+)/([^/]+)$")
        if not org then
            rt.raise("usage", ("project:deploy: repository is %q, not \"owner/name\""):format(args.repository))
        end
        local found, mark = made(args, ctx, what) -- begun by a process before this one
        if not found then
            local ok, told = pcall(ask, args.where, what, "POST", "/v13/deployments", { json = { name = args.where.project,
                project = args.where.project, target = args.target == "production" and "production" or nil,
                gitSource = { type = args.provider, org = org, repo = repo, ref = args.ref }, meta = { rollouthost = mark } } })
            if not ok and (told.code == "access_denied" or told.code == "refused" or told.code == "rate_limited"
                or told.code == "not_found") then
                error(told, 0)
            elseif not ok then
                local asked, there = pcall(made, args, ctx, what)
                if not asked then
                    rt.doubt(told.code, ("%s: whether it has begun cannot be told: %s"):format(what, told.message))
                elseif not there then
                    error(told, 0)
                end
                found = there
            else
                found = told_of(told, what)
            end
        end
        return ready(args, found.id, what)
    end,
    probe = function(args, ctx)
        local found = made(args, ctx, "deployed or not")
        if found and found.state == "READY" then
            found.rollouthost = nil
            return "done", found
        end
        return "undone" -- called again, it goes on with what it has begun
    end,
    sample = sample_deployment,
}

-- Points the production domains to a deployment, and waits until the project says so.
local function pointed(name, verb, path)
    return rt.effect {
        name = "vercel." .. name, class = "idempotent",
        args = function(self, to, options)
            local args = rt.options(options or {}, { within = { "duration", default = 120000 } }, "project:" .. name)
            args.where, args.to = self.where, id_of(to, name)
            return args
        end,
        describe = function(args)
            return ("%s %s to %s"):format(verb, args.where.project, tostring(args.to))
        end,
        call = function(args)
            local what = ("%s %s to %s"):format(verb, args.where.project, args.to)
            local wanted = deployment_of(args.where, args.to, what)
            local live, project = live_of(args.where, what)
            if wanted.state ~= "READY" then
                rt.raise("failed", ("%s: it is %s, not READY"):format(what, wanted.state))
            elseif not live or live.id ~= wanted.id then
                ask(args.where, what, "POST", path:format(service.encoded(project), service.encoded(wanted.id)), { plain = true,
                    idempotent = true, hints = { refused = "the plan may only allow the deployment before this one" } })
                rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
                    local now = live_of(args.where, what)
                    return now and now.id == wanted.id, now
                end, function(now)
                    rt.raise("timeout", ("%s: %s is still live after %s"):format(what, now and now.url or "nothing",
                        rt.show_duration(args.within)))
                end)
            end
            return { id = wanted.id, url = wanted.url, commit = wanted.commit, before = live and live.id }
        end,
        sample = sample_deployment,
    }
end

--- project:rollback(deployment, { within = "2m" }) → { id, url, commit, before }: the production domains are that one's again;
--- nothing is built. Going back twice is going back once.
Project.rollback = pointed("rollback", "roll back", "/v1/projects/%s/rollback/%s")

--- project:promote(deployment, …): the same for one that has not been live: a preview that was tried.
Project.promote = pointed("promote", "promote", "/v10/projects/%s/promote/%s")

--- project:alias(deployment, "beta.example.com") → { alias, id, before }: the name leads to that deployment.
Project.alias = rt.effect {
    name = "vercel.alias", class = "idempotent",
    args = function(self, to, name)
        if type(name) ~= "string" and not rt.is_unknown(name) then
            rt.raise("usage", "project:alias: expects a deployment and a name such as \"beta.example.com\"")
        end
        return { where = self.where, to = id_of(to, "alias"), alias = name }
    end,
    describe = function(args) return ("lead %s to %s"):format(tostring(args.alias), tostring(args.to)) end,
    call = function(args)
        local what = ("lead %s to %s"):format(args.alias, args.to)
        local path = "/v4/aliases/" .. service.encoded(args.alias)
        local before = ask(args.where, what, "GET", path, { accept = { 404 } })
        ask(args.where, what, "POST", ("/v2/deployments/%s/aliases"):format(service.encoded(args.to)), { idempotent = true,
            json = { alias = args.alias } })
        local now = ask(args.where, what, "GET", path)
        if now.deploymentId ~= args.to then
            rt.raise("failed", ("%s: it leads to %s"):format(what, tostring(now.deploymentId)))
        end
        return { alias = args.alias, id = args.to, before = before.deploymentId }
    end,
    sample = function(args) return { alias = args.alias, id = args.to } end,
}

--- An expectation: that deployment (or one of that commit) has the production domains: project:is_live(deployment).
function Project:is_live(deployment)
    local id = id_of(deployment, "is_live")
    local live = self:live()
    local is = live and (live.id == id or live.commit == id or live.url == id or live.url == "https://" .. tostring(id))
    return rt.expectation { name = ("%s is live"):format(tostring(id)), verdict = is and live.state == "READY" and "pass" or "fail",
        measured = live and live.id or "nothing", limit = id,
        text = live and ("%s (%s, %s) is live of %s"):format(live.id, live.url, live.state, self.where.project)
            or "nothing is live of " .. self.where.project }
end

local names = rt.effect {
    name = "vercel.variables", class = "read",
    args = function(self, options)
        local args = rt.options(options, { target = { "string", default = "production" } }, "project:variables")
        args.where = self.where
        return args
    end,
    describe = function(args) return ("which variables %s has for %s"):format(args.where.project, args.target) end,
    call = function(args)
        local what = "variables of " .. args.where.project
        local told = ask(args.where, what, "GET", ("/v10/projects/%s/env"):format(service.encoded(args.where.project)))
        local found = rt.json.array {}
        for _, one in ipairs(service.list(told.envs, what, "Vercel")) do
            local targets = type(one.target) == "table" and one.target or { one.target }
            for _, target in ipairs(targets) do
                found[#found + 1] = target == args.target and one.key or nil
            end
        end
        return found
    end,
    sample = function(args) return rt.unknown("variables of " .. args.where.project) end,
}

--- An expectation: these variables are set there, whatever their values: project:variables("DATABASE_URL", "JWT_SECRET", { target
--- = "production" | "preview" | "development" }).
Project.variables = service.has_variables(names, "project:variables")

--- A project: vercel.project("shop", { token = secret "VERCEL_TOKEN", team = "team_…" }), by name or id. Nothing is asked yet.
function vercel.project(name, options)
    local where = service.options(options, { token = "text", team = "string" }, "vercel.project")
    service.demand(where, "token", "vercel.project", "token = secret \"VERCEL_TOKEN\"")
    where.project, where.url = name, where.url or API
    if type(name) ~= "string" or name == "" then
        rt.raise("usage", "vercel.project: expects the project's name or id")
    end
    return setmetatable({ where = where }, class)
end

return vercel
