-- bluegreen: two places for one application. The new release comes up in the idle one, is tried there, and gets the traffic by one
-- file that nginx or traefik reads; the old one stays up for a while, so that going back is the same switch.
local _, rt = ...
local fs, http, sh = require "rollout.fs", require "rollout.http", require "rollout.sh"

local bluegreen = {}

-- The first line of the file that is written, by which the live one is known.
local MARK = "# rollouthost: %s is live. Written by a rollout; edit the playbook instead.\n"
local POLL_MS, STEADY = 200, 3

local SPEC = { config = { "string", required = true }, colors = { "table", required = true },
    name = { "string", default = "backend" }, verify = "table", within = { "duration", default = 30000 } }

-- ---- what stands in the file ----

local function address(url)
    local rest = url:gsub("^%a+://", ""):gsub("/.*$", "")
    return rest:find(":%d+$") and rest or rest .. (url:find "^https" and ":443" or ":80")
end

local RENDER = {
    -- The variable tells which is live: `add_header X-Color $backend_color;`
    nginx = function(where, color)
        return ("upstream %s {\n    server %s;\n%s}\nmap $host $%s_color {\n    default %s;\n}\n"):format(where.name,
            address(where.colors[color]), where.extra and "    " .. where.extra .. "\n" or "",
            (where.name:gsub("%-", "_")), color)
    end,
    -- JSON is YAML, and its strings are quoted.
    traefik = function(where, color)
        return rt.json.encode({ http = { services = { [where.name] = { loadBalancer = {
            servers = { { url = where.colors[color] } } } } } } }, { pretty = true }) .. "\n"
    end,
}

local function text_of(where, color)
    return MARK:format(color) .. RENDER[where.kind](where, color)
end

local function live_of(where)
    if not fs.exists(where.config) then
        rt.raise("missing", ("%s is not there: put there what is live now, by site:first(\"blue\") in a step or by hand"):format(
            where.config))
    end
    local text = fs.read(where.config)
    local color = text:match "^# rollouthost: (%S+) is live"
    if not color or not where.colors[color] then
        rt.raise("not_ours", ("%s was not written by a rollout of these places: its first line does not say which is live"):format(
            where.config))
    end
    return color, text
end

local function other_of(where, color)
    for name in pairs(where.colors) do
        if name ~= color then
            return name
        end
    end
end

-- ---- making it so ----

local function applied(where, what)
    if where.kind == "traefik" then
        return -- it watches the file
    end
    for _, command in ipairs { where.test, where.reload } do
        local ok, why = pcall(sh.run, command, { idempotent = true, timeout = "30s" })
        if not ok then
            return ("%s: %s"):format(what, why.message or tostring(why))
        end
    end
end

-- Whether it has taken effect, asked of what serves: nil where it need not be asked.
local function shows(where, color)
    if where.api then
        local answer = http.get(("%s/api/http/services/%s@file"):format(where.api, where.name), { timeout = "5s" })
        local servers = answer.json and answer.json.loadBalancer and answer.json.loadBalancer.servers
        return servers and #servers == 1 and servers[1].url == where.colors[color], "it shows " .. (servers and servers[1]
            and tostring(servers[1].url) or "status " .. answer.status)
    elseif where.verify then
        local answer = http.get(where.verify.url, { timeout = "5s", ca = where.verify.ca })
        local told = answer.headers[where.verify.header]
        return told == color, ("%s answered %d with %s: %s"):format(where.verify.url, answer.status, where.verify.header,
            told or "nothing")
    end
end

local function confirmed(where, color)
    local deadline, steady = rt.now() + where.within, 0
    while steady < STEADY and (where.api or where.verify) do
        local ok, is, said = pcall(shows, where, color)
        steady = ok and is and steady + 1 or 0
        if steady < STEADY then
            if rt.now() >= deadline then
                return ("%s has not got the traffic within %s: %s"):format(color, rt.show_duration(where.within), ok and said
                    or (type(is) == "table" and is.message or tostring(is)))
            end
            rt.sleep(POLL_MS)
        end
    end
end

local function switch(args)
    local where, color = args.where, args.color
    local before, text = nil, nil
    if not args.first or fs.exists(where.config) then
        before, text = live_of(where)
    end
    if args.first and before and before ~= color then
        rt.raise("not_ours", ("%s is there already, and %s is live: site:switch(%q) changes that"):format(where.config, before,
            color))
    end
    fs.write(where.config, text_of(where, color))
    local wrong = applied(where, "switch to " .. color) or confirmed(where, color)
    if not wrong then
        return { live = color, before = before }
    end
    -- Nothing is left half switched: what was there is put back.
    local back
    if text then
        fs.write(where.config, text)
        back = applied(where, "back to " .. tostring(before))
    end
    rt.raise("switch", wrong .. (text and (back and "\n  and going back failed, too: " .. back or "\n  " .. where.config
        .. " is as it was") or ""))
end

local Site = {}
local class = rt.class("bluegreen.site", Site, function(self) return self.where.name end)

local function color_of(self, color, call)
    if rt.is_unknown(color) or self.where.colors[color] then
        return color
    end
    local names = {}
    for name in pairs(self.where.colors) do names[#names + 1] = name end
    rt.raise("usage", ("site:%s: there is no %q; there are %s"):format(call, tostring(color), table.concat(names, " and ")))
end

--- site:live() → which has the traffic; by the file's first line.
Site.live = rt.effect {
    name = "bluegreen.live", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function(args) return "look which of " .. args.where.name .. " is live" end,
    call = function(args) return (live_of(args.where)) end,
    sample = function(args) return other_of(args.where, nil) end,
}

--- site:idle() → the other one.
function Site:idle()
    return other_of(self.where, self:live())
end

--- site:url "green" → where it listens.
function Site:url(color)
    return self.where.colors[color_of(self, color, "url")]
end

--- site:is "green": an expectation: it has the traffic.
function Site:is(color)
    local live = self:live()
    return rt.expectation { name = color .. " is live", verdict = live == color_of(self, color, "is") and "pass" or "fail",
        measured = live, limit = color, text = ("%s of %s is live"):format(live, self.where.name) }
end

local switch_effect = rt.effect {
    name = "bluegreen.switch", class = "idempotent",
    args = function(self, color, first)
        return { where = self.where, color = color_of(self, color, first and "first" or "switch"), first = first }
    end,
    describe = function(args)
        return ("%s: give the traffic to %s, by %s"):format(args.where.name, tostring(args.color), args.where.config)
    end,
    call = switch,
    sample = function(args) return { live = args.color } end,
}

--- site:switch "green" → { live, before }: the file is written whole, tested, read by the server, and where `verify` or `api`
--- is given seen to have taken effect. Otherwise what was there is put back.
function Site:switch(color)
    return switch_effect(self, color)
end

--- site:first "blue": writes the file where there is none of a rollout's yet.
function Site:first(color)
    return switch_effect(self, color, true)
end

--- A release, where steps stand: site:release("deploy", { up = function(color) … end, down = function(color) … end, smoke =
--- function(url, color) … end, hold = "1h", every = "1m", check = function(color) … end }). It brings the idle one up, tries
--- it there, switches, holds both, and stops the old one. Each is undone: the old one is brought up, gets the traffic back, the
--- new one is stopped.
function Site:release(name, options)
    local given = rt.options(options, { up = { "function", required = true }, down = { "function", required = true },
        smoke = { "function", required = true }, check = "function", hold = "duration", every = { "duration", default = 60000 },
        within = { "duration", default = 120000 }, timeout = { "duration", default = 1200000 } }, "site:release")
    local function called(part)
        return name .. ": " .. part
    end
    local function ms(value)
        return ("%dms"):format(value)
    end
    local old = step(called "look which is live", function() return self:live() end)
    local new = other_of(self.where, old)
    local function smoke()
        return given.smoke(self.where.colors[new], new)
    end
    step(called("bring up " .. new), { timeout = ms(given.timeout), undo = function() given.down(new) end }, function()
        return given.up(new)
    end)
    gate(called("try " .. new), { every = "2s", within = ms(given.within) }, smoke)
    local switched = step(called("switch to " .. new), { undo = function() self:switch(old) end }, function()
        return self:switch(new)
    end)
    if given.hold then
        soak(called("hold " .. old), { duration = ms(given.hold), every = ms(given.every) }, function()
            return given.check and given.check(new) or smoke()
        end)
    end
    step(called("stop " .. old), { timeout = ms(given.timeout), undo = function() given.up(old) end }, function()
        given.down(old)
    end)
    return switched
end

local function site(kind, options, more, call)
    local spec = {}
    for _, part in ipairs { SPEC, more } do
        for name, what in pairs(part) do spec[name] = what end
    end
    local where = rt.options(options, spec, call)
    local count = 0
    for color, url in pairs(where.colors) do
        count = count + 1
        if type(color) ~= "string" or not color:find "^[%w_%-]+$" or type(url) ~= "string"
            or not url:find "^https?://[%w%.%-%[%]:]+$" then
            rt.raise("usage", call .. ": colors = { blue = \"http://127.0.0.1:3001\", green = \"http://127.0.0.1:3002\" }")
        end
    end
    if count ~= 2 or not where.name:find "^[%w_%-]+$" then
        rt.raise("usage", call .. ": there are two colors, and the name is of letters, digits, _ and -")
    end
    if where.verify then
        where.verify = rt.options(where.verify, { url = { "string", required = true }, ca = "string",
            header = { "string", default = "x-color" } }, call .. ": verify")
        where.verify.header = where.verify.header:lower()
    end
    where.kind = kind
    return setmetatable({ where = where }, class)
end

--- Behind nginx: { config = "/etc/nginx/conf.d/backend.conf", colors = { blue = url, green = url }, name = "backend": the
--- upstream's name, for proxy_pass, and of the variable $backend_color, extra = "keepalive 16;", verify = { url, header =
--- "x-color" }: asked until it names the new one, test, reload: commands, within = "30s" }.
function bluegreen.nginx(options)
    return site("nginx", options, { extra = "string", test = { "table", default = { "nginx", "-t", "-q" } },
        reload = { "table", default = { "nginx", "-s", "reload" } } }, "bluegreen.nginx")
end

--- Behind traefik's file provider: { config = "/etc/traefik/dynamic/backend.yml", colors, name: the service's, as routers name it,
--- api = "http://127.0.0.1:8080": asked until it shows the new one, verify, within }.
function bluegreen.traefik(options)
    return site("traefik", options, { api = "string" }, "bluegreen.traefik")
end

return bluegreen
