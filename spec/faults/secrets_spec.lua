-- Secrets stand nowhere: not in the state folder, not on a terminal, not in any output, not in any process's arguments,
-- while the run goes on, after it was killed, and afterwards.
local uv = require "luv"
local play = require "spec.host.play"
local leaks = require "spec.world.leaks"
local t = require "spec.helper"

local function random(bytes)
    return (uv.random(bytes):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function base64_line()
    local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return (uv.random(64):gsub(".", function(c)
        local at = c:byte() % 64 + 1
        return alphabet:sub(at, at)
    end))
end

-- For a file of variables.
local function quoted(text)
    return '"' .. text:gsub('["\\$]', "\\%0") .. '"'
end

-- What may hold them: what the playbook was told to write, and what was there before.
local OWN = { kept = true, backups = true, commanded = true, credentials = true, ["staging.env"] = true, ["log of a tool"] = true }
local function own(path)
    return OWN[path]
end

local NGINX = [[
log_format nothing "$status";
map $request_uri $token { default "%s"; }
server {
    listen 127.0.0.1:$port1;
    access_log off;
    location /login { default_type application/json; add_header X-Token "%s"; return 200 '{"token":"$token"}'; }
    location /echo { return 200 "you are $http_authorization $http_x_key with $args at $request_uri"; }
    location /body { client_max_body_size 1m; proxy_pass http://127.0.0.1:$port2; }
    location /slow { proxy_pass http://127.0.0.1:$port3; proxy_read_timeout 600s; }
    location /hook { return 200 "ok"; }
}
server {
    listen 127.0.0.1:$port2;
    access_log off;
    location / { return 200 "got it"; }
}
]]

-- Everything that the playbook needs, in one folder; the secrets are this run's alone.
local function world(secrets)
    local here = t.temp()
    local slow = t.serve(function() end)
    local server = t.nginx { http = NGINX:gsub("%%s", secrets.LOGIN, 1):gsub("%%s", secrets.HEAD, 1):gsub("%$port3", slow) }
    local database = t.mariadb { password = secrets.PASSWORD:gsub("'", "''"):gsub("\\", "\\\\") }
    database.password = secrets.PASSWORD
    local url = "http://127.0.0.1:" .. server.ports[1]
    secrets.HOOK = url .. "/hook/" .. random(16)
    secrets.PASSWORD_IN_URL = database:url():match(":([^:@]+)@")
    t.write(here .. "/commanded", secrets.COMMANDED .. "\n", "600")
    t.write(here .. "/credentials/CREDENTIAL", secrets.CREDENTIAL .. "\n", "600")
    local variables = {}
    for _, name in ipairs { "TOKEN", "SPECIAL", "KEY", "HOOK" } do
        variables[#variables + 1] = name .. "=" .. quoted(secrets[name])
    end
    t.write(here .. "/staging.env", table.concat(variables, "\n") .. "\nDATABASE_URL=" .. database:url(), "600")
    t.write(here .. "/log of a tool", ("token: %s\n%s\0%s"):format(secrets.TOKEN, secrets.KEY, secrets.SPECIAL))
    t.write(here .. "/roles", "lead: " .. play.me() .. "\n")
    t.write(here .. "/leaky.py", t.read "spec/faults/leaky/leaky.py")
    t.write(here .. "/leaky.lua", t.read "spec/faults/leaky/leaky.lua")
    t.write(here .. "/backups/.here", "")
    return here, url
end

local function some_secrets()
    return {
        TOKEN = "tok-" .. random(16), SPECIAL = "Zä/p+q&r\"s\\u%v w=?#$`'<>!:@~^{|}" .. random(8), CREDENTIAL = random(20),
        COMMANDED = "cmd_" .. random(12), INHERITED = "inherited" .. random(8), LOGIN = "login." .. random(16),
        HEAD = "head-" .. random(16), PASSWORD = "p@ss:/?#[]!$&'()*+,;=%\"\\<>^`{|}~" .. random(6),
        KEY = ("-----BEGIN PRIVATE KEY-----\n%s\n%s\n%s\n-----END PRIVATE KEY-----"):format(base64_line(), base64_line(),
            base64_line()),
    }
end

-- Root without its capabilities is a user like others.
local function read_as_user(path)
    local command = { "cat", path }
    if uv.getuid() == 0 then
        command = { "setpriv", "--bounding-set=-all", "--inh-caps=-all", "cat", path }
    end
    return t.run(command)
end

describe("secrets", function()
    it("that are printed, sent, quoted and kept in every way stand nowhere", function()
        local secrets = some_secrets()
        local here, url = world(secrets)
        local state = here .. "/state"
        local needles = leaks.needles(secrets)
        local found = {}

        local function command(...)
            return { cwd = here, timeout = 120, env = { INHERITED = secrets.INHERITED, TERM = "xterm", LC_ALL = "C.UTF-8",
                CREDENTIALS_DIRECTORY = here .. "/credentials", ROLLOUTHOST_STATE = state }, t.binary, ... }
        end

        local function search(result, what)
            leaks.search(result.out .. result.err, needles, what, found)
            return result
        end

        local started = { "leaky.lua", "--output", "json", "--env-file", "staging.env", "--set", "url=" .. url,
            "--set", "here=" .. here, "--roles", "roles" }
        search(t.run(command("plan", "leaky.lua", table.unpack(started, 4))), "the plan")
        search(t.run(command("plan", "leaky.lua", "--format", "json", table.unpack(started, 4))), "the plan in JSON")
        local watcher = leaks.watch(state, needles)
        local run = t.start(command(table.unpack(started)))
        run:wait_for('"type":"approve.begin"', 120)
        local id = run.out:match '"id":"(leaky%-[^"]+)"'
        local approved = search(t.run(command("approve", id, "--comment", "fine")), "the approval")
        assert.equal(0, approved.code, approved.out .. approved.err)
        run:wait_for('"type":"effect.begin"[^\n]-"key":"Later/is in doubt', 120)
        run:kill "sigkill"
        search(run:wait(), "the lines of JSON")
        local resumed = search(t.run(command("resume", "--output", "plain", "--env-file", "staging.env")), "the plain lines")
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        search(t.run(command("decide", id, "--retry")), "the decision")
        local terminal = command("script", "-qec", ("%s resume --env-file staging.env"):format(t.binary), here .. "/terminal")
        table.remove(terminal, 1)
        local last = search(t.run(terminal), "the terminal")
        assert.equal(3, last.code, last.out)
        for _, words in ipairs { { "show" }, { "show", "--output", "json" }, { "show", "--output", "plain" }, { "log" },
            { "runs" }, { "show", "--verify" }, { "log", id, "commands print them" }, { "doctor" } } do
            local shown = search(t.run(command(table.unpack(words))), table.concat(words, " "))
            assert.equal(0, shown.code, shown.err)
        end
        local seen = leaks.gather(watcher, found)
        leaks.search_tree(here, needles, function(path) return own(path:sub(#here + 2)) end, found)
        assert(#found == 0, table.concat(found, "\n"))
        for _, program in ipairs { "rollouthost", "rollouthost-guardian" } do
            assert(seen[program .. " without cores"], program .. " was not seen without cores")
        end
    end)

    it("fail the effect whose path or name they would corrupt, before it does anything", function()
        local play_it = [[
            local fs, sh = require "rollout.fs", require "rollout.sh"
            local word = secret "WORD"
            local name = "x" .. "sesame-open"
            local function refused(fn, ...)
                local ok, err = pcall(fn, ...)
                return not ok and err.code .. ": " .. err.message or "done"
            end
            step("files", function()
                return { refused(fs.write, name, "text"), refused(fs.mkdir, name), refused(fs.copy, "demo.lua", name),
                    refused(fs.glob, "there/*"), refused(fs.list, "there"), fs.read "demo.lua" }
            end)
            attach("demo.lua", name)
            attach("demo.lua")
            step("again", function() return sh.run("echo " .. name .. "; true").out end)
            step("the " .. name, function() end)
        ]]
        local folder = t.temp()
        t.write(folder .. "/there/sesame-open", "")
        local run = play.run(play_it, { env = { WORD = "sesame-open" }, folder = folder })
        assert.equal(1, run.code, run.out .. run.err)
        assert.matches('the name "the x‹secret WORD›" holds a secret', play.message(run), 1, true)
        local value = run:last("step.end", "files").value
        for i = 1, 5 do
            assert.matches("^masked: .* would alter it", value[i])
        end
        assert.matches('local name = "x" .. "‹secret WORD›"', value[6], 1, true)
        assert.same({ "demo.lua", "state", "there" }, t.list(folder))
        local attached = run:events "attach"
        assert.matches("its name, x‹secret WORD›, holds a secret", attached[1].payload.missing, 1, true)
        assert.equal("demo.lua", attached[2].payload.name)
        local kept = t.read(attached[2].payload.path)
        assert.is_nil(kept:find("sesame-open", 1, true))
        assert.equal(#kept, attached[2].payload.bytes)
        for _, event in ipairs(run:events "effect.begin") do -- each has its end: none would be in doubt
            assert(run:last("effect.end", event.key), event.key .. " has no end")
        end
    end)

    it("are masked for a script as well", function()
        local folder = t.temp()
        t.write(folder .. "/token", "sesame-open\n")
        local script = t.write(folder .. "/script.lua", [[
            local fs, sh = require "rollout.fs", require "rollout.sh"
            print(fs.read("token", { secret = true }), fs.read "token", sh.run { "cat", "token" }.out)
            error("it is sesame-open", 0)
        ]])
        local result = t.run { t.binary, "lua", script, cwd = folder }
        assert.equal(1, result.code)
        assert.equal("‹secret token›\t‹secret token›\n\t‹secret token›\n\n", result.out)
        assert.matches("it is ‹secret token›", result.err, 1, true)
        assert.is_nil((result.out .. result.err):find("sesame", 1, true))
    end)

    it("are out of reach of other processes of the same user", function()
        local path, folder = t.playbook('playbook "quiet" { environments = { "staging" } } step("a", function() '
            .. 'require("rollout.sh").run "true" end) wait "1m"', "quiet")
        local run = t.start_host { path, "--output", "json", state = folder .. "/state" }
        run:wait_for '"wait.begin"'
        local id = run.out:match '"id":"(quiet%-[^"]+)"'
        local guardian = t.read(("%s/state/runs/%s/spool/ledger"):format(folder, id)):match "guardian (%d+)"
        assert.equal(0, read_as_user("/proc/self/environ").code)
        assert.equal(1, read_as_user(("/proc/%d/environ"):format(run.pid)).code)
        assert.equal(1, read_as_user(("/proc/%s/environ"):format(guardian)).code)
        run:kill "sigint"
        run:wait()
    end)
end)
