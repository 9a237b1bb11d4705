-- docuseal: whether DocuSeal answers, and submissions for a smoke test, which are taken back afterwards.
local rt = select(2, ...)
local http = require "rollout.http"
local service = require "rollout.service"

local docuseal = {}

local HINTS = { access_denied = "the key stands in DocuSeal under Settings, API",
    not_found = "is url the one of the API (self-hosted: https://HOST/api)?" }

local function ask(args, what, method, path, options)
    options = options or {}
    options.where, options.what, options.method, options.path, options.hints = args.where, what, method, path, HINTS
    options.headers = { ["X-Auth-Token"] = args.where.token }
    return service.ask(options)
end

local Server = {}
local handle = rt.class("docuseal.server", Server, function(self)
    return self.where.url
end)

local function listed(args, what, path, query)
    local told = ask(args, what, "GET", path, { query = query })
    return service.list(told.data, what, "DocuSeal")
end

local checked = rt.effect {
    name = "docuseal.check",
    class = "read",
    args = function(self)
        return { where = self.where }
    end,
    describe = function(args)
        return "check DocuSeal at " .. args.where.url
    end,
    call = function(args)
        local name = "DocuSeal at " .. args.where.url
        local list = listed(args, name, "/templates", { limit = 100 })
        return { name = name, verdict = #list > 0 and "pass" or "fail", measured = #list, limit = 1, unit = "templates",
            text = #list > 0 and name .. " answers" or name .. ": it answers, and has no templates" }
    end,
    sample = function(args)
        return { name = "DocuSeal at " .. args.where.url, verdict = "unknown" }
    end,
}

--- server:check(): an expectation that it answers, lets this key in, and has a template. Nothing is sent to anybody.
function Server.check(self)
    return rt.expectation(checked(self))
end

--- server:templates() → { { id, name }, … }, 100 at most.
Server.templates = rt.effect {
    name = "docuseal.templates",
    class = "read",
    args = function(self)
        return { where = self.where }
    end,
    describe = function(args)
        return "templates of DocuSeal at " .. args.where.url
    end,
    call = function(args)
        local list = {}
        for i, one in ipairs(listed(args, "templates of DocuSeal", "/templates", { limit = 100 })) do
            list[i] = { id = one.id, name = one.name }
        end
        return rt.json.array(list)
    end,
    sample = function()
        return rt.json.array {}
    end,
}

-- What belongs to an effect's submission: its submitters carry its mark.
local function submission_of(submitters)
    local list = {}
    for i, one in ipairs(service.list(submitters, "submission", "DocuSeal")) do
        list[i] = { id = one.id, email = one.email, status = one.status }
    end
    if not list[1] or not submitters[1].submission_id then
        rt.raise("protocol", "submission: what answered is no DocuSeal")
    end
    return { id = submitters[1].submission_id, submitters = list }
end

--- server:submit{ template = 12, submitters = { { email, role, name } }, send = false } → { id, submitters = { { id, email,
--- status }, … } }. With send = true DocuSeal mails them: not for a test in production.
Server.submit = service.probed {
    name = "docuseal.submit",
    args = function(self, options)
        local args = rt.options(options, { template = { "integer", required = true }, submitters = { "table", required = true },
            send = { "boolean", default = false } }, "server:submit")
        for i, one in ipairs(args.submitters) do
            args.submitters[i] = rt.options(one, { email = { "string", required = true }, role = "string", name = "string" },
                "server:submit: submitter " .. i)
        end
        if #args.submitters == 0 then
            rt.raise("usage", "server:submit: submitters is empty: nobody would sign")
        end
        args.where = self.where
        return args
    end,
    describe = function(args)
        return ("make a submission of template %s in DocuSeal%s"):format(tostring(args.template),
            args.send and ", and mail its submitters" or "")
    end,
    call = function(args, ctx)
        local submitters = {}
        for i, one in ipairs(args.submitters) do
            submitters[i] = { email = one.email, role = one.role, name = one.name, send_email = args.send,
                external_id = service.mark(ctx) }
        end
        return submission_of((ask(args, "submission", "POST", "/submissions", { json = { template_id = args.template,
            send_email = args.send, submitters = submitters } })))
    end,
    probe = function(args, ctx)
        local found = listed(args, "submitters of DocuSeal", "/submitters", { external_id = service.mark(ctx) })
        if found[1] then
            return "done", submission_of(found)
        end
        return "undone"
    end,
    sample = function()
        return { id = rt.unknown "the submission's id", submitters = rt.json.array {} }
    end,
}

local function id_of(submission, call)
    local id = type(submission) == "table" and not rt.is_unknown(submission) and submission.id or submission
    if math.type(id) ~= "integer" and not rt.is_unknown(id) then
        rt.raise("usage", ("server:%s takes what submit() returned, or a submission's id"):format(call))
    end
    return id
end

--- server:submission(submission) → { id, status = "pending" | "completed" | "declined" | "expired", submitters }, or nil: it is
--- gone.
Server.submission = rt.effect {
    name = "docuseal.submission",
    class = "read",
    args = function(self, submission)
        return { where = self.where, id = id_of(submission, "submission") }
    end,
    describe = function(args)
        return ("look at submission %s in DocuSeal"):format(tostring(args.id))
    end,
    call = function(args)
        local told, answer = ask(args, "submission " .. args.id, "GET", "/submissions/" .. args.id, { accept = { 404 } })
        if answer.status == 404 or told.archived_at ~= nil and told.archived_at ~= rt.json.null then
            return nil
        elseif told.id ~= args.id then
            rt.raise("protocol", "submission: what answered is no DocuSeal")
        end
        local list = {}
        for i, one in ipairs(told.submitters or {}) do
            list[i] = { id = one.id, email = one.email, status = one.status }
        end
        return { id = told.id, status = told.status, submitters = rt.json.array(list) }
    end,
    sample = function(args)
        return { id = args.id, status = rt.unknown "the submission's status", submitters = rt.json.array {} }
    end,
}

--- server:archive(submission): it is taken back, whether or not it was there.
Server.archive = rt.effect {
    name = "docuseal.archive",
    class = "idempotent",
    args = function(self, submission)
        return { where = self.where, id = id_of(submission, "archive") }
    end,
    describe = function(args)
        return ("take back submission %s in DocuSeal"):format(tostring(args.id))
    end,
    call = function(args)
        ask(args, "submission " .. args.id, "DELETE", "/submissions/" .. args.id, { accept = { 404 }, plain = true })
        return true
    end,
    sample = function()
        return true
    end,
}

--- server:sample{ n = 50, … }: http.sample of the API's own answers, for a rate of errors: { count, error_rate, p95, … }.
function Server.sample(self, options)
    local all = { url = self.where.url .. "/templates?limit=1", headers = { ["X-Auth-Token"] = self.where.token },
        ca = self.where.ca }
    for name, value in pairs(options or {}) do
        all[name] = value
    end
    return http.sample(all)
end

--- A DocuSeal: { url = "https://docuseal.example.com/api", token = secret "DOCUSEAL_API_KEY" } (its cloud:
--- https://api.docuseal.com). Nothing is asked yet.
function docuseal.server(options)
    local where = service.options(options, { token = { "text", required = true } }, "docuseal.server")
    service.demand(where, "url", "docuseal.server", "url = \"https://docuseal.example.com/api\"")
    return setmetatable({ where = where }, handle)
end

return docuseal
