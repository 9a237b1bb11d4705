local play = require "spec.host.play"
local t = require "spec.helper"

local function refused(text, message, options)
    options = options or {}
    options.raw = true
    local result = play.run(text, options)
    assert.equal(2, result.code, result.out .. result.err)
    assert.matches(message, result.err, 1, true)
    return result
end

describe("the header", function()
    it("chooses the environment", function()
        local both = 'playbook "demo" { environments = { "staging", { "live", protected = true } } }\n'
        refused(both, "say for which environment: --env staging or --env live")
        refused(both, 'there is no environment "stagin": did you mean "staging"', { "--env", "stagin" })
        local result = play.run(both .. "note(run.environment)", { "--env", "live", raw = true })
        assert.equal("live", result:last("note").text)
        assert.is_true(result:last("run.start").protected)
        result = play.run('playbook "demo" { environments = { "production" } } note "x"', { raw = true })
        assert.is_true(result:last("run.start").protected)
    end)
    it("refuses what it does not know", function()
        refused('playbook "demo" { titel = "x" }', 'unknown option "titel": did you mean "title"')
        refused('playbook "my demo" {}', "its name is letters")
        refused('playbook "demo" { notify = { team = "x" } }', "a channel has a name and is a function")
        refused('playbook "demo" { escalation = { { "management" } } }', 'no role "management"')
        refused('playbook "demo" { roles = { lead = { "a b" } } }', '"a b" is no login name')
        refused('playbook "demo" { rollback = { budget = 15 } }', "15 has no unit")
        assert.matches("one header", play.message(play.run('playbook "again" {}')))
        refused('note "x"', "playbook")
    end)
    it("tells every problem of the inputs at once", function()
        local text = [[playbook "demo" { inputs = {
            version = { type = "string", pattern = "^v%d+$" }, percent = { type = "integer", max = 100, default = 5 } } }]]
        local result = refused(text, 'percent = "500" is more than 100', { "--set", "percent=500", "--set", "versoin=v1" })
        assert.matches('no input "versoin": did you mean "version"', result.err, 1, true)
        assert.matches("version is missing", result.err, 1, true)
        assert.is_false(t.exists(result.state .. "/runs") and #t.list(result.state .. "/runs") > 0)
    end)
    it("keeps a run's inputs over a resume", function()
        local text = [[playbook "demo" { inputs = { version = { type = "string" }, soak = { type = "duration", default = "1h" } } }
            note(run.inputs.version .. " " .. run.inputs.soak)
            gate("red", function() return expect("version", run.inputs.version):equals "v2" end)]]
        local first = play.run(text, { "--set", "version=v1", raw = true })
        assert.equal(1, first.code, first.out .. first.err)
        assert.equal("v1 1h", first:last("note").text)
        local again = play.again(first, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.matches('version is "v1"', play.message(again), 1, true)
    end)
end)

describe("run", function()
    it("is read-only, and knows its fields", function()
        for text, message in pairs {
            ["run.enviroment = 1"] = "read-only", ["note(run.enviroment)"] = 'did you mean "environment"',
            ["note(run.inputs.x)"] = 'there is no "x"', ["run.inputs.x = 1"] = "read-only",
        } do
            local result = play.run(text)
            assert.not_equal(0, result.code)
            assert.matches(message, play.message(result), 1, true)
        end
    end)
    it("tells what has begun", function()
        local result = play.run [[
            local before = run.begun "migrate"
            step("migrate", function() end)
            step("skipped", { when = false }, function() end)
            note(("%s %s %s"):format(before, run.begun "migrate", run.begun "skipped"))
        ]]
        assert.equal("false true false", result:last("note").text)
    end)
    it("has another time in each measurement", function()
        local result = play.run [[
            soak("time", { duration = "40ms", every = "20ms" }, function(m)
                return expect("time", run.now()):above(m.previous and m.previous.time or 0)
            end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
    end)
    it("has one time for all replays", function()
        local result = play.run [[
            local began = run.now()
            step("keep", function() return began end)
            gate("red", function() return false, tostring(began == step) end)
        ]]
        local again = play.again(result, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.equal(0, #again:events("observe"))
    end)
end)

describe("variables and secrets", function()
    it("are required all at once, before anything is done", function()
        local result = play.run([[
            local cfg = env.require { TOKEN = { min = 20 }, PORT = { format = "integer" }, NOT_THERE = {} }
            note "never"
        ]], { env = { TOKEN = "abcdefgh", PORT = "x" } })
        assert.not_equal(0, result.code)
        local message = play.message(result)
        for _, text in ipairs { "TOKEN has 8 characters", "PORT is not an integer", "NOT_THERE is not set" } do
            assert.matches(text, message, 1, true)
        end
        assert.is_nil((result.out .. result.err):find("abcdefgh", 1, true))
    end)
    it("hide everywhere", function()
        local result = play.run([[
            local cfg = env.require { DB = { format = "mysql" }, TOKEN = {} }
            note("database " .. cfg.DB .. " " .. cfg.TOKEN)
            note(("%s"):format(secret "TOKEN"))
            gate("red", function() return expect("text", "it was correct-" .. "horse-9"):equals "x" end)
        ]], { env = { DB = "mysql://terp:hunter2-hunter2@db/terp", TOKEN = "correct-horse-9" } })
        local notes = result:events("note")
        assert.equal("database mysql://terp:‹secret DB›@db/terp ‹secret TOKEN›", notes[1].payload.text)
        assert.equal("‹secret TOKEN›", notes[2].payload.text)
        for _, word in ipairs { "hunter2", "correct-horse" } do
            assert.is_nil((result.out .. result.err):find(word, 1, true))
            local found = t.run { "grep", "-rla", word, result.state }
            assert.equal("", found.out)
        end
    end)
    it("of a resumed run are those that it began with", function()
        local body = [[
            local cfg = env.require { APP = { public = true }, TOKEN = {}, N = { format = "integer" } }
            gate("red", function() return false, cfg.APP .. cfg.N end)
        ]]
        local first = play.run(body, { env = { APP = "one", TOKEN = "first-token", N = "1" } })
        assert.matches("red: one1", play.message(first), 1, true)
        local again = play.again(first, { "resume", env = { APP = "two", TOKEN = "second-token" } })
        assert.equal(1, again.code, again.out .. again.err)
        assert.matches("red: one1", play.message(again), 1, true)
        again = play.again(first, { "resume" })
        assert.matches("TOKEN is not set", play.message(again), 1, true)
    end)
    it("that are missing or too short are refused by name", function()
        local missing = play.run 'secret "NOT_THERE"'
        assert.matches('secret "NOT_THERE": is not set', play.message(missing), 1, true)
        local short = play.run('secret "TOKEN"', { env = { TOKEN = "abc" } })
        assert.not_equal(0, short.code)
        assert.matches("TOKEN", play.message(short), 1, true)
    end)
    it("come from a command, where nothing else has them", function()
        local body = [[
            local sh = require "rollout.sh"
            local token = secret { "TOKEN", command = { "sh", "-c", "printf 'printed-%s-it\\n' by; echo run >> opened" } }
            local bearer = "Bearer " .. token .. "!"
            note("it is " .. bearer)
            local first = step("use", function()
                return { sh.run({ "sh", "-c", 'printf %s "$T" | wc -c', env = { T = bearer } }).out,
                    sh.run({ "cat", stdin = token }).out, sh.run({ "wc", "-c", stdin = token }).out }
            end)
            note(first[1] .. first[2] .. first[3])
            note("printed-" .. "by-it")
        ]]
        local result = play.run(body)
        assert.equal(0, result.code, result.out .. result.err)
        local notes = result:events("note")
        assert.equal("it is Bearer ‹secret TOKEN›!", notes[1].payload.text)
        assert.equal("21\n‹secret TOKEN›13\n", notes[2].payload.text)
        assert.equal("‹secret TOKEN›", notes[3].payload.text)
        assert.equal("run\n", t.read(result.folder .. "/opened"))
        assert.equal("", t.run { "grep", "-rla", "printed-by-it", result.state }.out)
        result = play.run(body, { env = { TOKEN = "of-the-environment" } })
        assert.equal("printed-by-it", result:events("note")[3].payload.text)
        assert.is_false(t.exists(result.folder .. "/opened"))
    end)
    it("that a command gives are asked of it when one is used, not before", function()
        local result = play.run [[
            local sh = require "rollout.sh"
            local token = secret { "TOKEN", command = { "sh", "-c", "echo run >> opened; echo printed-by-it" } }
            step("use", { when = false }, function() sh.run { "cat", stdin = token } end)
            step("other", function() return { token = token } end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_false(t.exists(result.folder .. "/opened"))
    end)
    it("that a command gives are asked of it again by a resumed run that uses them, by a step's result as well", function()
        local first = play.run [[
            local sh = require "rollout.sh"
            local token = secret { "TOKEN", command = { "sh", "-c", "echo run >> opened; echo printed-by-it" } }
            local made = step("make", function() return { header = "Bearer " .. token } end)
            step("use", function()
                sh.run "test -e there"
                return sh.run({ "wc", "-c", stdin = made.header }).out
            end)
        ]]
        assert.equal(1, first.code, first.out .. first.err)
        assert.is_false(t.exists(first.folder .. "/opened"))
        t.write(first.folder .. "/there", "")
        local again = play.again(first, { "resume" })
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("20\n", again:last("step.end", "use").value)
        assert.equal("run\n", t.read(first.folder .. "/opened"))
    end)
    it("that a command takes its time to give hold up only who needs them, and are asked of it once", function()
        local result = play.run([[
            local sh, pg = require "rollout.sh", require "rollout.pg"
            local slow = "echo run >> opened; until test -e go; do sleep 0.02; done; echo printed-by-it"
            local token = secret { "TOKEN", command = { "sh", "-c", slow } }
            local later = "until test -e go; do sleep 0.02; done; echo postgresql://u@h/d"
            local url = secret { "URL", command = { "sh", "-c", later } }
            local function use()
                return step("use", function() return sh.run({ "wc", "-c", stdin = "Bearer " .. token }).out end)
            end
            local found = parallel {
                a = use, b = use,
                c = function() return tostring(pg.database(url)) end,
                d = function()
                    step("first", function() sh.run "until test -e opened; do sleep 0.02; done" end)
                    step("then", function() sh.run "touch go" end) -- which the host has to begin meanwhile
                end,
            }
            note(found.a .. found.b .. found.c)
        ]], { timeout = 50 })
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("^20\n20\npg u@h", result:last("note").text)
        assert.equal("run\n", t.read(result.folder .. "/opened"))
    end)
    it("that a command does not come to give end with the step's time, and the command too", function()
        local result = play.run [[
            local sh, token = require "rollout.sh", secret { "TOKEN", command = { "sh", "-c", "echo $$ > asked; sleep 600; true" } }
            step("use", { timeout = "300ms" }, function() sh.run { "cat", stdin = token } end)
        ]]
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("300ms", play.message(result), 1, true)
        t.eventually("its command has ended, and what that had started", function()
            return t.run({ "ps", "-o", "pid=", "--sid", (t.read(result.folder .. "/asked"):gsub("%s", "")) }).out == ""
        end)
    end)
    it("that are waited for leave nothing in doubt when the run is stopped", function()
        local body = [[
            local sh = require "rollout.sh"
            local slow = "echo run >> opened; test -e go || exec sleep 600; echo printed-by-it"
            local token = secret { "TOKEN", command = { "sh", "-c", slow } }
            step("use", function() return sh.run({ "wc", "-c", stdin = token }).out end)
        ]]
        local path, folder = t.playbook(play.text(body), "demo")
        local options = { path, "--env", "staging", "--output", "json", state = folder .. "/state", cwd = folder }
        local host = t.start_host(options)
        t.eventually("it is asked", function() return t.exists(folder .. "/opened") end)
        host:kill("sigint")
        host:wait()
        assert.equal(5, host.code, host.out .. host.err)
        assert.not_matches("effect.begin", host.out, 1, true)
        t.write(folder .. "/go", "")
        local again = t.host { "resume", state = folder .. "/state", cwd = folder }
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("run\nrun\n", t.read(folder .. "/opened"))
    end)
    it("that a command does not give are told where they are used", function()
        for text, message in pairs {
            ['{ "false" }'] = "false ended with status 1",
            ['{ "no-such-program" }'] = "no-such-program cannot be started",
            ['{ "true" }'] = "TOKEN",
            ['{ "sh", "-c", "head -c 70000 /dev/zero" }'] = "printed more than a secret",
        } do
            local result = play.run(('local sh, token = require "rollout.sh", secret { "TOKEN", command = %s }\n'
                .. 'step("use", function() sh.run { "cat", stdin = token } end)'):format(text))
            assert.equal(1, result.code, result.out .. result.err)
            assert.matches(message, play.message(result), 1, true)
            assert.matches('step "use"', play.message(result), 1, true)
        end
        local result = play.run 'secret { "TOKEN", command = {} }'
        assert.not_equal(0, result.code)
        assert.matches("its command is a list of texts", play.message(result), 1, true)
    end)
    it("come from a file", function()
        local folder = t.temp()
        t.write(folder .. "/.env", "TOKEN='from-the-file'\nPORT=8080\n")
        t.write(folder .. "/.env.other", "TOKEN=from-the-file\n")
        local result = play.run([[
            local cfg = env.require { TOKEN = {}, PORT = { format = "integer" } }
            note(cfg.PORT + 1)
        ]], { "--env-file", folder .. "/.env" })
        assert.not_equal(0, result.code) -- note takes a text
        result = play.run('env.require { TOKEN = { differs = "' .. folder .. '/.env.other" } }',
            { "--env-file", folder .. "/.env" })
        assert.matches("is the same as in", play.message(result), 1, true)
    end)
    it("asset reads a file beside the playbook, and keeps it", function()
        local folder = t.temp()
        t.write(folder .. "/check.sql", "select 1")
        local result = play.run('note(asset "check.sql") gate("red", function() return false end)', { folder = folder })
        assert.equal("select 1", result:last("note").text)
        t.write(folder .. "/check.sql", "select 2")
        local again = play.again(result, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.equal(0, #again:events("note"))
    end)
end)
