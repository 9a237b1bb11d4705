local docker = require "spec.world.docker"
local t = require "spec.helper"

local PLAY = [[
local log = require "rollout.log"
local fs, sh, time = require "rollout.fs", require "rollout.sh", require "rollout.time"
playbook "spec" { environments = { "test" } }
local app = log.file "app.log"
return step("it", { timeout = "30s" }, function()
%s
end)
]]

local function body(text, options)
    return t.outcome(t.play(PLAY:format(text), options))
end

local function fails(code, text, options)
    local value, problem, result = body(text, options)
    assert.is_nil(value)
    assert.equal(code, problem.code, problem.message)
    return problem, result
end

-- Appends a line with the shell, as an application does.
local SAY = [[local function say(...) for _, line in ipairs { ... } do
    sh.run({ "sh", "-c", 'printf "%s\n" "$1" >> app.log', "say", line }) end end
]]

local function play(text, options)
    return body(SAY .. text, options)
end

describe("log.file", function()
    it("counts what was written since a mark", function()
        local value = play [[
            say("ERROR old", "fine")
            local mark = app:mark()
            say("ERROR one", "fine", "error two", "ERROR known and harmless")
            return { app:find("ERROR", { since = mark }),
                app:find("error", { since = mark, ignore_case = true, except = "harmless" }),
                app:find("(on|two|never)", { since = mark }).count, app:find("ERROR", { since = 0 }).count }]]
        assert.equal(2, value[1].count)
        assert.same({ "ERROR one", "ERROR known and harmless" }, value[1].lines)
        assert.equal(4, value[1].scanned)
        assert.same({ "ERROR one", "error two" }, value[2].lines)
        assert.equal(2, value[3])
        assert.equal(3, value[4])
        assert.is_false(value[1].gap)
    end)

    it("reads on, and waits for the end of a line", function()
        local value = play [[
            local mark = app:mark()
            say "one x"
            local first = app:find("x", { since = mark }).count
            sh.run "printf 'two x' >> app.log"
            local second = app:find("x", { since = mark }).count
            sh.run "printf ' and more\n' >> app.log"
            return { first, second, app:find("x", { since = mark }) }]]
        assert.equal(1, value[1])
        assert.equal(1, value[2])
        assert.same({ "one x", "two x and more" }, value[3].lines)
    end)

    it("follows a log that is renamed, once and again", function()
        local value = play [[
            say "x before"
            local mark = app:mark()
            say "x 1"
            local early = app:find("x", { since = mark }).count
            say "x 2"
            sh.run "mv app.log app.log.1; echo 'x 3' >> app.log.1"
            local between = app:find("x", { since = mark }).count
            say "x 4"
            local after = app:find("x", { since = mark }).count
            sh.run "echo 'x late, by a writer that had not noticed' >> app.log.1"
            say "x 5"
            sh.run "mv app.log.1 app.log.2; mv app.log app.log.1; sleep 0.02; echo 'x 6' > app.log"
            return { early, between, after, app:find("x", { since = mark }), app:find("x [0-9]", { since = mark }).count }]]
        assert.same({ 1, 3, 4 }, { value[1], value[2], value[3] })
        assert.equal(7, value[4].count)
        assert.equal(6, value[5]) -- by a scanner that begins at the mark now
        assert.is_false(value[4].gap)
    end)

    it("finds the way through files that are named by dates, and misses one that is compressed", function()
        local value = play [[
            local mark = app:mark()
            say "x 1"
            mark = app:mark()
            say "x 2"
            sh.run "mv app.log app.log-20261119"
            say "x 3"
            sh.run "mv app.log app.log-20261120"
            say "x 4"
            local found = app:find("x", { since = mark })
            sh.run "gzip app.log-20261120"
            local later = app:find("x [0-9]", { since = mark })
            return { found.count, found.gap, later.count, later.gap }]]
        assert.same({ 3, false, 2, true }, value)
    end)

    it("follows a log that is copied and truncated", function()
        local value = play [[
            say "a line that was there before the mark, and is long enough to be told from others"
            local mark = app:mark()
            say("x 1", "x 2")
            local early = app:find("x", { since = mark }).count
            say "x 3"
            sh.run "cp app.log app.log.1; : > app.log"
            say "x 4"
            return { early, app:find("x", { since = mark }), app:find("x [0-9]", { since = mark }) }]]
        assert.same({ 2, 4, 4 }, { value[1], value[2].count, value[3].count })
        assert.is_false(value[2].gap or value[3].gap)
    end)

    it("says that lines were lost, and then nothing passes", function()
        local text = [[
            say "a line before the mark"
            local mark = app:mark()
            say "x 1"
            app:find("x", { since = mark })
            sh.run "%s"
            say "fine"
            local x = app:none("lost", { since = mark })
            return { app:find("x", { since = mark }).gap, x.verdict, x.text,
                app:at_least(1, "lost", { since = mark }).verdict }]]
        -- Who has read it to its end has it still open: only one that begins at the mark now has lost something.
        for loss, also_open in pairs { [": > app.log"] = true, ["rm app.log"] = false,
            ["mv app.log app.log.1; gzip app.log.1"] = false,
            ["echo 'something else, longer than what was there before it' > app.log"] = true } do
            local value = play(text:format(loss))
            assert.equal(also_open, value[1], loss)
            assert.equal("unknown", value[2], loss)
            assert.matches("nobody can tell", value[3], 1, true)
            assert.equal("unknown", value[4], loss)
        end
    end)

    it("knows one log from another by its name", function()
        local value = play [[
            local mark = app:mark()
            sh.run "echo 'x' > app-error.log; echo 'x' > app.log.bak; echo x > app.logs"
            say "x"
            return app:find("x", { since = mark }).count]]
        assert.equal(1, value)
        fails("usage", [[fs.write("app.log", "x") app:find("x", { since = log.file("other.log"):mark() })]])
    end)

    it("judges: none, and at most so many within a time", function()
        local value = play [[
            local mark = app:mark()
            say("2026-11-20T09:00:01Z ERROR 1", "2026-11-20T09:00:10.5Z ERROR 2", "  at stack trace, an ERROR in it",
                "2026-11-20T09:00:59Z ERROR 3", "2026-11-20T09:01:02Z ERROR 4", "2026-11-20T09:30:00Z fine")
            local function judged(check) return { check.verdict, check.measured, check.text } end
            return {
                judged(app:none("prisma|column .* does not exist", { since = mark })),
                judged(app:none("ERROR", { since = mark })),
                judged(app:at_most(4, "ERROR", { since = mark, per = "1m" })),
                judged(app:at_most(3, "ERROR", { since = mark, per = "1m" })),
                judged(app:at_most(2, "ERROR", { since = mark, per = "20s" })),
                judged(app:at_most(5, "ERROR", { since = mark })),
                judged(app:none("silence", { since = app:mark(), alive = true })),
                judged(app:none("silence", { since = app:mark() })),
                judged(app:at_least(1, "fine", { since = mark })),
                judged(app:at_least(6, "ERROR", { since = mark })),
                judged(app:at_least(1, "silence", { since = mark })),
            }]]
        local found = {}
        for i, one in ipairs(value) do
            found[i] = { one[1], one[2] }
        end
        assert.same({ { "pass", 0 }, { "fail", 5 }, { "pass", 4 }, { "fail", 4 }, { "fail", 3 }, { "pass", 5 },
            { "unknown", 0 }, { "pass", 0 }, { "pass", 1 }, { "fail", 5 }, { "fail", 0 } }, found)
        assert.matches("app.log: 5 lines match \"ERROR\": 2026-11-20T09:00:01Z ERROR 1", value[2][3], 1, true)
        assert.matches("4 lines match \"ERROR\" within 1m until 2026-11-20T09:00:59", value[4][3], 1, true)
        assert.matches("not a line was written", value[7][3], 1, true)
        assert.equal('app.log: 1 line matches "fine" (at least 1): 2026-11-20T09:30:00Z fine', value[9][3])
        assert.equal('app.log: none of 6 lines matches "silence" (at least 1)', value[11][3])
    end)

    it("looks back by the times in the lines, also into what was rotated", function()
        local value = play [[
            local function at(seconds) return time.format(time.now() - seconds * 1000) end
            say(at(7200) .. " ERROR old", at(1200) .. " ERROR a", at(600) .. " ERROR b", "  a trace of ERROR b")
            sh.run "mv app.log app.log.1"
            say(at(300) .. " ERROR c", at(200) .. " fine")
            return { app:find("ERROR", { since = "15m" }), app:find("ERROR", { since = "1h" }).count,
                app:find("ERROR", { since = "250s" }).count, app:find("ERROR", { since = "3h" }).count }]]
        assert.equal(3, value[1].count)
        assert.matches("ERROR b", value[1].lines[1], 1, true)
        assert.same({ 4, 0, 5 }, { value[2], value[3], value[4] })
        fails("no_times", SAY .. [[say "ERROR without a time" app:find("ERROR", { since = "15m" })]])
    end)

    it("does not take a log of another zone for a silent one", function()
        for _, zone in ipairs { "-05:00", "+03:00" } do
            local text = [[
                say((time.format(time.now(), { offset = "ZONE" }):gsub("T", " "):gsub("[+-][0-9:]+$", "")) .. " ERROR")
                return log.file("app.log", { zone = "READ" }):find("ERROR", { since = "15m" }).count]]
            text = text:gsub("ZONE", zone)
            local problem = fails("no_times", SAY .. text:gsub("READ", "UTC"))
            assert.matches("say zone", problem.message, 1, true)
            assert.equal(1, play((text:gsub("READ", zone))))
        end
        fails("usage", [[log.file("app.log", { zone = "Europe/Berlin" })]])
    end)

    it("finds the beginning of a look back in a long log", function()
        local folder = t.temp()
        local lines, now = {}, os.time()
        for i = 1, 60000 do
            lines[i] = os.date("!%Y-%m-%dT%H:%M:%SZ ", now - (60000 - i)) .. "ERROR number " .. i
        end
        t.write(folder .. "/app.log", table.concat(lines, "\n") .. "\n")
        local value = body([[return app:find("ERROR", { since = "1000s" })]], { folder = folder })
        assert.is_true(value.count >= 990 and value.count <= 1000, value.count)
        assert.is_true(value.bytes < 400000, value.bytes)
    end)

    it("says what is wrong with what it was given", function()
        assert.matches("grep -E", fails("pattern", [[fs.write("app.log", "") app:find("(", { since = 0 })]]).message, 1, true)
        assert.matches("since is missing", fails("usage", [[app:find "x"]]).message, 1, true)
        fails("usage", [[app:find("x", { since = "yesterday" })]])
        fails("missing", [[app:find("x", { since = 0 })]])
        fails("usage", [[app:at_most("ERROR", 5, { since = 0 })]])
        fails("usage", [[app:at_least("ERROR", { since = 0 })]])
        fails("usage", [[app:at_least(1, "ERROR", { since = 0, per = "1m" })]])
        fails("usage", [[log.command {}]])
        fails("usage", [[app.mark()]])
    end)

    it("shows what is no text as one", function()
        local value = play [[
            say(("x %s\xC3\xA4 cut in the middle of a letter"):format(("y"):rep(397)), "x \xFF\xFE")
            return { app:find("x", { since = 0 }).lines, app:none("x", { since = 0 }).text }]]
        assert.same({ "x " .. ("y"):rep(397) .. "…", "x \u{FFFD}\u{FFFD}" }, value[1])
        assert.equal("string", type(value[2]))
    end)

    it("masks what lines hold, and cuts long ones", function()
        local value, _, result = play([[
            local password = secret "PASSWORD"
            local mark = app:mark()
            sh.run("echo \"x $PASSWORD\" >> app.log", { env = { PASSWORD = password } })
            say("x " .. ("y"):rep(10000))
            sh.run("echo \"x $PAD$PASSWORD\" >> app.log", { env = { PASSWORD = password, PAD = ("y"):rep(390) } })
            sh.run("echo \"x $PAD$PASSWORD\" >> app.log", { env = { PASSWORD = password, PAD = ("y"):rep(4084) } })
            return { app:find("x", { since = mark }), app:wait_for("x", { since = mark }) }]],
            { env = { PASSWORD = "hunter2-hunter2" } })
        assert.equal("x " .. ("y"):rep(398) .. "…", value[1].lines[2])
        assert.not_matches("hun", table.concat(value[1].lines), 1, true)
        assert.not_matches("hunter2", table.concat(value[1].lines), 1, true)
        local leaks = t.run { "grep", "-rlF", "hunter2-hunter2", result.state .. "/runs" }
        assert.equal("", leaks.out)
    end)
end)

describe("log: waiting", function()
    it("waits for a line, and not for one before the mark", function()
        local folder = t.temp()
        t.write(folder .. "/app.log", "listening\n")
        local path = t.playbook(PLAY:format [[
            local mark = app:mark()
            fs.write("marked", "")
            return app:wait_for("listening on (port )?[0-9]+", { since = mark, fail = "EADDRINUSE" }) ]], "wait", folder)
        local host = t.start_host { path, "--output", "json", state = folder .. "/state", cwd = folder }
        t.eventually("the mark", function() return t.exists(folder .. "/marked") end)
        t.write(folder .. "/new", "starting\nlistening on 8080\n")
        assert(os.rename(folder .. "/new", folder .. "/app.log"))
        host:wait()
        assert.equal(0, host.code, host.out .. host.err)
        assert.matches("listening on 8080", host.out, 1, true)
    end)

    it("fails at once on what must not come, and in time on what does not", function()
        local problem = fails("matched", SAY .. [[
            local mark = app:mark()
            say "Error: listen EADDRINUSE"
            app:wait_for("listening", { since = mark, fail = "EADDRINUSE" })]])
        assert.matches("Error: listen EADDRINUSE", problem.message, 1, true)
        problem = fails("timeout", SAY .. [[say("a", "b") app:wait_for("listening", { since = 0, timeout = "100ms" })]])
        assert.matches("it said last:\n  a\n  b", problem.message, 1, true)
        problem = fails("timeout", [[app:wait_for("listening", { since = 0, timeout = "100ms" })]])
        assert.matches("there is no such file", problem.message, 1, true)
    end)

    it("ends with its step's time", function()
        local result = t.play [[
            local log = require "rollout.log"
            playbook "spec" { environments = { "test" } }
            step("it", { timeout = "300ms" }, function() log.file("app.log"):wait_for("never", { since = 0 }) end)
        ]]
        assert.equal(1, result.code)
        assert.matches("300ms", result.out, 1, true)
    end)
end)

describe("log.command", function()
    it("counts what a command prints since the mark, on both streams, in bounded memory", function()
        local value = play [[
            local said = log.command({ "sh", "-c", "echo since $0; seq 1 300000 | sed 's/$/ ERROR/'; echo ERROR >&2", "{since}" })
            local mark = said:mark()
            local found = said:find("ERROR", { since = mark })
            return { found.count, said:find("^since", { since = mark }).lines[1], mark.at, fs.glob(".log*") }]]
        assert.equal(300001, value[1])
        assert.matches("^since %d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", value[2])
        assert.same({}, value[4])
    end)

    it("keeps a command's secrets out of its lines and of every file", function()
        local value, _, result = play([[
            local said = log.command({ "sh", "-c", "echo x $PASSWORD" }, { env = { PASSWORD = secret "PASSWORD" } })
            return said:find("x", { since = 0 }).lines]], { env = { PASSWORD = "hunter2-hunter2" } })
        assert.equal(1, #value)
        assert.not_matches("hunter2", value[1], 1, true)
        assert.equal("", t.run({ "grep", "-rlF", "hunter2-hunter2", result.state .. "/runs" }).out)
    end)

    it("takes no line twice that says that it is older", function()
        local value = play [[
            local all = log.command { "cat", "app.log" }
            sh.run "touch app.log"
            say(time.format(time.now() - 5000) .. " ERROR old")
            local mark = all:mark()
            say(time.format(time.now() + 5000) .. " ERROR new")
            return all:find("ERROR", { since = mark }).count]]
        assert.equal(1, value)
    end)

    it("fails with what the command said, and leaves nothing behind", function()
        local problem, result = fails("command", [[
            log.command({ "sh", "-c", "echo no such container >&2; exit 1" }):find("x", { since = 0 })]])
        assert.matches("no such container", problem.message, 1, true)
        for _, run in ipairs(t.list(result.state .. "/runs")) do
            for _, name in ipairs(t.list(result.state .. "/runs/" .. run)) do
                assert.not_matches("^lines", name)
            end
        end
    end)

    it("tidies up after a host that died while it read", function()
        local folder = t.temp()
        local path = t.playbook(PLAY:format [[
            return log.command({ "sh", "-c", "touch reading; until test -e go; do sleep 0.02; done; echo x; sleep 0.2" })
                :find("x", { since = 0 }).count]], "tidy", folder)
        local state = folder .. "/state"
        local host = t.start_host { path, state = state, cwd = folder }
        t.finally(function() t.write(folder .. "/go", "") end)
        t.eventually("it reads", function() return t.exists(folder .. "/reading") end)
        host:kill("sigkill")
        host:wait()
        os.remove(folder .. "/reading")
        local again = t.start_host { "resume", state = state, cwd = folder }
        t.eventually("it reads anew", function() return t.exists(folder .. "/reading") end)
        t.write(folder .. "/go", "")
        again:wait()
        assert.equal(0, again.code, again.out .. again.err)
        for _, name in ipairs(t.list(state .. "/runs/" .. t.list(state .. "/runs")[1])) do
            assert.not_matches("^lines", name)
        end
    end)
end)

describe("log.container", function()
    local engine

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
    end)

    local HEAD = [[
        local docker = require "rollout.docker"
        local engine = docker.engine()
        local web, app = engine:container "web", log.container "web"
        local function print_there(text, stream)
            web:exec({ "sh", "-c", "cat >/proc/1/fd/" .. (stream or 1) }, { stdin = text .. "\n" })
            app:wait_for(text .. "\r?$", { since = 0, timeout = "20s" })
        end
    ]]

    -- There is no docker command where the host looks for one.
    local function with(env)
        local all = { PATH = "/nowhere" }
        for _, part in ipairs { engine.env, env or {} } do
            for name, value in pairs(part) do
                all[name] = value
            end
        end
        return { env = all }
    end

    it("counts what a container prints since the mark, on both streams, restarted and made anew", function()
        engine:cli { "run", "-d", "--init", "--name", "web", "box:1" }
        local value, problem = play(HEAD .. [[
            print_there "ERROR old"
            local mark = app:mark()
            local counts = { app:find("ERROR", { since = mark }).count }
            print_there "ERROR one"
            print_there("ERROR two", 2)
            counts[2] = app:find("ERROR", { since = mark }).count
            web:restart { grace = "0s" }
            print_there "ERROR three"
            counts[3] = app:find("ERROR", { since = mark }).count
            local found = app:find("ERROR", { since = mark, per = "1h" })
            web:remove { force = true }
            engine:container(engine:create { name = "web", image = "box:1" }):start()
            print_there "ERROR four"
            local anew = app:find("ERROR", { since = mark })
            web:remove { force = true }
            return { counts, found, anew, tostring(app), fs.glob(".log*"), mark.at }]], with())
        assert.is_nil(problem and problem.message)
        assert.same({ 0, 2, 3 }, value[1])
        assert.same({ 3, false, true }, { value[2].peak, value[2].gap, value[2].stamped })
        assert.matches("^2%S+Z ERROR one$", value[2].lines[1])
        assert.same({ 1, false }, { value[3].count, value[3].gap })
        assert.same({ "log container web", {} }, { value[4], value[5] })
    end)

    it("reads a terminal's output, and a mark of a container that is still to come", function()
        local value, problem = play(HEAD .. [[
            local mark = app:mark()
            engine:container(engine:create { name = "web", image = "box:1", tty = true }):start()
            print_there "ERROR seen"
            local found = app:find("ERROR", { since = mark }).lines
            web:remove { force = true }
            return found]], with())
        assert.is_nil(problem and problem.message)
        assert.equal(1, #value)
        assert.matches("ERROR seen", value[1], 1, true)
    end)

    it("does not take for silence what was rotated away", function()
        engine:cli { "run", "-d", "--log-opt", "max-size=2k", "--log-opt", "max-file=1", "--name", "web", "box:1" }
        local value, problem = play(HEAD .. [[
            print_there "begun"
            local mark = app:mark()
            local whole = app:none("ERROR", { since = mark })
            for i = 1, 5 do
                print_there(("x"):rep(500) .. i)
            end
            return { whole, app:none("ERROR", { since = mark }) }]], with())
        engine:cli { "rm", "-f", "web" }
        assert.is_nil(problem and problem.message)
        assert.same({ "pass", "unknown" }, { value[1].verdict, value[2].verdict })
        assert.matches("lines were lost", value[2].text, 1, true)
    end)

    it("keeps secrets out of its lines, and says what is not there", function()
        engine:cli { "run", "-d", "--name", "web", "box:1" }
        local value, problem, result = play(HEAD .. [[
            web:exec({ "sh", "-c", "cat >/proc/1/fd/1" }, { stdin = "it is " .. secret "PASSWORD" .. "\n" })
            local seen = app:wait_for("it is", { since = 0, timeout = "20s" }).text
            local ok, why = pcall(function() return log.container("ghost"):find("x", { since = 0 }) end)
            local elsewhere = log.container("web", { engine = docker.engine { host = "unix:///nowhere/docker.sock" } })
            local ok2, why2 = pcall(function() return elsewhere:mark() end)
            return { seen, why.code, why2.code }]], with { PASSWORD = "hunter2-hunter2" })
        engine:cli { "rm", "-f", "web" }
        assert.is_nil(problem and problem.message)
        assert.matches("it is ‹secret PASSWORD›", value[1], 1, true)
        assert.same({ "no_container", "no_daemon" }, { value[2], value[3] })
        assert.equal("", t.run({ "grep", "-rlF", "hunter2-hunter2", result.state .. "/runs" }).out)
    end)
end)

-- A journal file, made of { seconds ago, unit, priority, message }, behind a journalctl that reads it and no other.
local function journal(folder, entries)
    local text = {}
    for i, entry in ipairs(entries) do
        text[i] = ("__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\nMESSAGE=%s\n_SYSTEMD_UNIT=%s\n"
            .. "SYSLOG_IDENTIFIER=app\nPRIORITY=%d\n_HOSTNAME=spec\n\n"):format((os.time() - entry[1]) * 1000000, i,
            ("0123456789abcdef"):rep(2), entry[4], entry[2], entry[3])
    end
    t.write(folder .. "/export", table.concat(text))
    local made = t.run { "/lib/systemd/systemd-journal-remote", "-o", folder .. "/x.journal", folder .. "/export" }
    assert(made.code == 0, made.err)
    t.write(folder .. "/bin/journalctl", ("#!/bin/sh\nexec /usr/bin/env PATH=/usr/bin:/bin journalctl --file=%s/x.journal \"$@\"\n")
        :format(folder), "755")
    return { PATH = folder .. "/bin:" .. os.getenv "PATH" }
end

describe("log.journal", function()
    it("counts what a unit wrote, by the journal's own times", function()
        local env = journal(t.temp(), {
            { 3000, "backend.service", 3, "ERROR old" }, { 100, "backend.service", 3, "ERROR one" },
            { 90, "backend.service", 6, "fine" }, { 80, "other.service", 3, "ERROR of another" },
            { 50, "backend.service", 3, "ERROR two" },
        })
        local value = body([[
            local backend = log.journal { unit = "backend.service" }
            return { backend:find("ERROR", { since = "10m", per = "1m" }), backend:find(".", { since = "10m" }).count,
                log.journal({ unit = "backend.service", priority = "err" }):find(".", { since = "10m" }).count,
                backend:find("ERROR", { since = time.now() - 60000 }).count, tostring(backend) }]], { env = env })
        assert.equal(2, value[1].count)
        assert.equal(2, value[1].peak)
        assert.matches("ERROR two", value[1].lines[2], 1, true)
        assert.same({ 3, 2, 1, "log journal of backend.service" }, { value[2], value[3], value[4], value[5] })
    end)
end)

describe("a log in checks", function()
    it("ends a soak, and counts from the same mark after a crash", function()
        local folder = t.temp()
        t.write(folder .. "/app.log", "ERROR old\n")
        local path = t.playbook([[
            local log = require "rollout.log"
            playbook "soaked" { environments = { "test" } }
            local app = log.file "app.log"
            local mark = step("mark", function() return app:mark() end)
            soak("errors", { duration = "30s", every = "200ms" }, function()
                return app:at_most(2, "ERROR", { since = mark, per = "1m" })
            end)
        ]], "soaked", folder)
        local state = folder .. "/state"
        local file = assert(io.open(folder .. "/app.log", "a"))
        local function say(what)
            file:write(os.date("!%Y-%m-%dT%H:%M:%SZ", os.time()), " ERROR ", what, "\n")
            file:flush()
        end
        local host = t.start_host { path, "--output", "json", state = state, cwd = folder }
        host:wait_for "soak.begin"
        say "one"
        host:wait_for "1 line matches"
        host:kill("sigkill")
        host:wait()
        say "two"
        local again = t.start_host { "resume", "--output", "json", state = state, cwd = folder }
        again:wait_for "2 lines match"
        say "three"
        file:close()
        again:wait(20)
        assert.equal(1, again.code, again.out .. again.err)
        assert.matches('app.log: 3 lines match \\"ERROR\\" within 1m', again.out, 1, true)
    end)
end)
