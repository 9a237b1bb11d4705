-- pm2: node applications under PM2. It is asked by `pm2 jlist`; a change is done when every instance runs and keeps running.
local _, rt = ...
local sh, json = require "rollout.sh", require "rollout.json"

local pm2 = {}

-- What pm2 tells of a process holds all of its variables, secrets too: only what is needed leaves the pipe. Before the list it
-- may print that it starts its daemon.
local PICK = [[
let text = ""; process.stdin.on("data", (part) => text += part).on("end", () => {
    for (const line of text.split("\n").reverse()) {
        let list; try { list = JSON.parse(line) } catch { continue }
        if (!Array.isArray(list)) continue
        console.log(JSON.stringify(list.map(({ name, pid, pm_id, monit, pm2_env: e }) => ({ name, id: pm_id, pid,
            status: e.status, restarts: e.restart_time, unstable: e.unstable_restarts, started: e.pm_uptime,
            cpu: monit && monit.cpu, memory: monit && monit.memory, version: e.version,
            out_log: e.pm_out_log_path, err_log: e.pm_err_log_path }))))
        return
    }
    process.exitCode = 3
})]]

local POLL_MS = 250

local function tools_of(where)
    local env = {}
    for name, value in pairs(where.env or {}) do
        env[name] = value
    end
    env.PM2_HOME = where.home or env.PM2_HOME
    env.PM2_DISCRETE_MODE = "true"
    return sh.with { cwd = where.cwd, env = env }
end

local function argv_of(where, ...)
    local argv = table.move(where.command, 1, #where.command, 1, {})
    return table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
end

local function list(where)
    local argv = { "bash", "--norc", "-o", "pipefail", "-c", [["$@" | node -e "$PICK"]], "bash" }
    table.move(argv_of(where, "jlist"), 1, #where.command + 1, #argv + 1, argv)
    local tools = tools_of(where).with { env = { PICK = PICK } }
    local told = tools.read(argv, { timeout = "1m", capture = "4MiB" }).out
    local ok, found = pcall(json.decode, told)
    if not ok or type(found) ~= "table" then
        rt.raise("protocol", "`pm2 jlist` told no list of processes; does it run by hand?")
    end
    return rt.json.array(found)
end

local function instances(where, name)
    local found, names = {}, {}
    for _, one in ipairs(list(where)) do
        names[#names + 1] = one.name
        if one.name == name then
            found[#found + 1] = one
        end
    end
    return found, names
end

local function demand(where, name)
    local found, names = instances(where, name)
    if #found == 0 then
        local hint = rt.suggest(name, names)
        rt.raise("not_found", ("pm2 has no process %q%s"):format(name, hint and ": " .. hint
            or #names > 0 and "; there are " .. table.concat(names, ", ") or ": it has none at all; is PM2_HOME (home) right?"))
    end
    return found
end

local function last_words(where, one)
    if not one.err_log then
        return ""
    end
    local ran = tools_of(where).read({ "tail", "-n", "15", one.err_log }, { ok = { 0, 1 } })
    local said = ran.out:gsub("%s+$", "")
    return said ~= "" and "; it said last:\n  " .. said:gsub("\n", "\n  ") or ""
end

-- Waits until every instance has run for `stable` without being started again.
local function settled(where, name, args, what)
    local deadline, restarts = rt.now() + args.within, {}
    while true do
        local steady, troubled = true, nil
        for _, one in ipairs(demand(where, name)) do
            restarts[one.id] = restarts[one.id] or one.restarts
            local runs = one.status == "online" and rt.now() - (one.started or rt.now()) >= args.stable
            steady = steady and runs
            if one.status == "errored" or one.status == "stopped" or one.restarts > restarts[one.id] + 2 then
                troubled = one
            end
        end
        if steady then
            return demand(where, name)
        elseif troubled or rt.now() >= deadline then
            local one = troubled or demand(where, name)[1]
            rt.raise("unhealthy", ("%s: it does not keep running (%s, started again %d times)%s"):format(what, one.status,
                one.restarts - (restarts[one.id] or 0), last_words(where, one)))
        end
        rt.sleep(POLL_MS)
    end
end

local function shown(found)
    local all = rt.json.array {}
    for i, one in ipairs(found) do
        all[i] = { id = one.id, pid = one.pid, status = one.status, restarts = one.restarts, version = one.version }
    end
    return all
end

local CHANGE = { stable = { "duration", default = 3000 }, within = { "duration", default = 60000 } }

local function change(verb, spec, words, wanted)
    return rt.effect {
        name = "pm2." .. verb, class = "idempotent",
        args = function(self, name, options)
            local all = {}
            for _, part in ipairs { CHANGE, spec } do
                for key, kind in pairs(part) do all[key] = kind end
            end
            local args = rt.options(options or {}, all, "pm2." .. verb)
            if type(name) ~= "string" and not rt.is_unknown(name) then
                rt.raise("usage", ("pm2.%s: expects the name of a process, as `pm2 list` shows it"):format(verb))
            end
            args.where, args.name = self.where, name
            return args
        end,
        describe = function(args) return ("pm2 %s %s"):format(verb, tostring(args.name)) end,
        call = function(args)
            if not args.config then
                demand(args.where, args.name)
            end
            tools_of(args.where).run(argv_of(args.where, table.unpack(words(args))), { idempotent = true,
                timeout = ("%dms"):format(args.within) })
            if wanted == "stopped" then
                for _, one in ipairs(demand(args.where, args.name)) do
                    if one.status ~= "stopped" and one.status ~= "errored" then
                        rt.raise("unhealthy", ("pm2 stop %s: instance %d is %s"):format(args.name, one.id, one.status))
                    end
                end
                return shown(demand(args.where, args.name))
            end
            return shown(settled(args.where, args.name, args, ("pm2 %s %s"):format(verb, args.name)))
        end,
        sample = function()
            return { { id = 0, pid = rt.unknown "pid", status = wanted, restarts = rt.unknown "restarts" } }
        end,
    }
end

local function updated(verb)
    return function(args)
        return args.update_env and { verb, args.name, "--update-env" } or { verb, args.name }
    end
end

local Daemon = {}

--- pm2.start("backend", { config = "ecosystem.config.js", environment = "production", stable = "3s", within = "1m" }): starts
--- what is there already, or what the file describes, and waits until it keeps running → { { id, pid, status, restarts, version
--- }, … }.
Daemon.start = change("start", { config = "string", environment = "string" }, function(args)
    if not args.config then
        return { "start", args.name }
    end
    local words = { "start", args.config, "--only", args.name }
    return args.environment and table.move({ "--env", args.environment }, 1, 2, 5, words) or words
end, "online")

--- pm2.restart("backend", { update_env, stable, within }); update_env hands on this playbook's `env`.
Daemon.restart = change("restart", { update_env = "boolean" }, updated "restart", "online")

--- pm2.reload("backend", …): one instance after the other, for cluster mode without an interruption.
Daemon.reload = change("reload", { update_env = "boolean" }, updated "reload", "online")

--- pm2.stop "backend".
Daemon.stop = change("stop", {}, function(args) return { "stop", args.name } end, "stopped")

--- pm2.list() → { { name, id, pid, status, restarts, unstable, started, cpu, memory, version, out_log, err_log }, … }.
Daemon.list = rt.effect {
    name = "pm2.list", class = "read",
    args = function(self) return { where = self.where } end,
    describe = function() return "pm2 jlist" end,
    call = function(args) return list(args.where) end,
    sample = function() return rt.json.array {} end,
}

--- Expectations: pm2.check("backend", { instances = 2, uptime = "30s", restarts = 0, memory = "500MiB" }): all instances are
--- online, for that long, were not started more often than that, and take no more memory. No such process is a fail.
function Daemon:check(name, options)
    local given = rt.options(options or {}, { instances = "integer", uptime = "duration", restarts = "integer", memory = "size" },
        "pm2.check")
    local found, now = {}, rt.now()
    for _, one in ipairs(self:list()) do
        if one.name == name then
            found[#found + 1] = one
        end
    end
    if #found == 0 then
        return rt.expectation { name = name .. " is online", verdict = "fail", measured = 0, limit = 1, unit = "instances",
            text = ("pm2 has no process %q"):format(tostring(name)) }
    end
    local online, youngest, restarts, memory = 0, math.huge, 0, 0
    for _, one in ipairs(found) do
        online = online + (one.status == "online" and 1 or 0)
        youngest = math.min(youngest, one.status == "online" and now - (one.started or now) or 0)
        restarts, memory = math.max(restarts, one.restarts or 0), math.max(memory, one.memory or 0)
    end
    local checks = { rt.expect(("instances of %s online"):format(name), online):equals(given.instances or #found) }
    if given.uptime then
        checks[#checks + 1] = rt.expect(name .. " runs for", math.tointeger(youngest) or 0):at_least(given.uptime, "ms")
    end
    if given.restarts then
        checks[#checks + 1] = rt.expect("restarts of " .. name, restarts):at_most(given.restarts)
    end
    if given.memory then
        checks[#checks + 1] = rt.expect("memory of " .. name, memory):at_most(given.memory, "bytes")
    end
    return checks
end

local class = rt.class("pm2.with", Daemon, function() return "pm2" end)

--- A PM2 of one's own: { home = PM2_HOME, cwd, env, command = { "npx", "--no", "pm2" } }. The functions of the module are those
--- of the user's own PM2.
function pm2.with(options)
    local where = rt.options(options or {}, { home = "string", cwd = "string", env = "table",
        command = { "table", default = { "pm2" } } }, "pm2.with")
    return setmetatable({ where = where }, class)
end

local own = pm2.with {}
for name in pairs(Daemon) do
    pm2[name] = function(...) return own[name](own, ...) end
end

return pm2
