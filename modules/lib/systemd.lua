-- systemd: services of this machine, by `systemctl show`, which is made for machines. A change is done when the unit runs and keeps
-- running; which start it was is known by its InvocationID.
local _, rt = ...
local sh = require "rollout.sh"

local systemd = {}

local PROPERTIES = { "Id", "LoadState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts", "InvocationID", "Type",
    "ExecMainStatus", "UnitFileState", "NeedDaemonReload", "MemoryCurrent", "ActiveEnterTimestampMonotonic" }
local POLL_MS = 250

local function argv_of(where, ...)
    local argv = table.move(where.command, 1, #where.command, 1, {})
    if where.user then
        argv[#argv + 1] = "--user"
    end
    return table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
end

local function tools_of(where)
    return sh.with { env = where.env }
end

local function number(text)
    return math.tointeger(tonumber(text or "") or nil)
end

local function status_of(where, unit, what)
    local told = tools_of(where).read(argv_of(where, "show", "--no-pager", "--property=" .. table.concat(PROPERTIES, ","), "--",
        unit), { timeout = "30s" }).out
    local found = {}
    for name, value in told:gmatch("([%w]+)=([^\n]*)") do
        found[name] = value
    end
    if not found.ActiveState or not found.LoadState then
        rt.raise("protocol", what .. ": `systemctl show` told no state; is systemd running here?")
    elseif found.LoadState == "not-found" then
        rt.raise("not_found", ("%s: there is no unit %s; `systemctl list-units --type=service` lists them"):format(what, unit))
    elseif found.LoadState ~= "loaded" then
        rt.raise("not_loaded", ("%s: unit %s is %s: `systemctl status %s` says why"):format(what, unit, found.LoadState, unit))
    end
    return { unit = unit, active = found.ActiveState, sub = found.SubState, result = found.Result, pid = number(found.MainPID),
        restarts = number(found.NRestarts) or 0, invocation = found.InvocationID ~= "" and found.InvocationID or nil,
        kind = found.Type, exit = number(found.ExecMainStatus), enabled = found.UnitFileState,
        outdated = found.NeedDaemonReload == "yes", memory = number(found.MemoryCurrent) }
end

local function runs(status)
    return status.active == "active" and (status.sub ~= "exited" or status.kind == "oneshot")
end

local function last_words(where, unit)
    local argv = table.move(where.journal, 1, #where.journal, 1, {})
    if where.user then argv[#argv + 1] = "--user" end
    table.move({ "--no-pager", "-o", "cat", "-n", "15", "-u", unit }, 1, 7, #argv + 1, argv)
    local ok, told = pcall(function() return tools_of(where).read(argv, { timeout = "10s" }).out end)
    local said = ok and told:gsub("%s+$", "") or ""
    return said ~= "" and "; it said last:\n  " .. said:gsub("\n", "\n  ") or ""
end

-- Waits until the unit has run for `stable` without being started again.
local function settled(args, what)
    local deadline, since, seen = rt.now() + args.within, nil, nil
    while true do
        local now = status_of(args.where, args.unit, what)
        if now.invocation ~= seen then
            since, seen = nil, now.invocation
        end
        since = runs(now) and (since or rt.now()) or nil
        if since and rt.now() - since >= args.stable then
            return now
        elseif now.active == "failed" or now.active == "inactive" or rt.now() >= deadline then
            rt.raise("unhealthy", ("%s: it does not keep running (%s, %s, result %s, exit %s)%s"):format(what, now.active, now.sub,
                now.result or "unknown", now.exit or "unknown", last_words(args.where, args.unit)))
        end
        rt.sleep(POLL_MS)
    end
end

local Manager = {}

local function unit_of(value, call)
    if rt.is_unknown(value) then
        return value
    elseif type(value) ~= "string" or not value:find "^[%w:_%.\\@%-]+$" or value:find "^%-" then
        rt.raise("usage", ("systemd.%s: expects a unit such as \"backend\" or \"backend.service\""):format(call))
    end
    return value:find "%.%l+$" and value or value .. ".service"
end

local function sample(args)
    return { unit = args.unit, active = args.verb == "stop" and "inactive" or "active", sub = "running", restarts = 0 }
end

--- systemd.status "backend" → { unit, active, sub, result, pid, restarts, invocation, kind, exit, enabled, outdated, memory }.
Manager.status = rt.effect {
    name = "systemd.status", class = "read",
    args = function(self, unit) return { where = self.where, unit = unit_of(unit, "status") } end,
    describe = function(args) return "systemctl show " .. tostring(args.unit) end,
    call = function(args) return status_of(args.where, args.unit, "unit " .. args.unit) end,
    sample = sample,
}

local CHANGE = { stable = { "duration", default = 3000 }, within = { "duration", default = 90000 } }

-- Whether the change has come about since `before` was looked at; a reload leaves no trace, and may be done again.
local function come_about(args, now)
    if args.verb == "stop" then
        return now.active == "inactive" or now.active == "failed"
    elseif args.verb == "start" then
        return runs(now)
    end
    return args.verb == "restart" and runs(now) and now.invocation ~= nil and now.invocation ~= args.before
end

local change = rt.effect {
    name = "systemd.change", class = "probed",
    args = function(self, args)
        args.where = self.where
        return args
    end,
    describe = function(args) return ("systemctl %s %s"):format(args.verb, tostring(args.unit)) end,
    call = function(args)
        local what = ("systemctl %s %s"):format(args.verb, args.unit)
        local ran = tools_of(args.where).run(argv_of(args.where, args.verb, "--", args.unit), { idempotent = true,
            ok = { 0, 1, 3, 4, 5 }, timeout = ("%dms"):format(args.within) })
        if ran.code ~= 0 then
            local now = status_of(args.where, args.unit, what)
            rt.raise(now.active == "failed" and "unhealthy" or "refused", ("%s: exit %d: %s%s"):format(what, ran.code,
                (ran.err:gsub("%s+$", "")), now.active == "failed" and last_words(args.where, args.unit) or ""))
        elseif args.verb == "stop" then
            local now = status_of(args.where, args.unit, what)
            if not come_about(args, now) then
                rt.raise("unhealthy", ("%s: it is %s still"):format(what, now.active))
            end
            return now
        end
        return settled(args, what)
    end,
    probe = function(args)
        local now = status_of(args.where, args.unit, "done or not")
        if come_about(args, now) then
            return "done", args.verb == "stop" and now or settled(args, ("systemctl %s %s"):format(args.verb, args.unit))
        end
        return "undone"
    end,
    sample = sample,
}

local function changing(verb)
    return function(self, unit, options)
        local args = rt.options(options or {}, CHANGE, "systemd." .. verb)
        args.verb, args.unit = verb, unit_of(unit, verb)
        args.before = verb == "restart" and self:status(args.unit).invocation or nil
        return change(self, args)
    end
end

--- systemd.start("backend", { stable = "3s", within = "90s" }) → as status: it runs, and has kept running for `stable`.
Manager.start = changing "start"
--- systemd.restart("backend", …): a new start of it, once.
Manager.restart = changing "restart"
--- systemd.reload("backend", …): it reads its configuration anew.
Manager.reload = changing "reload"
--- systemd.stop "backend".
Manager.stop = changing "stop"

--- systemd.daemon_reload(): unit files are read anew.
Manager.daemon_reload = rt.effect {
    name = "systemd.daemon_reload", class = "idempotent",
    args = function(self) return { where = self.where } end,
    describe = function() return "systemctl daemon-reload" end,
    call = function(args)
        tools_of(args.where).run(argv_of(args.where, "daemon-reload"), { idempotent = true, timeout = "1m" })
        return true
    end,
    sample = function() return true end,
}

--- Expectations: systemd.check("backend", { restarts = 0, enabled = true, memory = "500MiB" }): it is active; systemd has started
--- it again no more often than that; it starts with the machine; it takes no more memory.
function Manager:check(unit, options)
    local given = rt.options(options or {}, { restarts = "integer", enabled = "boolean", memory = "size" }, "systemd.check")
    local now = self:status(unit)
    local checks = { rt.expectation { name = now.unit .. " is active", verdict = runs(now) and "pass" or "fail",
        measured = now.active, limit = "active", text = ("%s is %s (%s)%s"):format(now.unit, now.active, now.sub,
            now.outdated and "; its unit file has changed since: systemd.daemon_reload()" or "") } }
    if given.restarts then
        checks[#checks + 1] = rt.expect("restarts of " .. now.unit, now.restarts):at_most(given.restarts)
    end
    if given.enabled ~= nil then
        checks[#checks + 1] = rt.expect(now.unit .. " is enabled", now.enabled == "enabled"):equals(given.enabled)
    end
    if given.memory then
        checks[#checks + 1] = rt.expect("memory of " .. now.unit, now.memory):at_most(given.memory, "bytes")
    end
    return checks
end

local class = rt.class("systemd.with", Manager, function() return "systemd" end)

--- Another way to ask: { user = true: the user's own services, command = { "sudo", "-n", "systemctl" }, journal = { "sudo", "-n",
--- "journalctl" }, env }. The functions of the module are those of the system's services.
function systemd.with(options)
    return setmetatable({ where = rt.options(options or {}, { user = "boolean", env = "table",
        command = { "table", default = { "systemctl" } }, journal = { "table", default = { "journalctl" } } },
        "systemd.with") }, class)
end

local own = systemd.with {}
for name in pairs(Manager) do
    systemd[name] = function(...) return own[name](own, ...) end
end

return systemd
