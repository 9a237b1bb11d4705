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
        engine:clear()
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

    it("takes several files and profiles", function()
        t.write(folder .. "/more.yml", [[
services:
  db: { environment: { MORE: "yes" } }
  extra: { image: "box:1", profiles: [ "extra" ], stop_grace_period: 0s }
]])
        local found, err = body [[
            local both = docker.compose { files = { "docker-compose.yml", "more.yml" }, project = "many", profiles = { "extra" },
                env = { DB_PASSWORD = "hunter-two-2" } }
            return { services = both:config().services, up = both:up { "extra", "db", within = "1m" },
                env = both:read("db", { "env" }).out }
        ]]
        assert.is_nil(err and err.message)
        assert.same({ "db", "extra", "web" }, found.services)
        assert.equal("db", found.up[1].service)
        assert.truthy(found.env:find("MORE=yes", 1, true))
        assert.equal("extra", found.up[2].service)
        assert.equal(2, #found.up)
    end)

    it("takes docker's own compose where it is there, in the folder that is said", function()
        t.write(folder .. "/bin/docker", [[
#!/bin/sh
echo "$*" >> "$0.calls"
if [ "$1" = compose ]; then shift; exec docker-compose "$@"; fi
if [ "$3" = compose ]; then shift 3; exec docker-compose "$@"; fi
exec /usr/bin/docker "$@"
]], "755")
        t.write(folder .. "/apps/web/docker-compose.yml", 'services: { web: { image: "box:1", stop_grace_period: 0s } }\n')
        local given = options()
        given.env = { PATH = folder .. "/bin:" .. os.getenv "PATH" }
        for name, value in pairs(engine.env) do
            given.env[name] = value
        end
        local found, err = body([[
            local web = docker.compose { project = "web", cwd = "apps/web" }
            return web:config()
        ]], given)
        assert.is_nil(err and err.message)
        assert.same({ "web" }, found.services)
        local calls = t.read(folder .. "/bin/docker.calls")
        assert.truthy(calls:find("compose version", 1, true))
        assert.truthy(calls:find(("--host %s compose --ansi never --project-name web --file docker-compose.yml config"):format(
            engine.host), 1, true), calls)
    end)

    it("scales, stops and restarts", function()
        t.write(folder .. "/docker-compose.yml",
            'services: { worker: { image: "box:1", command: "sleep 1000", stop_grace_period: 0s } }\n')
        local found, err = body [[
            local two = app:scale { worker = 2 }
            app:stop { "worker", grace = "0s" }
            local stopped = app:ps()
            local again = app:restart("worker", { grace = "0s" })
            return { two = two, stopped = stopped[1].state, again = again }
        ]]
        assert.is_nil(err and err.message)
        assert.equal(2, #found.two)
        assert.equal("running", found.two[2].state)
        assert.equal("exited", found.stopped)
        assert.equal("running", found.again[2].state)
        assert.equal(found.two[1].id, found.again[1].id)
    end)

    it("measures what its services use", function()
        local found, err = body [[
            app:up()
            app:scale { db = 2 }
            local all, failed = app:stats(), { pcall(app.stats, app, "cache") }
            return { all = all, db = app:stats "db", missing = failed[2].message }
        ]]
        assert.is_nil(err and err.message)
        local names = {}
        for i, one in ipairs(found.all) do
            names[i] = ("%s %d"):format(one.service, one.number)
            assert.is_true(one.memory > 0 and one.memory_share < 1 and one.cpu >= 0 and one.pids > 0, one.name)
        end
        assert.same({ "db 1", "db 2", "web 1" }, names)
        assert.same({ "db", "db" }, { found.db[1].service, found.db[2].service })
        assert.equal("docker: practice-hub has no container of cache", found.missing)
    end)

    it("runs a command in a new container, and tells which variables and services are not there", function()
        local with_token = options()
        with_token.env = { TOKEN = "swordfish-77" }
        for name, value in pairs(engine.env) do
            with_token.env[name] = value
        end
        local found, err = body([[
            local bare = docker.compose { project = "practice-hub" }
            local ran = app:run("web", { "sh", "-c", "echo $TOKEN | tr a-z A-Z; exit 3" }, { env = { TOKEN = secret "TOKEN" },
                ok = 3 })
            local fed = app:run("web", { "sh", "-c", "wc -c; rev" }, { stdin = "no more" }).out
                .. app:run("web", { "rev" }, { stdin = secret "TOKEN" }).out
            local ok, why = pcall(app.run, app, "web", { "sh", "-c", "echo gone wrong >&2; exit 4" })
            local ok2, why2 = pcall(app.exec, app, "webb", { "true" })
            return { ran = ran, fed = fed, missing = bare:config().missing, why = why.message, why2 = why2.message,
                left = #app:ps() }
        ]], with_token)
        assert.is_nil(err and err.message)
        assert.equal("SWORDFISH-77\n", found.ran.out)
        assert.equal(3, found.ran.code)
        assert.equal("7\n77-hsifdrows", found.fed)
        assert.same({ "DB_PASSWORD" }, found.missing)
        assert.truthy(found.why:find("exited with 4", 1, true))
        assert.truthy(found.why:find("gone wrong", 1, true))
        assert.truthy(found.why2:find("nothing of it is up", 1, true))
        assert.equal(0, found.left)
    end)

    it("is a gate's matter, and rollout.log's", function()
        local path = t.playbook(([[
playbook "spec" { environments = { "test" } }
%s
gate("nothing is up", { on_failure = "alert" }, function() return app:healthy() end)
step("up", function() app:up() end)
gate("healthy", { within = "10s", every = "1s" }, function() return app:healthy { "web", "db" } end)
gate("asked", function() return expect("ready", app:read("db", { "cat", "/tmp/ready" }).code):equals(0) end)
local said = step("said", function() return app:log "db":wait_for("^ready|ready$", { since = "5m", timeout = "10s" }).text end)
step("down", function() app:down { volumes = true } end)
return said
]]):format(HEAD), "gates", folder)
        local result = t.digest_events(t.host { path, "--output", "json", cwd = folder, env = engine.env, state = t.temp() })
        assert.equal(0, result.code, result.out .. result.err)
        assert.truthy(result.out:find("no container", 1, true))
        assert.truthy(result.ended.said.value:find "ready$")
        assert.is_nil(engine:cli({ "volume", "ls", "-q" }):find "practice%-hub_files")
    end)
end)
