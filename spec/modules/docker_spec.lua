-- rollout.docker against a real engine: containers, their output, commands in them, what is refused.
local docker = require "spec.world.docker"
local leaks = require "spec.world.leaks"
local t = require "spec.helper"

local HEAD = 'local docker = require "rollout.docker"; local engine = docker.engine()\n'

describe("docker", function()
    local engine

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
    end)

    -- The body of a step; what it returned, or nil and the error.
    local function body(text, options)
        options = options or {}
        options.env = options.env or {}
        for name, value in pairs(engine.env) do
            options.env[name] = options.env[name] or value
        end
        return t.body(HEAD .. text, options)
    end

    it("answers, and tells its version", function()
        local found, err = body [[return { engine:ping(), engine:version() }]]
        assert.is_nil(err and err.message)
        assert.is_true(found[1])
        assert.equal("linux", found[2].os)
        assert.equal(engine:cli { "version", "--format", "{{.Server.Version}}" }, found[2].version)
    end)

    it("creates, starts, lists, inspects, stops and removes a container", function()
        local found, err = body [[
            local made = engine:create { name = "web", image = "box:1", command = { "sleep", "1000" }, labels = { app = "shop" },
                ports = { "127.0.0.1:8099:80" }, env = { MODE = "spec" }, init = true, memory = "64MiB",
                    restart = "unless-stopped" }
            local web = engine:container(made)
            local started = web:start()
            local listed = engine:containers { label = { app = "shop" } }
            web:stop { grace = "1s" }
            local stopped = web:inspect()
            web:remove()
            return { made = made, started = started, listed = listed, stopped = stopped, left = #engine:containers { all = true } }
        ]]
        assert.is_nil(err and err.message)
        assert.equal("web", found.made.name)
        assert.equal("running", found.started.status)
        assert.same({ { container = "80/tcp", ip = "127.0.0.1", port = 8099 } }, found.started.ports)
        assert.equal(1, #found.listed)
        assert.equal("web", found.listed[1].name)
        assert.equal("box:1", found.listed[1].image)
        assert.equal("exited", found.stopped.status)
        assert.equal("MODE", found.stopped.env[1])
        assert.equal(0, found.left)
    end)

    it("runs a command in a container, its two streams apart", function()
        engine:cli { "run", "-d", "--name", "worker", "box:1" }
        local found, err, run = body([[
            local worker = engine:container "worker"
            local r = worker:exec({ "sh", "-c", "echo out; echo err >&2; echo $TOKEN | tr a-z A-Z; pwd; exit 3" }, { ok = 3,
                cwd = "/tmp",
                env = { TOKEN = secret "TOKEN" } })
            local read = worker:read { "echo", "hello world" }
            return { r, read }
        ]], { env = { TOKEN = "swordfish-77" } })
        assert.is_nil(err and err.message)
        assert.equal("out\nSWORDFISH-77\n/tmp\n", found[1].out)
        assert.equal("err\n", found[1].err)
        assert.equal(3, found[1].code)
        assert.equal("hello world\n", found[2].out)
        local log = t.host { "log", run.events[2].payload.id, "it", state = run.state }.out
        for _, line in ipairs { "out", "err", "SWORDFISH-77", "hello world" } do
            assert.truthy(log:find(line, 1, true), log)
        end
        engine:cli { "rm", "-f", "worker" }
    end)
    it("feeds a command in a container, whole, and tells it where that ends", function()
        engine:cli { "run", "-d", "--name", "fed", "box:1" }
        local found, err = body [[
            local fed = engine:container "fed"
            local text = ("0123456789abcde\n"):rep(200000)
            return {
                fed:exec({ "sh", "-c", "wc -c; echo err >&2" }, { stdin = text }),
                fed:exec({ "sha256sum" }, { stdin = text }).out, fed:exec({ "cat" }, { stdin = "" }),
                fed:read({ "cat" }, { stdin = "read" }).out,
                fed:exec({ "tail", "-c", "3" }, { stdin = text, idempotent = true }).out,
            }
        ]]
        assert.is_nil(err and err.message)
        assert.same({ "3200000\n", "err\n" }, { found[1].out, found[1].err })
        local sum = t.run { "sha256sum", input = ("0123456789abcde\n"):rep(200000) }
        assert.equal(sum.out, found[2])
        assert.same({ 0, "", 0 }, { found[3].code, found[3].out, found[3].bytes })
        assert.same({ "read", "de\n" }, { found[4], found[5] })
        engine:cli { "rm", "-f", "fed" }
    end)

    it("takes what a command says that wants no more of its input", function()
        engine:cli { "run", "-d", "--name", "fed", "box:1" }
        local found, err = body [[
            local fed = engine:container "fed"
            local text = ("0123456789abcde\n"):rep(500000)
            local many = {}
            for i = 1, 5 do
                many[i] = fed:exec({ "sh", "-c", "head -c 5 >&2; seq 1 40000; exit 3" }, { stdin = text, ok = 3 })
            end
            return { many, fed:exec({ "true" }, { stdin = text }).code,
                select(2, pcall(fed.exec, fed, { "nothing" }, { stdin = text })) }
        ]]
        assert.is_nil(err and err.message)
        for _, one in ipairs(found[1]) do
            assert.same({ 3, "01234", 228894 }, { one.code, one.err, #one.out })
        end
        assert.equal(0, found[2])
        assert.equal("command_not_found", found[3].code)
        engine:cli { "stop", "-t", "0", "fed" }
        local _, refused = body [[return engine:container("fed"):exec({ "cat" }, { stdin = "x" })]]
        assert.equal("conflict", refused.code)
        engine:cli { "rm", "-f", "fed" }
    end)

    it("keeps a secret that a command is fed with out of everything", function()
        engine:cli { "run", "-d", "--name", "fed", "box:1" }
        local found, err, run = body([[
            return engine:container("fed"):exec({ "sh", "-c", "tee /dev/stderr | rev; ps -o args" }, { stdin = secret "TOKEN" })
        ]], { env = { TOKEN = "swordfish-77" } })
        assert.is_nil(err and err.message)
        assert.matches("77-hsifdrows", found.out, 1, true)
        assert.equal("‹secret TOKEN›", found.err)
        local needles = leaks.needles { TOKEN = "swordfish-77" }
        assert.same({}, leaks.search_tree(run.folder, needles, nil, leaks.search(run.out .. run.err, needles, "the output")))
        local inspected = engine:cli { "inspect", "fed" } .. engine:cli { "events", "--since", "1h", "--until", "0s" }
        assert.not_matches("swordfish", inspected, 1, true)
        engine:cli { "rm", "-f", "fed" }
    end)

    it("does not take for done what was fed by a host that died", function()
        engine:cli { "run", "-d", "--name", "fed", "box:1" }
        local folder = t.temp()
        local path = t.playbook([[
            local engine = require("rollout.docker").engine()
            playbook "spec" { environments = { "test" } }
            return step("it", function()
                return engine:container("fed"):exec({ "sh", "-c",
                    "touch /tmp/begun; cat; until test -e /tmp/go; do sleep 0.1; done" }, { stdin = "fed" }).out
            end)]], "spec", folder)
        local host = t.start_host { path, state = folder .. "/state", cwd = folder, env = engine.env }
        t.eventually("it has begun", function()
            return engine:run({ "/usr/bin/docker", "exec", "fed", "test", "-e", "/tmp/begun" }).code == 0
        end)
        host:kill("sigkill")
        host:wait()
        local again = t.host { "resume", state = folder .. "/state", cwd = folder, env = engine.env }
        assert.equal(7, again.code, again.out .. again.err)
        assert.matches("its input may have ended half-way", again.out .. again.err, 1, true)
        engine:cli { "exec", "fed", "touch", "/tmp/go" }
        local decided = t.host { "decide", t.list(folder .. "/state/runs")[1], "--retry", state = folder .. "/state" }
        assert.equal(0, decided.code, decided.out .. decided.err)
        again = t.host { "resume", state = folder .. "/state", cwd = folder, env = engine.env, "--output", "json" }
        assert.equal(0, again.code, again.out .. again.err)
        assert.matches('"out":"fed"', again.out, 1, true)
        engine:cli { "rm", "-f", "fed" }
    end)
end)
