local sshd = require "spec.world.sshd"
local t = require "spec.helper"

describe("ssh", function()
    local server, folder, home, config

    setup(function()
        server = sshd.start { home = t.temp() }
    end)

    before_each(function()
        folder, home = t.temp(), t.temp()
        config = server:config(folder .. "/config")
    end)

    after_each(function()
        sshd.disconnect(config)
    end)

    local HEAD = [[
        local ssh, json = require "rollout.ssh", require "rollout.json"
        playbook "spec" { environments = { "test" } }
        local web = ssh.host("%s@127.0.0.1:%d", { config = %q, env = { HOME = %q } })
        %s]]

    -- The commands' HOME is one of their own; the records are in the user's.
    local function text(body, port)
        return HEAD:format(server.user, port or server.port, config, home, body)
    end

    local function play(body, options)
        options = options or {}
        options.folder, options.state = folder, options.state or t.temp()
        return t.play(text(body, options.port), options)
    end

    local function outcome(body, options)
        return t.outcome(play('step("it", function() ' .. body .. ' end)', options))
    end

    local function verdict(check, options)
        local run = play(('gate("it", function() return %s end)'):format(check), options)
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                return event.payload.expectations[1].verdict, event.payload.text
            end
        end
        error(run.out .. run.err)
    end

    it("makes the folder of ssh's files where the user has none yet", function()
        local fresh = t.temp()
        t.write(fresh .. "/passwd", ("%s:x:%d:0::%s:/bin/sh\n"):format(server.user, t.run({ "id", "-u" }).out, fresh))
        local path = t.playbook(text [[step("it", function() return web:read({ "echo", "there" }).out end)]], "playbook", folder)
        local host = t.run { "unshare", "-m", "sh", "-c", 'mount --bind "$1/passwd" /etc/passwd || exit 99; shift; exec "$@"', "sh",
            fresh, t.binary, path, "--output", "json", env = { ROLLOUTHOST_STATE = t.temp(), PATH = os.getenv "PATH" } }
        if host.code == 99 or host.err:find "unshare" then
            pending("this machine gives no mount namespace: " .. host.err)
            return
        end
        assert.equal("there\n", t.digest_events(host).ended.it.value, host.out .. host.err)
        assert.equal("700\n", t.run({ "stat", "-c", "%a", fresh .. "/.ssh" }).out)
    end)

    it("runs words as they are, and a text by bash", function()
        local value = outcome [[
            return {
                web:run { "printf", "%s|", "two words", "it's", "$HOME", "a\nb", "" },
                web:run("false | cat; echo no", { ok = { 0, 1 } }),
                web:read { "sh", "-c", "pwd; cat; exit 3", ok = { 3 }, cwd = "/usr", stdin = "given\n" },
            }]]
        assert.equal("two words|it's|$HOME|a\nb||", value[1].out)
        assert.equal(1, value[2].code)
        assert.equal("/usr\ngiven\n", value[3].out:gsub("\n\n$", "\n") .. "")
        assert.equal(3, value[3].code)
    end)

    it("tells an exit code from a connection that is not there", function()
        local _, problem = outcome [[web:run { "sh", "-c", "echo broken >&2; exit 255" }]]
        assert.equal("exit", problem.code)
        assert.matches("exited with 255:\n  broken", problem.message)
        _, problem = outcome([[web:run { "true" }]], { port = t.free_port() })
        assert.equal("connect", problem.code)
        assert.matches("Connection refused", problem.message)
        assert.equal("pass", (verdict 'web:check { "true" }'))
        local said, why = verdict 'web:check { "sh", "-c", "echo inactive; exit 3" }'
        assert.equal("fail", said)
        assert.matches("inactive", why)
        assert.equal("unknown", (verdict('web:check { "true" }', { port = t.free_port() })))
    end)

    it("asks nothing: an unknown host", function()
        t.write(folder .. "/known", "")
        t.write(config, ("Host *\n IdentityFile %s\n UserKnownHostsFile %s\n GlobalKnownHostsFile /dev/null\n"):format(
            server.key, folder .. "/known"))
        local _, problem = outcome [[web:run { "true" }]]
        assert.equal("connect", problem.code)
        assert.matches("Host key verification failed", problem.message)
    end)

    it("keeps secrets out of arguments, journal and logs", function()
        local run = play([[step("it", function()
            local seen = web:run({ "sh", "-c",
                "echo ${#TOKEN}; cat /proc/$$/cmdline /proc/$PPID/cmdline | tr '\\0' ' '; echo $TOKEN" },
                { env = { TOKEN = secret "TOKEN" } })
            local read = web:read({ "cat" }, { stdin = secret "TOKEN" })
            return { seen.out, read.out }
        end)]], { env = { TOKEN = "hunter2'\"$x`y" } })
        assert.equal(0, run.code, run.out .. run.err)
        assert.matches("^13\n", run.ended.it.value[1])
        assert.equal("", t.run { "grep", "-rlF", "hunter2", run.state, folder }.out)
        local _, problem = outcome([[web:run { "echo", secret "TOKEN" }]], { env = { TOKEN = "hunter2-hunter2" } })
        assert.matches("argument 2 is a secret", problem.message)
    end)

    it("uses one connection for all, and closes it with the run", function()
        local run = play [[step("it", function()
            local a, b = web:read { "sh", "-c", "echo $SSH_CONNECTION" }, web:run { "sh", "-c", "echo $SSH_CONNECTION" }
            return { a.out, b.out }
        end)]]
        assert.equal((run.ended.it.value[1]:gsub("%s", "")), (run.ended.it.value[2]:gsub("%s", "")))
        local port = run.ended.it.value[1]:match("^%S+ (%d+)")
        t.eventually("the connection is closed", function()
            return sshd.connections(config) == ""
        end)
        assert.is_string(port)
    end)

    it("ends what takes too long", function()
        local _, problem = outcome([[web:run({ "sleep", "61.5" }, { timeout = "1s" })]])
        assert.equal("timeout", problem.code)
        assert.equal("", t.run({ "sh", "-c", "ps -eo args | grep '^[s]leep 61.5'" }).out)
    end)

    it("ends the other side when its step's time is up", function()
        local run = play [[step("it", { timeout = "2s" }, function() web:run { "sh", "-c", "sleep 62.5; echo done" } end)]]
        assert.equal("timeout", run.ended.it.error.code, run.out)
        assert.equal("", t.run({ "sh", "-c", "ps -eo args | grep '^[s]leep 62.5'" }).out)
    end)

    -- Ends the server's side of all connections.
    local function cut()
        t.run { "sh", "-c", ("ps -o pid= --ppid %d | xargs -r kill -9"):format(server.process.pid) }
    end

    it("finds a command again whose connection broke", function()
        local path, state = t.playbook(text([[step("it", function()
            return web:run({ "sh", "-c", "echo once >>" .. run.inputs.file .. "; sleep 2; echo done" }).out end)]]):gsub(
            'environments', 'inputs = { file = { type = "string" } }, environments'), "playbook", folder), t.temp()
        local file = folder .. "/ran"
        local host = t.start_host { path, "--set", "file=" .. file, "--output", "json", state = state, cwd = folder }
        t.eventually("it has begun", function() return t.exists(file) end)
        cut()
        host:wait()
        local run = t.digest_events(host)
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("done\n", run.ended.it.value)
        assert.equal("once\n", t.read(file))
    end)

    it("finds a command again after the host was killed", function()
        local path, state = t.playbook(text([[step("it", function()
            return web:run({ "sh", "-c", "echo once >>ran; sleep 2; echo done" }, { cwd = "FOLDER" }).out end)]]):gsub(
            "FOLDER", folder), "playbook", folder), t.temp()
        local host = t.start_host { path, "--output", "json", state = state, cwd = folder }
        t.eventually("it has begun", function() return t.exists(folder .. "/ran") end)
        host:kill "sigkill"
        host:wait()
        local run = t.digest_events(t.host { "resume", "--output", "json", state = state, cwd = folder })
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("done\n", run.ended.it.value)
        assert.equal("once\n", t.read(folder .. "/ran"))
    end)

    it("is in doubt about a command that was broken off, and never begins it by itself", function()
        local path, state = t.playbook(text([[step("it", function()
            return web:run({ "sh", "-c", "echo $$ $PPID >>ran; exec sleep 60" }, { cwd = "FOLDER" }).out end)]]):gsub(
            "FOLDER", folder), "playbook", folder), t.temp()
        local host = t.start_host { path, "--output", "json", state = state, cwd = folder }
        t.eventually("it has begun", function() return t.exists(folder .. "/ran") and t.read(folder .. "/ran"):find "\n" end)
        cut()
        -- as a reboot would: all of it, with no time to leave a record
        local pid, parent = t.read(folder .. "/ran"):match("(%d+) (%d+)")
        local group = t.run({ "ps", "-o", "ppid=", "-p", parent }).out:match("%d+")
        t.run { "sh", "-c", ("kill -9 $(ps -o ppid= -p %s) %s %s %s"):format(group, group, parent, pid) }
        host:wait()
        assert.equal(7, host.code, host.out .. host.err)
        assert.matches("whether .* is done cannot be told: it was begun and broken off", host.out)
        assert.equal(7, t.host({ "resume", state = state, cwd = folder }).code)
        assert.equal(1, select(2, t.read(folder .. "/ran"):gsub("\n", "")))
    end)

    it("copies a file whole, or leaves what is there", function()
        t.write(folder .. "/dist", ("x"):rep(100000))
        local value, wrong = outcome(('return web:copy { from = "dist", to = %q, mode = "0600" }'):format(folder .. "/there it's"))
        assert.equal(100000, value and value.bytes, wrong and wrong.message)
        assert.equal(("x"):rep(100000), t.read(folder .. "/there it's"))
        local _, problem = outcome 'web:copy { from = "dist", to = "/nowhere/at/all" }'
        assert.equal("copy", problem.code)
        assert.equal("", t.run({ "sh", "-c", "ls " .. folder .. "/*.partial 2>/dev/null" }).out)
    end)

    it("works through many hosts, a few at once, and stops at too many failures", function()
        local body = [[local fleet = ssh.hosts({ "127.0.0.1:PORT", "localhost:PORT", "127.0.0.1:CLOSED", "localhost:CLOSED",
            "127.0.0.1:PORT" }, { config = CONFIG, at_once = %d, may_fail = %d, user = %q })
            step("it", function() return fleet:run { "echo", "here" } end)]]
        t.write(server.known_hosts, (t.read(server.known_hosts):gsub("^%S+", "%0,[localhost]:" .. server.port)))
        local closed = t.free_port()
        local function fleet(at_once, may_fail)
            return t.outcome(play((body:gsub("PORT", server.port):gsub("CLOSED", closed):gsub("CONFIG", ("%q"):format(config)))
                :format(at_once, may_fail, server.user)))
        end
        local value = fleet(2, 2)
        local states = {}
        for i, one in ipairs(value) do states[i] = one.status end
        assert.same({ "ok", "ok", "failed", "failed", "ok" }, states)
        assert.equal("here\n", value[5].out)
        local _, problem = fleet(1, 0)
        assert.equal("hosts", problem.code)
        assert.matches("failed on 1 of 5 hosts, and 0 may", problem.message)
        assert.equal("untouched", problem.detail.hosts[4].status)
    end)
end)
