-- A release by docker, killed around the commits of its journal; and its secrets, which stand nowhere.
local chain = require "spec.faults.chain"
local docker = require "spec.world.docker"
local leaks = require "spec.world.leaks"
local t = require "spec.helper"

local RELEASE = [[
local docker = require "rollout.docker"
playbook "release" { environments = { "test" } }
local engine = docker.engine()
local app = docker.compose { project = "shop", files = { "docker-compose.yml" }, env = { DB_PASSWORD = "unused-here" } }
step("network", function() return engine:create_network "backplane" end)
local made = step("create", function()
    return engine:create { name = "green", image = "box:1", network = "backplane", init = true, env = { ROLE = "green" },
        health = { command = "true", interval = "100ms" } }
end)
step("unnamed", function() return engine:create { image = "box:1", labels = { unnamed = "yes" } } end)
step("start", function() return engine:container(made):start { healthy = "30s" }.status end)
step("migrate", function()
    return engine:container(made):exec { "sh", "-c", "echo once >> /tmp/migrations; cat /tmp/migrations" }.code
end)
step("rename", function() return engine:container(made):rename { to = "blue" } end)
step("up", function() return #app:up() end)
step("down", function() return app:down() end)
step("stop", function() return engine:container "blue":stop { grace = "1s" } end)
local count = step("look", function() return #engine:containers { all = true } end)
return { count = count }
]]

local COMPOSE = [[
services:
  web: { image: "box:1", stop_grace_period: 0s, environment: { PASSWORD: "${DB_PASSWORD}" },
    healthcheck: { test: "true", interval: 100ms } }
]]

describe("docker and a host that dies", function()
    local engine

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
    end)

    it("does each thing once, killed around commits of the journal", function()
        local path, folder = t.playbook(RELEASE, "release")
        t.write(folder .. "/docker-compose.yml", COMPOSE)
        local every, first = chain.pace(4)
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state", env = engine.env,
            every = every, first = first }
        local code = run:run(400)
        print("\ndocker: " .. run:summary())
        assert(code == 0, run.said:sub(-4000))
        assert.same({}, run.doubts)
        assert.truthy(engine:cli({ "ps", "-aq" }):find "^%x+\n%x+$")
        assert.truthy(engine:cli({ "ps", "-aq", "--filter", "label=unnamed" }):find "^%x+$")
        assert.truthy(engine:cli({ "network", "ls", "-q", "--filter", "name=backplane" }):find "^%x+$")
        engine:cli { "start", "blue" }
        assert.equal("once", engine:cli { "exec", "blue", "cat", "/tmp/migrations" })
    end)

    -- Starts a run whose command waits in its container, and kills the host.
    local function interrupted(ending)
        engine:cli { "run", "-d", "--name", "worker", "box:1" }
        t.finally(function() engine:run { "/usr/bin/docker", "rm", "-f", "worker" } end)
        local path, folder = t.playbook([[
playbook "spec" { environments = { "test" } }
local docker = require "rollout.docker"
step("it", function()
    return docker.engine():container "worker":exec { "sh", "-c",
        "echo x >> /tmp/begun; until test -e /tmp/go; do sleep 0.05; done; ]]
            .. ending .. [[" }
end)
]])
        local where = { state = folder .. "/state", cwd = folder, env = engine.env, timeout = 60 }
        local host = t.start_host { path, state = where.state, cwd = folder, env = engine.env }
        t.eventually("the command has begun", function()
            return engine:run({ "/usr/bin/docker", "exec", "worker", "test", "-e", "/tmp/begun" }).code == 0
        end)
        host:kill("sigkill")
        host:wait()
        return function(...)
            return t.host { "resume", ..., state = where.state, cwd = folder, env = engine.env, timeout = 60 }
        end
    end

    it("waits for a command that outlived it, and does not run it twice", function()
        local resume = interrupted "exit 0"
        engine:cli { "exec", "worker", "touch", "/tmp/go" }
        local resumed = resume()
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal("x", engine:cli { "exec", "worker", "cat", "/tmp/begun" })
    end)

    it("fails for a command that failed meanwhile", function()
        local resume = interrupted "exit 6"
        engine:cli { "exec", "worker", "touch", "/tmp/go" }
        local resumed = resume()
        assert.equal(1, resumed.code, resumed.out .. resumed.err)
        assert.truthy((resumed.out .. resumed.err):find("exited with 6, and its output is lost", 1, true), resumed.out)
        assert.equal("x", engine:cli { "exec", "worker", "cat", "/tmp/begun" })
    end)

    it("leaves a command to a person whose container is gone", function()
        local resume = interrupted "exit 0"
        engine:cli { "rm", "-f", "worker" }
        local resumed = resume()
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        assert.truthy((resumed.out .. resumed.err):find("in worker", 1, true), resumed.out)
    end)

    it("says that the engine died while a project came up, and goes on when it is back", function()
        local mortal = docker.start()
        mortal:image("box:1", { 'CMD ["sleep", "3600"]' })
        local path, folder = t.playbook([[
playbook "spec" { environments = { "test" } }
local docker = require "rollout.docker"
local app = docker.compose { project = "late" }
step("it", function() return #app:up() end)
]])
        t.write(folder .. "/docker-compose.yml", [[
services:
  web: { image: "box:1", stop_grace_period: 0s, healthcheck: { test: "test -e /tmp/ready", interval: 100ms, retries: 1000 } }
]])
        local host = t.start_host { path, state = folder .. "/state", cwd = folder, env = mortal.env }
        t.eventually("its container is there", function() return mortal:cli { "ps", "-q", "--filter", "name=late" } ~= "" end, 30)
        mortal:kill()
        host:wait(60)
        assert.equal(1, host.code, host.out .. host.err)
        assert.truthy((host.out .. host.err):find("engine", 1, true), host.out .. host.err)
        assert.truthy((host.out .. host.err):find(mortal.host, 1, true), host.out .. host.err)
        mortal:restart()
        local name = mortal:cli { "ps", "-aq", "--filter", "name=late" }
        mortal:cli { "start", name }
        mortal:cli { "exec", name, "touch", "/tmp/ready" }
        local resumed = t.host { "resume", state = folder .. "/state", cwd = folder, env = mortal.env, timeout = 60 }
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
    end)

    it("lets a secret be seen nowhere but in the containers", function()
        local secrets = { DB_PASSWORD = "tr0ub4dor&3 \"x\"", API_TOKEN = "s.9f8e7d6c5b4a" }
        local path, folder = t.playbook([[
playbook "secret" { environments = { "test" } }
local docker = require "rollout.docker"
local engine = docker.engine()
local app = docker.compose { project = "safe", env = { DB_PASSWORD = secret "DB_PASSWORD" } }
step("create", function()
    local made = engine:create { name = "vault", image = "box:1", init = true, env = { API_TOKEN = secret "API_TOKEN" },
        command = "echo $API_TOKEN; exec sleep 100" }
    local vault = engine:container(made)
    vault:start { healthy = "10s" }
    local said = vault:exec({ "sh", "-c", "echo $API_TOKEN $OTHER; echo $OTHER >&2" }, { env = { OTHER = secret "DB_PASSWORD" } })
    return { vault:inspect(), vault:logs(), said }
end)
step("up", function() return { app:up(), app:exec("web", { "env" }), app:logs("web"), app:config() } end)
step("run", function() return app:run("web", { "env" }, { env = { API_TOKEN = secret "API_TOKEN" } }) end)
step("fail", { on_failure = "alert" }, function()
    return engine:container "vault":exec({ "sh", "-c", "echo $API_TOKEN >&2; exit 1" }, { env = { X = secret "API_TOKEN" } })
end)
step("down", function() app:down() end)
]], "secret")
        t.write(folder .. "/docker-compose.yml", [[
services:
  web: { image: "box:1", command: [ sh, -c, "env; exec sleep 100" ], stop_grace_period: 0s,
    environment: { DB_PASSWORD: "${DB_PASSWORD}" } }
]])
        local env = {}
        for _, part in ipairs { engine.env, secrets } do
            for name, value in pairs(part) do
                env[name] = value
            end
        end
        local needles = leaks.needles(secrets)
        local watcher = leaks.watch(folder, needles)
        local result = t.host { path, state = folder .. "/state", cwd = folder, env = env, timeout = 90 }
        local found = leaks.search(result.out .. result.err, needles, "what the host says")
        local leaked, rounds = leaks.watched(watcher)
        table.move(leaked, 1, #leaked, #found + 1, found)
        assert.is_true(rounds > 0)
        leaks.search_tree(folder .. "/state", needles, nil, found)
        assert.equal(0, result.code, result.out .. result.err)
        local real = {}
        for _, one in ipairs(found) do
            if not one:find "environment of rollouthost$" then
                real[#real + 1] = one
            end
        end
        assert.same({}, real)
        assert.truthy(engine:cli({ "logs", "vault" }):find(secrets.API_TOKEN, 1, true))
        engine:cli { "rm", "-f", "vault" }
    end)
end)
