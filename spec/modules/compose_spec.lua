-- rollout.docker's compose projects against a real engine and Debian's docker-compose.
local docker = require "spec.world.docker"
local t = require "spec.helper"

local HEAD = [[
local docker = require "rollout.docker"
local app = docker.compose { files = { "docker-compose.yml" }, project = "practice-hub", env = { DB_PASSWORD = "hunter-two-2" } }
]]

local FILE = [[
services:
  db:
    image: box:1
    command: sh -c "echo starting; sleep 0.3; touch /tmp/ready; echo ready; exec sleep 1000"
    stop_grace_period: 0s
    healthcheck: { test: "test -e /tmp/ready", interval: 200ms, timeout: 1s, retries: 20 }
    environment: { PASSWORD: "${DB_PASSWORD}" }
  web:
    image: box:1
    command: httpd -f -p 80 -h /tmp
    stop_grace_period: 0s
    ports: [ "127.0.0.1:8088:80" ]
    depends_on: [ db ]
    volumes: [ "files:/data" ]
volumes: { files: {} }
]]

describe("docker.compose", function()
    local engine, folder

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
    end)

    before_each(function()
        folder = t.temp()
        t.write(folder .. "/docker-compose.yml", FILE)
        t.write(folder .. "/broken.yml", "services:\n  web:\n    imagee: box:1\n")
    end)

    after_each(function()
        local left = engine:cli { "ps", "-aq" }
        for id in left:gmatch "%x+" do
            engine:cli { "rm", "-f", id }
        end
    end)

    local function options()
        return { env = engine.env, folder = folder, state = t.temp() }
    end

    local function body(text, given)
        return t.body(HEAD .. text, given or options())
    end

    it("is brought up healthy, asked, and taken down", function()
        local found, err = body [[
            local config = app:config()
            local up = app:up()
            local said = app:exec("db", { "sh", "-c", "cat /tmp/ready; echo $PASSWORD; hostname" })
            local out = { config = config, up = up, said = said, ps = app:ps("web"), port = app:port("web", 80),
                logs = app:logs("db") }
            app:down()
            out.after = app:ps()
            return out
        ]]
        assert.is_nil(err and err.message)
        assert.same({ "db", "web" }, found.config.services)
        assert.same({}, found.config.missing)
        assert.equal(2, #found.up)
        assert.equal("db", found.up[1].service)
        assert.equal("healthy", found.up[1].health)
        assert.equal("running", found.up[2].state)
        assert.truthy(found.said.out:find("^hunter%-two%-2\n"))
        assert.equal("web", found.ps[1].service)
        assert.same({ ip = "127.0.0.1", port = 8088 }, found.port)
        assert.equal("starting\nready\n", found.logs[1].out)
        assert.same({}, found.after)
        assert.truthy(engine:cli({ "volume", "ls", "-q" }):find "practice%-hub_files")
    end)

    it("says what a container that does not get healthy has printed", function()
        t.write(folder .. "/docker-compose.yml", [[
services:
  web:
    image: box:1
    stop_grace_period: 0s
    command: sh -c "echo cannot reach the database; exec sleep 1000"
    healthcheck: { test: "echo no answer; exit 1", interval: 100ms, timeout: 1s, retries: 2 }
]])
        local _, err = body [[return app:up()]]
        assert.equal("unhealthy", err.code)
        assert.truthy(err.message:find("cannot reach the database", 1, true))
        assert.truthy(err.message:find("no answer", 1, true))
    end)

    it("says what a container that exits at once has printed", function()
        t.write(folder .. "/docker-compose.yml", [[
services:
  web:
    image: box:1
    command: [ "sh", "-c", "echo no such table: clients >&2; exit 7" ]
]])
        local _, err = body [[return app:up()]]
        assert.equal("exited", err.code)
        assert.truthy(err.message:find("exited with 7", 1, true))
        assert.truthy(err.message:find("no such table: clients", 1, true))
    end)

    it("names a compose file with an error", function()
        local _, err = body [[
            local bad = docker.compose { files = { "broken.yml" }, project = "bad" }
            return bad:config()
        ]]
        assert.equal("compose_file", err.code)
        assert.truthy(err.message:find("imagee", 1, true))
        _, err = body [[
            local bad = docker.compose { files = { "broken.yml" }, project = "bad" }
            return bad:up()
        ]]
        assert.equal("compose_file", err.code)
        assert.truthy(err.message:find("imagee", 1, true))
    end)

    it("names a port in use", function()
        engine:cli { "run", "-d", "-p", "127.0.0.1:8088:80", "box:1" }
        local _, err = body [[return app:up()]]
        assert.equal("port_in_use", err.code)
        assert.truthy(err.message:find("8088", 1, true))
    end)

    it("keeps its volumes, unless a reason is given, where an environment is protected", function()
        local text = ([[
local docker = require "rollout.docker"
playbook "spec" { environments = { { "production", protected = true } } }
local app = docker.compose { project = "practice-hub" }
step("it", function() return app:down { volumes = true%s } end)
]])
        local result = t.play(text:format "", options())
        local _, err = t.outcome(result)
        assert.equal("destructive", err.code)
        assert.truthy(err.message:find("docker compose down -v", 1, true))
        local _, none = t.outcome(t.play(text:format ', destructive = "a rehearsal"', options()))
        assert.is_nil(none)
    end)
end)
