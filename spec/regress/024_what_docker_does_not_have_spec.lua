-- docker: the log of a service that no container is of was an empty one, in which no ERROR stands; a registry that wants a password
-- was code "docker"; and whatever create was refused for, it was to be pulled first.
local docker = require "spec.world.docker"
local process = require "spec.world.process"
local t = require "spec.helper"

describe("docker", function()
    local engine

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
    end)

    local function play(text)
        return t.play('local docker = require "rollout.docker"\nplaybook "spec" { environments = { "test" } }\n'
            .. 'local engine, app = docker.engine(), docker.compose { project = "shop" }\n' .. text,
            { env = { DOCKER_HOST = engine.env.DOCKER_HOST, DOCKER_CONFIG = engine.env.DOCKER_CONFIG } })
    end

    local function problem(text)
        return select(2, t.outcome(play('step("it", function() ' .. text .. " end)")))
    end

    it("has no log of a service that is not there", function()
        local run = play [[ gate("it", function() return app:log "wbe":none("ERROR", { since = "5m" }) end) ]]
        assert.equal(1, run.code, run.out .. run.err)
        local check
        for _, event in ipairs(run.events) do
            check = event.type == "check" and event.payload or check
        end
        assert.equal("unknown", check.verdict)
        assert.matches("the project shop has no container of wbe", check.text, 1, true)
        assert.equal("no_container", problem('app:logs "wbe"').code)
    end)

    it("says what may be done where an image is not there, and only there", function()
        local missing = problem [[ engine:create { name = "web", image = "nothere" } ]]
        assert.equal("no_image", missing.code)
        assert.matches("engine:pull or engine:build makes its image known", missing.message)
        local refused = problem [[ engine:create { name = "a b", image = "box:1" } ]]
        assert.matches("Invalid container name", refused.message)
        assert.is_nil(refused.message:find "engine:pull")
    end)

    it("knows a registry that wants a password", function()
        local hash = t.run({ "/usr/bin/python3", "-W", "ignore", "-c",
            "import crypt; print(crypt.crypt('sesame-opens', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))" }).out
        t.write(engine.folder .. "/users", "bob:" .. hash)
        local server = process.start(engine:inside { "docker-registry", "serve", t.write(engine.folder .. "/registry.yml",
            ("version: 0.1\nstorage: { filesystem: { rootdirectory: %s/stored } }\nhttp: { addr: 127.0.0.1:5000 }\n"
            .. "auth: { htpasswd: { realm: x, path: %s/users } }\n"):format(engine.folder, engine.folder)) })
        t.eventually("the registry", function() return (server.err .. server.out):find "listening on" end, 30)
        engine:cli { "tag", "box:1", "127.0.0.1:5000/box:1" }
        for _, call in ipairs { "push", "pull", "digest" } do
            for _, auth in ipairs { "", ', { auth = { username = "bob", password = "wrong-one" } }' } do
                assert.equal("permission", problem(('engine:%s("127.0.0.1:5000/box:1"%s)'):format(call, auth)).code, call .. auth)
            end
        end
    end)
end)
