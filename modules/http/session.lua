-- http.session: requests that share cookies, behind a login. Cookies stay in libcurl: in no journal, log or file. A process that
-- resumes a run has none, so a session logs in when it is first used, and again where the server has forgotten it.
local rt, asked, native, http = ...

local M = {}

local sessions = {} -- by id, which is what a journal sees of one
local ids = setmetatable({}, { __mode = "k" }) -- handle → { id, inner: it is the login's own }
local count = 0

local DEFAULTS = { "headers", "bearer", "basic", "ca", "proxy", "unix_socket", "timeout", "connect_timeout", "retry", "redirects",
    "max_body", "public_only", "client" }
local OPTIONS = { url = { "string", required = true }, login = "function" }
for _, name in ipairs(DEFAULTS) do
    OPTIONS[name] = "any" -- the call that gets it checks it
end

-- The handle in an option `session`: → id, inner.
function asked.session_of(handle, where)
    local known = ids[handle]
    if not known then
        asked.fail(where, "session is what http.session returned")
    end
    return known.id, known.inner
end

--- The cookies of a request's session, or nil.
function M.jar(args)
    return args.session and sessions[args.session].jar
end

-- Two branches may do it at once: then the server knows two sessions, and the jar the later one.
local function log_in(session)
    if session.ready or not session.login then
        return false
    end
    session.login(session.inner)
    session.ready = true
    return true
end

--- Does what `send` does, logged in.
function M.exchange(args, send)
    local session = args.session and sessions[args.session]
    if not session or args.inner then
        return send(args)
    end
    local fresh = log_in(session)
    local result = send(args)
    if result.status == 401 and session.ready and not fresh then -- it has expired; a 401 is not acted upon
        session.ready = false
        if args.class == "unsafe" and result.acted then -- the 401 is another page's
            return result
        end
        log_in(session)
        result = send(args)
    end
    return result
end

-- ---- the handle ----

local methods = {}

local function options_of(self, opts, where)
    if opts ~= nil and type(opts) ~= "table" then
        asked.fail(where, "options are a table, not a %s", type(opts))
    end
    local session = sessions[ids[self].id]
    local merged = asked.with(session.defaults, opts or {})
    merged.headers = asked.with(session.defaults.headers or {}, opts and opts.headers or {})
    merged.session = self
    return merged
end

local function url_of(self, path, where)
    if type(path) ~= "string" or not (path:find "^/" or path:find "^https?://") then
        asked.fail(where, "the first argument is a path below the session's URL, such as \"/login\"")
    end
    return path:find "^/" and sessions[ids[self].id].url .. path or path
end

for _, verb in ipairs { "get", "head", "post", "put", "patch", "delete", "check", "download" } do
    local where = "session:" .. verb
    methods[verb] = function(self, path, opts)
        return http[verb](url_of(self, path, where), options_of(self, opts, where))
    end
end

function methods.request(self, method, path, opts)
    return http.request(method, url_of(self, path, "session:request"), options_of(self, opts, "session:request"))
end

local handle = rt.class("http.session", methods)

local function new_handle(id, inner)
    local made = setmetatable({}, handle)
    ids[made] = { id = id, inner = inner }
    return made
end

function M.new(options)
    local given = rt.options(options, OPTIONS, "http.session")
    local defaults = {}
    for _, name in ipairs(DEFAULTS) do
        defaults[name] = given[name]
    end
    count = count + 1
    local id = "session " .. count
    sessions[id] = {
        url = given.url:gsub("/+$", ""), login = given.login, defaults = defaults, jar = native.jar(),
        inner = new_handle(id, true),
    }
    return new_handle(id)
end

return M
