-- sentry: errors that an application reports, by release, and markers of releases and deploys. A count of zero says that no error
-- arrived, not that one would have: test_event() and received() prove the way.
local rt = select(2, ...)
local service = require "rollout.service"
local time = require "rollout.time"

local sentry = {}

local HINTS = { access_denied = "the token needs the scopes org:read, project:read, event:read and project:releases",
    not_found = "are organization, project, release and the region's url (https://us.sentry.io, https://de.sentry.io) right?" }

local function ask(args, what, method, path, options)
    options = options or {}
    options.where, options.what, options.method, options.path = args.where, what, method, path
    options.bearer, options.hints = args.where.token, HINTS
    return service.ask(options)
end

local function organization(args, path)
    return "/api/0/organizations/" .. service.encoded(args.where.org) .. path
end

local function named(where)
    return where.org .. "/" .. where.project
end

-- ---- what is counted ----

local COUNTED = { since = { "duration", required = true }, release = "string", environment = "string", level = "string",
    query = "string" }

local function period(ms)
    return ("%dm"):format(math.max(1, (ms + 59999) // 60000))
end

local function search(args)
    local words = { "project:" .. args.where.project }
    if args.release then
        words[#words + 1] = "release:" .. rt.json.encode(args.release)
    end
    if args.level then
        words[#words + 1] = "level:" .. args.level
    end
    words[#words + 1] = args.query
    return table.concat(words, " ")
end

local function counted(call)
    return function(self, options)
        local args = rt.options(options, COUNTED, "project:" .. call)
        args.where, args.environment = self.where, args.environment or self.where.environment
        return args
    end
end

local function described(what)
    return function(args)
        local release = args.release and ", release " .. args.release or ""
        return ("%s of %s in Sentry%s%s, during %s"):format(what, named(args.where), release,
            args.environment and ", " .. args.environment or "", rt.show_duration(args.since))
    end
end

local function count(args)
    local what = described "errors" (args)
    local told = ask(args, what, "GET", organization(args, "/events/"), { query = { field = "count()", dataset = "errors",
        query = search(args), statsPeriod = period(args.since), environment = args.environment } })
    local row = service.list(told.data, what, "Sentry")[1]
    return row and math.tointeger(tonumber(row["count()"]))
end

local Project = {}
local handle = rt.class("sentry.project", Project, function(self)
    return named(self.where)
end)

--- project:errors{ since = "1h", release, environment, level, query } → how many error events arrived; nil: Sentry told nothing.
Project.errors = rt.effect {
    name = "sentry.errors",
    class = "read",
    args = counted "errors",
    describe = described "errors",
    call = count,
    sample = function(args)
        return rt.unknown(described "errors" (args))
    end,
}

--- The same as errors(), a minute: a number, for "more than 100 errors a minute".
function Project.rate(self, options)
    local number = self:errors(options)
    if rt.is_unknown(number) or number == nil then
        return number
    end
    return number / (time.duration(options.since) / 60000)
end

--- project:crash_free{ since, release, environment } → the share of sessions that did not crash (0.998), or nil where there were
--- none: the rate by which releases compare.
Project.crash_free = rt.effect {
    name = "sentry.crash_free",
    class = "read",
    args = counted "crash_free",
    describe = described "crash-free sessions",
    call = function(args)
        local what = described "crash-free sessions" (args)
        local path = organization(args, "/sessions/?field=crash_free_rate(session)&field=sum(session)")
        local told = ask(args, what, "GET", path, { query = { project = args.where.project_id or "-1", query = search(args),
            statsPeriod = period(args.since), environment = args.environment, includeSeries = "0" } })
        local group = service.list(told.groups, what, "Sentry")[1]
        local totals = group and group.totals or {}
        local share = totals["crash_free_rate(session)"]
        return totals["sum(session)"] ~= 0 and type(share) == "number" and share or nil
    end,
    sample = function(args)
        return rt.unknown(described "crash-free sessions" (args))
    end,
}

--- project:issues{ since, release, environment, level, query } → { { id, title, level, count, users, url, first_seen }, … }: what
--- was first seen in that time, the most frequent first, 100 at most.
Project.issues = rt.effect {
    name = "sentry.issues",
    class = "read",
    args = counted "issues",
    describe = described "new issues",
    call = function(args)
        local told = ask(args, described "new issues" (args), "GET", organization(args, "/issues/"), { query = { sort = "freq",
            query = ("is:unresolved firstSeen:-%s %s"):format(period(args.since), search(args)), statsPeriod = period(args.since),
            environment = args.environment, project = args.where.project_id or "-1", limit = "100" } })
        local list = {}
        for i, issue in ipairs(service.list(told, described "new issues" (args), "Sentry")) do
            list[i] = { id = issue.id, title = service.shortened(tostring(issue.title), 200), level = issue.level,
                count = math.tointeger(tonumber(issue.count)), users = issue.userCount, url = issue.permalink,
                first_seen = issue.firstSeen }
        end
        return rt.json.array(list)
    end,
    sample = function()
        return rt.json.array {}
    end,
}

-- ---- the way there ----

-- "https://KEY@host/prefix/42" → where events go, key
local function ingest(dsn)
    local scheme, key, host, prefix, id = tostring(dsn):match "^(https?)://([^:@/]+)[^@/]*@([^/]+)(.-)/(%d+)$"
    if not scheme then
        rt.raise("usage", "sentry.project: dsn is https://KEY@host/NUMBER. It is not secret, browsers get it: "
            .. "env.require { SENTRY_DSN = { public = true } }")
    end
    return ("%s://%s%s/api/%s/envelope/"):format(scheme, host, prefix, id), key
end

--- project:test_event{ message, level = "error", release, environment } → { id }: sends one event as the application would, by
--- the DSN. The same event is sent once: Sentry knows it by its id.
Project.test_event = rt.effect {
    name = "sentry.test_event",
    class = "idempotent",
    args = function(self, options)
        local args = rt.options(options or {}, { message = { "string", default = "A test, sent by a rollout" },
            level = { "string", default = "error" }, release = "string", environment = "string" }, "project:test_event")
        service.demand(self.where, "dsn", "project:test_event", "the application's DSN, in sentry.project")
        args.where, args.environment = self.where, args.environment or self.where.environment
        return args
    end,
    describe = function(args)
        return "send a test event to " .. named(args.where) .. " in Sentry"
    end,
    call = function(args, ctx)
        local url, key = ingest(args.where.dsn)
        local id = service.mark(ctx)
        local event = rt.json.encode { event_id = id, timestamp = time.format(rt.now()), platform = "other", level = args.level,
            logger = "rollouthost", message = { formatted = args.message }, release = args.release,
            environment = args.environment }
        local told = service.ask { what = "a test event to " .. named(args.where), where = args.where, url = url, method = "POST",
            idempotent = true, body = rt.json.encode { event_id = id } .. "\n{\"type\":\"event\"}\n" .. event .. "\n",
            headers = { ["Content-Type"] = "application/x-sentry-envelope",
                ["X-Sentry-Auth"] = "Sentry sentry_version=7, sentry_client=rollouthost/0.1.0, sentry_key=" .. key } }
        return { id = told.id or id }
    end,
    sample = function()
        return { id = rt.unknown "the event's id" }
    end,
}

local received = rt.effect {
    name = "sentry.received",
    class = "read",
    args = function(self, id)
        return { where = self.where, id = type(id) == "table" and not rt.is_unknown(id) and id.id or id }
    end,
    describe = function(args)
        return ("whether %s in Sentry has the event %s"):format(named(args.where), tostring(args.id))
    end,
    call = function(args)
        local what = ("event %s of %s"):format(args.id, named(args.where))
        local path = ("/api/0/projects/%s/%s/events/%s/"):format(service.encoded(args.where.org),
            service.encoded(args.where.project), service.encoded(args.id))
        local _, answer = ask(args, what, "GET", path, { accept = { 404 } })
        local there = answer.status == 200
        return { name = what, verdict = there and "pass" or "fail", measured = there and "received" or "not there",
            limit = "received" }
    end,
    sample = function()
        return { name = "event in Sentry", verdict = "unknown" }
    end,
}

--- project:received(event): an expectation that what test_event() sent has arrived. It takes a while: within = "2m".
function Project.received(self, id)
    return rt.expectation(received(self, id))
end

-- ---- markers ----

--- project:release{ version, repository, commit, previous, url } → { version }: Sentry knows the release from now on; with
--- repository and commit, also what is in it.
Project.release = rt.effect {
    name = "sentry.release",
    class = "idempotent",
    args = function(self, options)
        local args = rt.options(options, { version = { "string", required = true }, repository = "string", commit = "string",
            previous = "string", url = "string" }, "project:release")
        if (args.repository == nil) ~= (args.commit == nil) then
            rt.raise("usage", "project:release: repository and commit go together")
        end
        args.where = self.where
        return args
    end,
    describe = function(args)
        return ("mark release %s of %s in Sentry"):format(tostring(args.version), named(args.where))
    end,
    call = function(args)
        local refs = args.commit and { { repository = args.repository, commit = args.commit, previousCommit = args.previous } }
        local told = ask(args, "release " .. args.version, "POST", organization(args, "/releases/"), { idempotent = true,
            json = { version = args.version, projects = { args.where.project }, refs = refs, url = args.url } })
        return { version = told.version }
    end,
    sample = function(args)
        return { version = args.version }
    end,
    exact = { "version" },
}

local function deploys(args)
    return organization(args, "/releases/" .. service.encoded(args.release) .. "/deploys/")
end

local function mark_of(args, ctx)
    return args.name or "rollout " .. service.mark(ctx):sub(1, 12)
end

--- project:deploy{ release, environment, name, url } → { id }: the release is deployed there since now.
Project.deploy = service.probed {
    name = "sentry.deploy",
    args = function(self, options)
        local args = rt.options(options, { release = { "string", required = true }, environment = "string", name = "string",
            url = "string" }, "project:deploy")
        args.where, args.environment = self.where, args.environment or self.where.environment
        return service.demand(args, "environment", "project:deploy", "where it was deployed") and args
    end,
    describe = function(args)
        return ("mark %s of %s as deployed to %s in Sentry"):format(tostring(args.release), named(args.where), args.environment)
    end,
    call = function(args, ctx)
        local told = ask(args, "deploy of " .. args.release, "POST", deploys(args), { json = { environment = args.environment,
            name = mark_of(args, ctx), url = args.url, projects = { args.where.project } } })
        return { id = tostring(told.id) }
    end,
    probe = function(args, ctx)
        local what = "deploys of " .. args.release
        for _, deploy in ipairs(service.list(ask(args, what, "GET", deploys(args)), what, "Sentry")) do
            if deploy.name == mark_of(args, ctx) and deploy.environment == args.environment then
                return "done", { id = tostring(deploy.id) }
            end
        end
        return "undone"
    end,
    sample = function()
        return { id = rt.unknown "the deploy's id" }
    end,
}

--- A project: { org = "acme", project = "shop", token = secret "SENTRY_AUTH_TOKEN", environment, dsn, url = "https://sentry.io",
--- project_id }. Nothing is asked yet. `project_id`, its number, spares crash_free() and issues() a look at all projects.
function sentry.project(options)
    local where = service.options(options, { org = { "string", required = true }, project = { "string", required = true },
        token = { "text", required = true }, environment = "string", dsn = "string", project_id = "integer" }, "sentry.project")
    where.url = where.url or "https://sentry.io"
    where.project_id = where.project_id and tostring(where.project_id)
    if where.dsn and rt.mode() ~= "plan" then -- where a variable may be a sample
        ingest(where.dsn)
    end
    return setmetatable({ where = where }, handle)
end

return sentry
