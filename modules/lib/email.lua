-- email: messages by a mail server (SMTP). TLS is demanded and verified; a message goes to all of its recipients or to none.
local rt = select(2, ...)
local time = require "rollout.time"
require "rollout.http"

local email = {}

local native = rt.native "http"

-- What passes by itself, and surely left the message untaken.
local UNTAKEN = { connect = true, dns = true, network = true, later = true }
local TIMES, PAUSE = 3, 1000
local LONGEST = 200000

-- ---- a message, as RFC 5322 has it ----

local function lines_of(text, size)
    local lines = {}
    for at = 1, #text, size do
        lines[#lines + 1] = text:sub(at, at + size - 1)
    end
    return table.concat(lines, "\r\n")
end

-- Header text of any language: in words of 75 characters, none of which ends within a character (RFC 2047).
local function encoded(text)
    if not text:find "[^\32-\126]" and not text:find("=?", 1, true) and #text <= 70 then
        return text
    end
    local words, from = {}, 1
    while from <= #text do
        local to = from + 45 <= #text and utf8.offset(text, 0, from + 45) - 1 or #text
        words[#words + 1] = "=?UTF-8?B?" .. native.base64(text:sub(from, to)) .. "?="
        from = to + 1
    end
    return table.concat(words, "\r\n ")
end

local function one_line(text)
    return (rt.masked(rt.readable(text)):gsub("[%s%c]+", " "))
end

-- "Dana <dana@example.com>" or "dana@example.com" → { name, address }
local function address_of(text, what)
    local name, address
    if type(text) == "string" then
        name, address = text:match "^%s*(.-)%s*<([^<>]*)>%s*$"
        address = address or text:match "^%s*(.-)%s*$"
    end
    if not address or not address:find "^[^%s%c<>,;:\"@]+@[^%s%c<>,;:\"@]+$" or (name or ""):find "%c" then
        rt.raise("usage", ("%s: %s is no address such as \"Dana <dana@example.com>\""):format(what,
            type(text) == "string" and ("%q"):format(text) or "a " .. type(text)))
    end
    return { name = name and name ~= "" and name:gsub('^"(.*)"$', "%1") or nil, address = address }
end

local function addresses_of(given, what)
    local list = {}
    if rt.is_unknown(given) then -- in a plan: who it is, only the run knows
        return { { address = tostring(given) } }
    end
    for i, one in ipairs(type(given) == "table" and given or { given }) do
        list[i] = address_of(one, what)
    end
    return list
end

local function written(address)
    if not address.name then
        return address.address
    end
    local name = encoded(address.name)
    if name == address.name then
        name = '"' .. name:gsub('["\\]', "\\%0") .. '"'
    end
    return name .. " <" .. address.address .. ">"
end

local function all_written(list)
    local texts = {}
    for i, address in ipairs(list) do
        texts[i] = written(address)
    end
    return table.concat(texts, ",\r\n ")
end

local DAYS = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" } -- 1970 began on a Thursday
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

local function date_of(at)
    local year, month, day, clock = time.format(at):match "^(%d+)%-(%d+)%-(%d+)T([%d:]+)"
    return ("%s, %d %s %s %s +0000"):format(DAYS[at // 86400000 % 7 + 1], tonumber(day), MONTHS[tonumber(month)], year, clock)
end

local function part(kind, text)
    return ("Content-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"):format(kind,
        lines_of(native.base64(rt.masked(rt.readable(text))), 76))
end

local function body_of(args, mark)
    if not args.html then
        return part("plain", args.text)
    end
    local boundary = "=_" .. mark
    return ("Content-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n--%s\r\n%s--%s\r\n%s--%s--\r\n"):format(boundary, boundary,
        part("plain", args.text), boundary, part("html", args.html), boundary)
end

-- `mark` is the effect's: a message that is sent again is known again by its Message-ID.
local function message_of(args, mark)
    local lines = { "From: " .. written(args.from), "Date: " .. date_of(rt.now()), "Subject: " .. encoded(one_line(args.subject)),
        ("Message-ID: <%s@%s>"):format(mark, args.from.address:match "@(.*)$"), "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0" }
    for _, field in ipairs { { "To", args.to }, { "Cc", args.cc }, { "Reply-To", args.reply_to } } do
        if #field[2] > 0 then
            lines[#lines + 1] = field[1] .. ": " .. all_written(field[2])
        end
    end
    return table.concat(lines, "\r\n") .. "\r\n" .. body_of(args, mark)
end

local function envelope(args)
    local to, seen = {}, {}
    for _, list in ipairs { args.to, args.cc, args.bcc } do
        for _, one in ipairs(list) do
            if not seen[one.address] then
                seen[one.address] = true
                to[#to + 1] = one.address
            end
        end
    end
    return to
end

-- ---- sending ----

local function named(where)
    return (tostring(where.url):gsub("^%a+://", ""):gsub("^.*@", ""):gsub("/.*$", ""))
end

local function deliver(where, from, to, message)
    local pause = PAUSE
    for n = 1, TIMES do
        local ok, said = pcall(native.mail, { url = where.url, clear = where.tls == "none", user = where.user,
            password = where.password, bearer = where.bearer, ca = where.ca, from = from, to = to, message = message,
            timeout = where.timeout })
        if ok then
            return said
        elseif n == TIMES or type(said) ~= "table" or not UNTAKEN[said.code] then
            error(said, 0)
        end
        rt.sleep(pause)
        pause = pause * 2
    end
end

local Server = {}
local handle = rt.class("email.server", Server, function(self)
    return "mail by " .. named(self.where)
end)

local MESSAGE = { to = { "string|table", required = true }, cc = "string|table", bcc = "string|table", reply_to = "string|table",
    from = "string", subject = { "string", required = true }, text = { "string", required = true }, html = "string" }

--- server:send{ to = "dana@example.com" | { … }, subject, text, html, cc, bcc, reply_to, from } → { id, to = { addresses }, said }:
--- the server has taken it, for all of them. Text and subject may be in any language. What is no connection, or refused for now
--- (4xx), is tried again, three times in all; no message is sent twice.
Server.send = rt.effect {
    name = "email.send",
    class = "unsafe",
    args = function(self, options)
        local call = "server:send"
        local args = rt.options(options, MESSAGE, call)
        args.from = address_of(args.from or self.where.from, call .. ": from")
        for _, field in ipairs { "to", "cc", "bcc", "reply_to" } do
            args[field] = addresses_of(args[field] or {}, call .. ": " .. field)
        end
        if #args.to + #args.cc + #args.bcc == 0 then
            rt.raise("usage", call .. ": to is empty: nobody would get it")
        elseif #args.text + #(args.html or "") > LONGEST then
            rt.raise("usage", ("%s: the text is longer than %d bytes: put it where a link leads"):format(call, LONGEST))
        end
        args.where = self.where
        return args
    end,
    describe = function(args)
        return ("mail %q to %s by %s"):format(one_line(args.subject), table.concat(envelope(args), ", "), named(args.where))
    end,
    call = function(args, ctx)
        local mark = rt.sha256((ctx.dir or tostring(rt.now())) .. "\0" .. ctx.key):sub(1, 32)
        local to = envelope(args)
        local said = deliver(args.where, args.from.address, to, message_of(args, mark))
        return { id = mark .. "@" .. args.from.address:match "@(.*)$", to = rt.json.array(to), said = said }
    end,
    sample = function(args)
        return { id = rt.unknown "Message-ID", to = rt.json.array(envelope(args)), said = rt.unknown "the mail server's answer" }
    end,
}

--- A channel for `notify`: a function that mails { text = …, run = … } to those addresses. Its subject is the text's first line,
--- after playbook and environment.
function Server.channel(self, ...)
    local to = type(...) == "table" and ... or { ... }
    if #to == 0 then
        rt.raise("usage", "server:channel: the addresses that get what is told")
    end
    addresses_of(to, "server:channel")
    return function(message)
        local run, first = message.run, message.text:match "^%s*([^\r\n]*)"
        local text = message.text
        if run then
            first = ("[%s %s] %s"):format(run.playbook, run.environment, first)
            text = ("%s\n\n-- \n%s, %s, run %s"):format(text, run.playbook, run.environment, run.id)
        end
        if utf8.len(first) and utf8.len(first) > 150 then
            first = first:sub(1, utf8.offset(first, 150) - 1) .. " …"
        end
        self:send { to = to, subject = first, text = text:sub(1, (utf8.offset(text, 0, math.min(LONGEST, #text) + 1)) - 1) }
    end
end

--- Where mail is handed in: { url = "smtp://mail.example.com:587", from = "Rollouts <ops@example.com>", user, password | bearer,
--- tls = "none", ca, timeout = "30s" }. Nothing is asked yet. smtp:// demands STARTTLS, smtps:// (port 465) is TLS from the first
--- byte; tls = "none" is for a relay on this machine or in a trusted network, without a password.
function email.server(options)
    local call = "email.server"
    local where = rt.options(options, { url = { "text", required = true }, from = { "string", required = true }, user = "text",
        password = "text", bearer = "text", tls = { "string", one_of = { "none" } }, ca = "string", timeout = "duration" }, call)
    if type(where.url) == "string" and not where.url:lower():find "^smtps?://[^/]" then
        rt.raise("usage", call .. ": url is smtp://host:587 or smtps://host:465")
    elseif (where.password ~= nil or where.bearer ~= nil) and where.user == nil then
        rt.raise("usage", call .. ": a password or a token goes with user")
    elseif where.tls == "none" and where.user ~= nil then
        rt.raise("usage", call .. ": with tls = \"none\" everybody on the way could read the password")
    end
    address_of(where.from, call .. ": from")
    return setmetatable({ where = where }, handle)
end

return email
