-- redis: whether a Redis is there and well, and what stands in it. Nothing here changes it.
local native, rt = ...

local redis = {}

local function named(where)
    return "redis at " .. tostring(where.url):gsub("^%a+://", ""):gsub("^.*@", "")
end

-- The server's words, made an error that says what to do.
local function refuse(where, command, said)
    local code, hint = "refused", ""
    if said:find "^NOAUTH" then
        code, hint = "access_denied", ": it wants a password, in the URL or by `password`"
    elseif said:find "^NOPERM" then
        code, hint = "access_denied", ": the user may not do that"
    elseif said:find "^LOADING" then
        code, hint = "loading", ": it still reads its data"
    end
    rt.raise(code, ("%s: %s: %s%s"):format(named(where), command, said, hint))
end

-- The replies to several commands; the first error is raised.
local function talk(where, commands)
    local replies = native.talk { url = where.url, user = where.user, password = where.password, ca = where.ca,
        timeout = where.timeout, commands = commands }
    for i, reply in ipairs(replies) do
        if type(reply) == "table" and reply.error then
            refuse(where, commands[i][1], reply.error)
        end
    end
    return replies
end

-- "role:master\r\n…" → { role = "master", … }; numbers are numbers.
local function parsed(text)
    local info = {}
    for name, value in text:gmatch "([%w_%-]+):([^\r\n]*)" do
        local number = tonumber(value)
        info[name] = value:find "^%-?[%d.]+$" and number or value
    end
    return info
end

local Server = {}
local handle = rt.class("redis.server", Server, function(self)
    return named(self.where)
end)

--- server:ping() → { ms }: it answers, and lets these credentials in.
Server.ping = rt.effect {
    name = "redis.ping",
    class = "read",
    args = function(self)
        return { where = self.where }
    end,
    describe = function(args)
        return "ping " .. named(args.where)
    end,
    call = function(args)
        local began = rt.now()
        local reply = talk(args.where, { { "PING" } })[1]
        if reply ~= "PONG" then
            rt.raise("protocol", named(args.where) .. ": answered PING, but not with PONG: it is no Redis")
        end
        return { ms = rt.now() - began }
    end,
    sample = function(args)
        return { ms = rt.unknown("ms of " .. named(args.where)) }
    end,
}

--- server:info(section) → what INFO says, as a flat table: info.role, info.used_memory, info.connected_clients …
Server.info = rt.effect {
    name = "redis.info",
    class = "read",
    args = function(self, section)
        if section ~= nil and (type(section) ~= "string" or not section:find "^%w+$") then
            rt.raise("usage", "server:info: a section is a word, such as \"memory\"")
        end
        return { where = self.where, section = section }
    end,
    describe = function(args)
        return "INFO of " .. named(args.where)
    end,
    call = function(args)
        local info = parsed(talk(args.where, { { "INFO", args.section or "default" } })[1])
        if next(info) == nil then
            rt.raise("usage", ("%s: INFO %s is empty: there is no such section"):format(named(args.where), args.section))
        end
        return info
    end,
    sample = function(args)
        return rt.unknown("INFO of " .. named(args.where))
    end,
}

local function holds_flag(flags, wanted)
    for _, flag in ipairs(type(flags) == "table" and flags or {}) do
        if flag == wanted then
            return true
        end
    end
    return false
end

-- The server itself says which commands only read.
local function require_read(where, word)
    local told = talk(where, { { "COMMAND", "INFO", word } })[1]
    local about = type(told) == "table" and told[1]
    if not about then
        rt.raise("usage", ("%s: it knows no command %s"):format(named(where), word))
    elseif not holds_flag(about[3], "readonly") then
        rt.raise("usage", ("server:read: %s is no command that only reads, says %s"):format(word, named(where)))
    end
end

--- server:read("LLEN", "queue:mail") → what a command that only reads answers: a text, a number, a list, nil. The server is asked
--- whether it does.
Server.read = rt.effect {
    name = "redis.read",
    class = "read",
    args = function(self, ...)
        local words = { ... }
        for i = 1, select("#", ...) do
            local word = words[i]
            if type(word) == "number" then
                words[i] = tostring(word)
            elseif type(word) ~= "string" and not rt.is_secret(word) and not rt.is_unknown(word) then
                rt.raise("usage", ("server:read: word %d is a %s; expected text or a number"):format(i, type(word)))
            end
        end
        if type(words[1]) ~= "string" then
            rt.raise("usage", "server:read: the first word is the command, such as \"LLEN\"")
        end
        return { where = self.where, words = words }
    end,
    describe = function(args)
        local words = {}
        for i, word in ipairs(args.words) do
            words[i] = tostring(word)
        end
        return table.concat(words, " ") .. " of " .. named(args.where)
    end,
    call = function(args)
        require_read(args.where, args.words[1])
        local reply = talk(args.where, { args.words })[1]
        if reply == false then
            return nil
        end
        return type(reply) == "table" and rt.json.array(reply) or reply
    end,
    sample = function(args)
        return rt.unknown(args.words[1])
    end,
}

-- What is wrong with it, as { what, measured, limit, unit }; nil: nothing.
local function complaint(info, wanted)
    local most = info.maxmemory
    if info.loading == 1 then
        return "it still loads its data", "loading"
    elseif wanted.role and info.role ~= wanted.role then
        return ("it is a %s, expected %s"):format(info.role, wanted.role), info.role, wanted.role
    elseif info.role == "slave" and info.master_link_status ~= "up" then
        return "its link to the master is " .. tostring(info.master_link_status), info.master_link_status, "up"
    elseif wanted.replicas and info.connected_slaves < wanted.replicas then
        return ("it has %d replicas, expected at least %d"):format(info.connected_slaves, wanted.replicas), info.connected_slaves,
            wanted.replicas, "replicas"
    elseif wanted.saved and info.rdb_last_bgsave_status ~= "ok" then
        return "its last save failed", info.rdb_last_bgsave_status, "ok"
    elseif wanted.saved and info.aof_enabled == 1 and info.aof_last_write_status ~= "ok" then
        return "its append-only file cannot be written", info.aof_last_write_status, "ok"
    elseif wanted.memory and most and most > 0 and info.used_memory > wanted.memory * most then
        return ("%.0f%% of its memory is used, expected at most %g%%"):format(100 * info.used_memory / most, wanted.memory * 100),
            info.used_memory / most, wanted.memory, "%"
    end
end

-- No answer is a service that is down; what says nothing about it is not known.
local DOWN = { connect = true, timeout = true, reset = true, tls = true, protocol = true, access_denied = true, loading = true,
    refused = true }

local checked = rt.effect {
    name = "redis.check",
    class = "read",
    args = function(self, options)
        local wanted = rt.options(options or {}, { role = { "string", one_of = { "master", "slave" } }, replicas = "integer",
            memory = "string", saved = "boolean" }, "server:check")
        if wanted.memory then
            local percent = tonumber(wanted.memory:match "^(%d+%.?%d*)%%$")
            wanted.memory = percent and percent / 100 or rt.raise("usage", "server:check: memory is a share, such as \"80%\"")
        end
        return { where = self.where, wanted = wanted }
    end,
    describe = function(args)
        return "check " .. named(args.where)
    end,
    call = function(args)
        local name = named(args.where)
        local ok, replies = pcall(talk, args.where, { { "PING" }, { "INFO", "default" } })
        if not ok then
            local err = replies
            if type(err) ~= "table" or err.control or not (DOWN[err.code] or err.code == "dns" or err.code == "network") then
                error(err, 0)
            end
            return { name = name, verdict = DOWN[err.code] and "fail" or "unknown", measured = err.code, limit = "PONG",
                text = err.message, detail = err.message }
        end
        local info = parsed(replies[2])
        local why, measured, limit, unit = complaint(info, args.wanted)
        if not why and args.wanted.memory and (info.maxmemory or 0) == 0 then
            return { name = name, verdict = "unknown", limit = args.wanted.memory, unit = "%",
                text = name .. ": it has no maxmemory, so nobody can say how much of it is used" }
        end
        local well = ("Redis %s, %s, %s used"):format(info.redis_version, info.role, info.used_memory_human)
        return { name = name, verdict = why and "fail" or "pass", measured = why and measured or replies[1],
            limit = limit or "PONG", unit = unit, text = name .. ": " .. (why or well) }
    end,
    sample = function(args)
        return { name = named(args.where), verdict = "unknown" }
    end,
}

--- server:check{ role = "master", replicas = 1, memory = "80%", saved = true }: an expectation that it answers, has loaded its
--- data, is linked to its master where it is a replica, and what else is asked: its role, how many replicas, how much of
--- maxmemory is used, that it could save.
function Server.check(self, options)
    return rt.expectation(checked(self, options))
end

--- A Redis: its URL, or { url = "rediss://user:password@host:6379/0", user, password, ca, timeout = "10s" }. Nothing is asked
--- yet. redis:// is in the clear, rediss:// is TLS and always verified, unix:///path is a socket.
function redis.server(options)
    if type(options) ~= "table" then
        options = { url = options }
    end
    local where = rt.options(options, { url = { "text", required = true }, user = "text", password = "text", ca = "string",
        timeout = "duration" }, "redis.server")
    if type(where.url) == "string" and not where.url:find "^rediss?://" and not where.url:find "^unix:///" then
        rt.raise("usage", "redis.server: the URL begins with redis://, rediss:// or unix:///")
    end
    return setmetatable({ where = where }, handle)
end

return redis
