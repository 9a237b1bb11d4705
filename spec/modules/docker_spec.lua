-- rollout.docker against a real engine: containers, their output, commands in them, what is refused.
local docker = require "spec.world.docker"
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
end)
