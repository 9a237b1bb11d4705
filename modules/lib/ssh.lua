-- ssh: commands and files on other machines, by the user's own OpenSSH with the keys, hosts and settings that it has. One
-- connection a host is opened and shared. A change leaves a record over there (~/.cache/rollouthost): it runs on when the
-- connection breaks, is found again, and is never begun twice.
local _, rt = ...
local fs, shell = require "rollout.fs", require "rollout.ssh_shell"
local sh = rt.native "sh" -- with identifiers of our own: what was begun for one host is never taken for another's

local ssh = {}

local OPTIONS = {
    user = "string", port = "integer", key = "string", config = "string", known_hosts = "string", jump = "string", env = "table",
    cwd = "string", connect_timeout = { "duration", default = 10000 }, alive = { "duration", default = 30000 },
    timeout = { "duration", default = 600000 },
}
local COMMAND = { cwd = "string", env = "table", stdin = "text", timeout = "duration", ok = "table", capture = "size" }
local CHANGE = { cwd = "string", env = "table", stdin = "text", timeout = "duration", ok = "table", capture = "size",
    destructive = "string" }
-- What remains for the other side to end what has taken too long, before this side stops waiting.
local SLACK_MS = 20000

-- ---- the connection ----

local opened = {} -- by control path: { where, at = when it was last seen open }
-- Within this time it is taken for open still; where it is not, ssh makes a connection of its own.
local FRESH_MS = 15000

local function named(where)
    return (where.user and where.user .. "@" or "") .. where.host .. (where.port and ":" .. where.port or "")
end

-- In ~/.ssh, where nobody else can put a socket; one a run, since keys and settings may be others'.
local function control_path(where)
    local parts = { run.id, where.host }
    for _, name in ipairs { "user", "port", "key", "config", "known_hosts", "jump" } do
        parts[#parts + 1] = name .. "=" .. tostring(where[name])
    end
    return "~/.ssh/rh-" .. rt.sha256(table.concat(parts, "\n")):sub(1, 20)
end

local function options_of(where)
    local seconds = math.ceil(where.connect_timeout / 1000)
    local argv = { "-o", "BatchMode=yes", "-o", "ConnectTimeout=" .. seconds, "-o", "ServerAliveCountMax=3",
        "-o", "ServerAliveInterval=" .. math.max(1, where.alive // 3000), "-o", "ControlPath=" .. control_path(where) }
    local function add(...)
        table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
    end
    if where.config then add("-F", where.config) end
    if where.key then add("-i", where.key, "-o", "IdentitiesOnly=yes") end
    if where.known_hosts then add("-o", "UserKnownHostsFile=" .. where.known_hosts) end
    if where.jump then add("-J", where.jump) end
    return argv, add
end

local serial = 0

local function execute(argv, ctx, more)
    serial = serial + 1
    return sh.run { id = ("%s-%d-%d"):format(ctx.id, rt.now(), serial), argv = argv, input = more.input, timeout = more.timeout,
        capture = more.capture or 1024 * 1024, log = more.log and ctx.log, grace = 2000 }
end

local function command_to(where, ...)
    local argv, add = options_of(where)
    table.insert(argv, 1, "ssh")
    add(...)
    if where.user then add("-l", where.user) end
    if where.port then add("-p", tostring(where.port)) end
    return argv, add
end

local function words_of(ran)
    local text = rt.last_lines(ran.err, 2)
    return text ~= "" and text:gsub("%.$", "") or "it said nothing"
end

-- Opens the connection that all commands share. What fails here has surely not begun.
local function connect(where, ctx)
    local path = control_path(where)
    local there = opened[path]
    if there and rt.now() - there.at < FRESH_MS then
        return
    elseif there then
        local argv, add = command_to(where, "-O", "check")
        add("--", where.host)
        if execute(argv, ctx, { timeout = 5000 }).code == 0 then
            there.at = rt.now()
            return
        end
    end
    execute({ "sh", "-c", shell.FOLDER }, ctx, { timeout = 5000 }) -- where it cannot, ssh says what it lacks
    local argv, add = command_to(where, "-M", "-N", "-f", "-o", "ControlPersist=120")
    add("--", where.host)
    local ran = execute(argv, ctx, { timeout = where.connect_timeout + SLACK_MS })
    if ran.code ~= 0 then
        rt.raise("connect", ("%s cannot be reached by ssh: %s. Try `%s`"):format(named(where),
            ran.timed_out and "no answer within " .. rt.show_duration(where.connect_timeout + SLACK_MS) or words_of(ran),
            shell.by_hand(where)))
    end
    opened[path] = { where = where, at = rt.now() }
end

-- What the records of this run begin with over there.
local function run_mark()
    return "rollouthost-" .. rt.sha256(run.id):sub(1, 12)
end

local function mark_of(ctx, where)
    return run_mark() .. "-" .. rt.sha256(ctx.key .. named(where)):sub(1, 16)
end

-- Runs a script over there: { out, err, ms, truncated }, state, code; state nil: the connection broke before the end.
local function converse(where, ctx, script, mark, limits)
    connect(where, ctx)
    local argv, add = command_to(where, "-T", "-o", "ControlMaster=no")
    add("--", where.host, "sh")
    -- In braces, which a shell reads to their end before it begins: nothing is done of a script that was cut off.
    local ran = execute(argv, ctx, { input = "{\n" .. script .. "}\n", timeout = limits.timeout + SLACK_MS,
        capture = limits.capture, log = true })
    if ran.code ~= 0 and opened[control_path(where)] then
        opened[control_path(where)].at = 0
    end
    local out, state, code = ran.out:match("^(.*)\n" .. mark:gsub("%-", "%%-") .. " (%a+) (%w*)\n$")
    return { code = code and math.tointeger(tonumber(code)), out = out or ran.out, err = ran.err, ms = ran.ms,
        truncated = ran.truncated }, state, code, ran
end

-- ---- running ----

local function judged(where, command, result, code)
    if code == "timeout" then
        rt.raise("timeout", ("%s: `%s` was still running after %s and was ended"):format(named(where), shell.line_of(command),
            rt.show_duration(command.timeout)))
    end
    for _, fine in ipairs(command.ok) do
        if result.code == fine then
            return result
        end
    end
    local said = rt.last_said(result, 8)
    rt.raise("exit", ("%s: `%s` exited with %s%s"):format(named(where), shell.line_of(command), result.code or "no code",
        said ~= "" and ":\n  " .. said or ", and printed nothing"), { code = result.code, host = where.host })
end

local function read_there(where, command, ctx)
    local mark = mark_of(ctx, where)
    local result, state, code, ran = converse(where, ctx, shell.reading(command, mark), mark, command)
    if not state then
        rt.raise(ran.timed_out and "timeout" or "lost_connection", ("%s: %s while `%s` was read: %s"):format(named(where),
            ran.timed_out and "it took longer than " .. rt.show_duration(command.timeout) or "the connection broke",
            shell.line_of(command), words_of(ran)))
    end
    return result, code
end

-- What became of a change: "done", result | "undone" | "unknown", why.
local function look(where, command, ctx)
    local mark = mark_of(ctx, where)
    local result, state, code = converse(where, ctx, shell.looking(mark, mark), mark, command)
    if state == "ended" then
        return "done", result, code
    end
    return state == "never" and "undone" or "unknown", state == "broken" and "it was begun and broken off" or "no answer"
end

-- What cancels this side (a deadline, a person) ends the other, too.
local function ending(where, ctx, mark)
    local guard = { armed = false }
    return setmetatable(guard, { __close = function()
        if guard.armed then
            pcall(rt.aftermath, 10000, converse, where, ctx, shell.stopping(mark, mark), mark, { timeout = 10000 })
        end
    end })
end

-- state, result, code: "done", or "unknown" and why.
local function change_there(where, command, ctx)
    local mark = mark_of(ctx, where)
    local guard <close> = ending(where, ctx, mark)
    connect(where, ctx)
    guard.armed = true
    local result, state, code, ran = converse(where, ctx, shell.changing(command, mark, mark), mark, command)
    guard.armed = false
    if state then
        return "done", result, code
    end
    local ok, verdict, found, found_code = pcall(look, where, command, ctx)
    if ok and verdict ~= "unknown" then
        return verdict, found, found_code
    end
    return "unknown", ok and found or "the connection broke, and there is no new one: " .. words_of(ran)
end

local function change(args, ctx)
    local where, command = args.where, args.command
    local state, result, code = change_there(where, command, ctx)
    if state == "done" then
        return judged(where, command, result, code)
    elseif state == "undone" then
        rt.raise("lost_connection", ("%s: the connection broke before `%s` was begun"):format(named(where), shell.line_of(command)))
    end
    rt.doubt("lost_connection", ("%s: whether `%s` is done cannot be told: %s"):format(named(where), shell.line_of(command),
        result))
end

local function command_of(where, call, spec, command, options)
    local named_options, argv = {}, {}
    if type(command) == "table" and not rt.is_unknown(command) then
        for key, value in pairs(command) do
            if math.type(key) == "integer" then argv[key] = value else named_options[key] = value end
        end
    end
    local given = rt.options(options or named_options, spec, call)
    local made = { timeout = given.timeout or where.timeout, ok = given.ok or { 0 }, capture = given.capture, stdin = given.stdin,
        destructive = given.destructive, cwd = given.cwd or where.cwd, env = {} }
    for _, variables in ipairs { where.env or {}, given.env or {} } do
        for name, value in pairs(variables) do
            if not tostring(name):find("^[%a_][%w_]*$") then
                rt.raise("usage", ("%s: env has %q, which is no name of a variable"):format(call, tostring(name)))
            end
            made.env[name] = rt.is_secret(value) and value or tostring(value)
        end
    end
    if type(command) == "string" or rt.is_unknown(command) then
        made.shell = command
        return made
    end
    for i, word in ipairs(argv) do
        if rt.is_secret(word) then
            rt.raise("usage", ("%s: argument %d is a secret, and every user over there can read a command's arguments (ps);"
                .. " pass it with env = { NAME = … } or stdin = …"):format(call, i))
        end
        argv[i] = rt.is_unknown(word) and word or tostring(word)
    end
    if #argv == 0 then
        rt.raise("usage", call .. ": the command is empty: { \"systemctl\", \"restart\", \"backend\" }, or a text for bash")
    end
    made.argv = argv
    return made
end

local function described(args)
    return ("%s: %s"):format(named(args.where), shell.line_of(args.command))
end

local function sample(args)
    local what = described(args)
    return { code = args.command.ok[1], out = rt.unknown("output of " .. what), err = rt.unknown("error output of " .. what),
        ms = 0, truncated = false }
end

local function arguments(call, spec)
    return function(self, command, options)
        return { where = self.where, command = command_of(self.where, call, spec, command, options) }
    end
end

local function destruction(args)
    return not args.command.destructive and shell.line_of(args.command) or nil
end

-- What is fed to one that changes something is looked at like the command itself.
local function fed_destruction(args)
    local line, fed = destruction(args), args.command.stdin
    return line and type(fed) == "string" and line .. "\n" .. fed or line
end

local Host = {}

--- host:run { "systemctl", "restart", "backend" } or host:run "a text for bash" → { code, out, err, ms, truncated }. Options cwd,
--- env, stdin, timeout, ok, capture, destructive. It goes on where the connection breaks; what became of it is asked then.
Host.run = rt.effect {
    name = "ssh.run", class = "probed", args = arguments("host:run", CHANGE), describe = described, sample = sample, call = change,
    probe = function(args, ctx)
        local verdict, result, code = look(args.where, args.command, ctx)
        if verdict == "done" and not pcall(judged, args.where, args.command, result, code) then
            return "undone" -- it has ended and failed: called again, it finds that and says so
        end
        return verdict, result
    end,
    destructive = fed_destruction,
}

--- The same for what changes nothing: may stand in checks.
Host.read = rt.effect {
    name = "ssh.read", class = "read", args = arguments("host:read", COMMAND), describe = described, sample = sample,
    call = function(args, ctx)
        return judged(args.where, args.command, read_there(args.where, args.command, ctx))
    end,
    destructive = destruction,
}

local measure = rt.effect {
    name = "ssh.check", class = "read", args = arguments("host:check", COMMAND), describe = described,
    call = function(args, ctx)
        local ok, result, code = pcall(read_there, args.where, args.command, ctx)
        if not ok then
            return { said = result.message or tostring(result) }
        end
        return { code = result.code, timeout = code == "timeout", said = rt.last_said(result, 2) }
    end,
    sample = function(args) return { code = args.command.ok[1], said = "" } end,
    destructive = destruction,
}

--- An expectation: the command ends with 0 (`ok`). No connection is `unknown`: it says nothing about the service.
function Host:check(command, options)
    local found = measure(self, command, options)
    local made = command_of(self.where, "host:check", COMMAND, command, options)
    local name, verdict = described { where = self.where, command = made }, "unknown"
    if found.code then
        verdict = "fail"
        for _, fine in ipairs(made.ok) do
            verdict = fine == found.code and "pass" or verdict
        end
    end
    return rt.expectation { name = name, verdict = verdict, measured = found.code, limit = made.ok[1], unit = "exit code",
        text = ("%s %s%s"):format(name, found.code and "ended with " .. found.code or "could not be run",
            verdict ~= "pass" and found.said ~= "" and ": " .. found.said or "") }
end

-- ---- files ----

local COPY_FAILED = { [3] = "arrived damaged, and was removed again", [4] = "is a folder: name the file that is to be there" }

local function copy(where, args, ctx)
    local mark = mark_of(ctx, where)
    local wanted = fs.sha256(args.from)
    local limits = { timeout = args.timeout }
    local partial = args.to .. "." .. mark:sub(-8) .. ".partial"
    connect(where, ctx)
    local argv, add = options_of(where)
    table.insert(argv, 1, "scp")
    add("-q")
    if where.port then add("-P", tostring(where.port)) end
    add("--", args.from, ("%s%s:%s"):format(where.user and where.user .. "@" or "",
        where.host:find(":") and "[" .. where.host .. "]" or where.host, partial))
    local ran = execute(argv, ctx, { timeout = args.timeout, log = true })
    if ran.code ~= 0 then
        rt.raise(ran.timed_out and "timeout" or "copy", ("%s: %s is not there: %s"):format(named(where), args.to,
            ran.timed_out and "scp was still at it after " .. rt.show_duration(args.timeout) or words_of(ran)))
    end
    local result, state = converse(where, ctx, shell.spoken(mark) .. "p=" .. shell.quoted(partial) .. ([[ to=%s
[ "$(sha256sum <"$p" | cut -d' ' -f1)" = %s ] || { rm -f "$p"; say ended 3; exit 0; }
[ -d "$to" ] && { rm -f "$p"; say ended 4; exit 0; }
chmod %s "$p" && { sync "$p" 2>/dev/null || :; } && mv -f "$p" "$to"
say ended $?
]]):format(shell.quoted(args.to), wanted, args.mode), mark, limits)
    if state ~= "ended" or result.code ~= 0 then
        local why = COPY_FAILED[result.code] or "could not be put in its place: " .. words_of(result)
        rt.raise(result.code == 3 and "checksum" or "copy", ("%s: %s %s"):format(named(where), args.to, why))
    end
    return { host = where.host, path = args.to, sha256 = wanted, bytes = fs.stat(args.from).size }
end

local function copy_args(self, options)
    local given = rt.options(options, { from = { "string", required = true }, to = { "string", required = true },
        mode = { "string", default = "0644" }, timeout = "duration" }, "host:copy")
    if not rt.is_unknown(given.mode) and not given.mode:find("^[0-7]+$") then
        rt.raise("usage", "host:copy: mode is octal digits such as \"0640\"")
    end
    return { where = rawget(self, "where"), hosts = rawget(self, "hosts"), limits = rawget(self, "limits"), from = given.from,
        to = given.to, mode = given.mode, timeout = given.timeout or (rawget(self, "where") or self.hosts[1]).timeout }
end

--- host:copy { from = "dist.tar.gz", to = "/srv/app/dist.tar.gz", mode = "0644" } → { host, path, sha256, bytes }: the file is
--- there, whole and with the same SHA-256, or what was there before still is.
Host.copy = rt.effect {
    name = "ssh.copy", class = "idempotent", args = copy_args, exact = { "from", "to" },
    describe = function(args) return ("copy %s to %s:%s"):format(args.from, named(args.where), args.to) end,
    call = function(args, ctx) return copy(args.where, args, ctx) end,
    sample = function(args)
        return { host = args.where.host, path = args.to, sha256 = rt.unknown("SHA-256 of " .. args.from), bytes = 0 }
    end,
}

local host_class = rt.class("ssh.host", Host, function(self) return named(self.where) end)

local function where_of(address, options)
    local where = rt.options(options or {}, OPTIONS, "ssh.host")
    local user, rest = tostring(address):match("^([^@]+)@(.+)$")
    local host, port = (rest or tostring(address)):match("^([^:]+):(%d+)$")
    where.host, where.user = host or rest or tostring(address), user or where.user
    where.port = math.tointeger(tonumber(port)) or where.port
    if where.host == "" or where.host:find("^%-") or where.host:find("[%s/]") then
        rt.raise("usage", ("ssh.host: %q is no host: \"deploy@web1.example.com:22\", or a name of ~/.ssh/config"):format(
            tostring(address)))
    end
    return where
end

--- A host: "web1", "deploy@web1.example.com:2222"; { user, port, key, config, known_hosts, jump, cwd, env, connect_timeout = "10s",
--- alive = "30s": a silent connection is given up after it, timeout = "10m" }. Nothing is opened yet.
function ssh.host(address, options)
    return setmetatable({ where = where_of(address, options) }, host_class)
end

-- ---- many hosts ----

-- Calls fn(where) for the hosts, `at_once` at a time; no new one is begun when more than `may_fail` have failed.
local function each(args, fn)
    local results, at, failed, stop = rt.json.array {}, 0, 0, false
    local function worker()
        while at < #args.hosts and not stop do
            at = at + 1
            local i = at
            local where = args.hosts[i]
            local ok, result = pcall(fn, where)
            if ok then
                results[i] = result
                stop = stop or result.status == "doubt"
            else
                results[i] = { status = "failed", code = result.code, problem = result.message or tostring(result) }
                failed = failed + 1
            end
            results[i].host = named(where)
            stop = stop or failed > args.limits.may_fail
        end
    end
    local workers = {}
    for i = 1, math.min(args.limits.at_once, #args.hosts) do
        workers[i] = worker
    end
    rt.together(workers)
    for i, where in ipairs(args.hosts) do
        results[i] = results[i] or { status = "untouched", host = named(where) }
    end
    return results, failed
end

local function told(results, status)
    local parts = {}
    for _, result in ipairs(results) do
        if result.status == status then
            parts[#parts + 1] = result.host .. (result.problem and ": " .. result.problem or "")
        end
    end
    return parts
end

local function all_of(args, results, failed, what)
    local doubtful = told(results, "doubt")
    if #doubtful > 0 then
        rt.doubt("lost_connection", ("%s: cannot be told of %s"):format(what, table.concat(doubtful, "; ")))
    elseif failed > args.limits.may_fail then
        local untouched = told(results, "untouched")
        rt.raise("hosts", ("%s failed on %d of %d hosts, and %d may:\n  %s%s"):format(what, failed, #args.hosts,
            args.limits.may_fail, table.concat(told(results, "failed"), "\n  "),
            #untouched > 0 and "\n  not begun on " .. table.concat(untouched, ", ") or ""), { hosts = results })
    end
    return results
end

local function fleet_name(args)
    return #args.hosts == 1 and named(args.hosts[1]) or ("%s and %d more"):format(named(args.hosts[1]), #args.hosts - 1)
end

local function fleet_arguments(call, spec)
    return function(self, command, options)
        return { hosts = self.hosts, limits = self.limits, command = command_of(self.hosts[1], call, spec, command, options) }
    end
end

local function fleet_described(args)
    return ("%s: %s"):format(fleet_name(args), shell.line_of(args.command))
end

local function fleet_sample(args)
    local list = rt.json.array {}
    for i, where in ipairs(args.hosts) do
        list[i] = { host = named(where), status = "ok" }
    end
    return list
end

local function ok_result(result)
    return { status = "ok", code = result.code, out = result.out, err = result.err, ms = result.ms }
end

local Hosts = {}

--- The same on all hosts → { { host, status = "ok" | "failed" | "untouched", code, out, err, problem }, … }. More failures than
--- `may_fail` are an error (code `hosts`), and nothing more is begun; a host of which it cannot be told is in doubt.
Hosts.run = rt.effect {
    name = "ssh.run_all", class = "probed", args = fleet_arguments("hosts:run", CHANGE), describe = fleet_described,
    sample = fleet_sample, destructive = fed_destruction,
    call = function(args, ctx)
        local results, failed = each(args, function(where)
            local state, result, code = change_there(where, args.command, ctx)
            if state == "unknown" then
                return { status = "doubt", problem = result }
            elseif state == "undone" then
                rt.raise("lost_connection", "the connection broke before it was begun")
            end
            return ok_result(judged(where, args.command, result, code))
        end)
        return all_of(args, results, failed, shell.line_of(args.command))
    end,
    probe = function(args, ctx)
        for _, where in ipairs(args.hosts) do
            if look(where, args.command, ctx) == "unknown" then
                return "unknown"
            end
        end
        return "undone" -- called again, it takes over what is done and begins the rest
    end,
}

--- Reads on all hosts, with the same result.
Hosts.read = rt.effect {
    name = "ssh.read_all", class = "read", args = fleet_arguments("hosts:read", COMMAND), describe = fleet_described,
    sample = fleet_sample, destructive = destruction,
    call = function(args, ctx)
        local results, failed = each(args, function(where)
            return ok_result(judged(where, args.command, read_there(where, args.command, ctx)))
        end)
        return all_of(args, results, failed, shell.line_of(args.command))
    end,
}

--- Copies a file to all hosts.
Hosts.copy = rt.effect {
    name = "ssh.copy_all", class = "idempotent", args = copy_args, sample = fleet_sample, exact = { "from", "to" },
    describe = function(args) return ("copy %s to %s:%s"):format(args.from, fleet_name(args), args.to) end,
    call = function(args, ctx)
        local results, failed = each(args, function(where)
            local done = copy(where, args, ctx)
            return { status = "ok", path = done.path, sha256 = done.sha256 }
        end)
        return all_of(args, results, failed, "copy " .. args.from)
    end,
}

--- Expectations, one a host: hosts:check { "systemctl", "is-active", "backend" }.
function Hosts:check(command, options)
    local list = {}
    for i, where in ipairs(self.hosts) do
        list[i] = Host.check(setmetatable({ where = where }, host_class), command, options)
    end
    return list
end

local hosts_class = rt.class("ssh.hosts", Hosts, fleet_name)

--- Hosts: ssh.hosts({ "web1", "web2", "web3" }, { at_once = 2, may_fail = 1, … as of ssh.host }).
function ssh.hosts(addresses, options)
    local given, limits = {}, { at_once = 5, may_fail = 0 }
    for name, value in pairs(options or {}) do
        if limits[name] then
            limits[name] = value
        else
            given[name] = value
        end
    end
    if math.type(limits.at_once) ~= "integer" or limits.at_once < 1 or math.type(limits.may_fail) ~= "integer"
        or limits.may_fail < 0 then
        rt.raise("usage", "ssh.hosts: at_once is a number from 1 on, may_fail one from 0 on")
    elseif type(addresses) ~= "table" or #addresses == 0 then
        rt.raise("usage", "ssh.hosts: expects a list of hosts, { \"web1\", \"web2\" }")
    end
    local hosts = {}
    for i, address in ipairs(addresses) do
        hosts[i] = where_of(address, given)
    end
    return setmetatable({ hosts = hosts, limits = limits }, hosts_class)
end

-- With the run, what it left over there goes; what a dead process of it had opened closes by itself, and is removed after 14 days.
local close = rt.effect {
    name = "ssh.close", class = "idempotent",
    args = function() return {} end,
    describe = function() return "close ssh connections" end,
    call = function(_, ctx)
        for path, there in pairs(opened) do
            local where = there.where
            pcall(converse, where, ctx, ('rm -f "${HOME:?}/.cache/rollouthost/%s-"*\n'):format(run_mark()), run_mark(),
                { timeout = 5000 })
            local argv, add = command_to(where, "-O", "exit")
            add("--", where.host)
            execute(argv, ctx, { timeout = 5000 })
            opened[path] = nil
        end
        return true
    end,
    sample = function() return true end,
}

rt.at_run_end(function()
    if next(opened) then
        close()
    end
end)

return ssh
