-- rollout.docker by ssh: a way to the engine's socket, for the API and for compose.
local docker = require "spec.world.docker"
local sshd = require "spec.world.sshd"
local t = require "spec.helper"

describe("docker by ssh", function()
    local engine, server, env

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
        server = sshd.start()
        local folder = t.temp()
        t.write(folder .. "/bin/ssh", ("#!/bin/sh\nexec %s \"$@\"\n"):format((server.command:gsub("^ssh", "/usr/bin/ssh"))), "755")
        env = { PATH = folder .. "/bin:" .. os.getenv "PATH", DOCKER_HOST = false, DOCKER_CONFIG = folder }
    end)

    local function host()
        return ("ssh://%s@127.0.0.1:%d%s"):format(server.user, server.port, engine.socket)
    end

    it("asks, in steps and gates of several stages, and brings a project up", function()
        local folder = t.temp()
        t.write(folder .. "/docker-compose.yml", 'services: { web: { image: "box:1", stop_grace_period: 0s } }\n')
        local result = t.play(([[
playbook "spec" { environments = { "test" } }
local docker = require "rollout.docker"
local engine = docker.engine { host = %q }
local app = docker.compose { project = "far", engine = engine }
stage("one", function()
    gate("answers", function() return expect("ping", engine:ping()):equals(true) end)
    step("up", function() return #app:up() end)
end)
stage("two", function()
    step("said", function() return app:exec("web", { "rev" }, { stdin = "yawa raf" }).out end)
    step("down", function() app:down() end)
end)
]]):format(host()), { env = env, folder = folder })
        assert.equal(0, result.code, result.out .. result.err)
        assert.truthy(result.out:find("far away", 1, true))
    end)

    it("says why there is no way", function()
        local _, err = t.body(([[
            local docker = require "rollout.docker"
            return docker.engine { host = "ssh://nobody-at-all@127.0.0.1:%d/run/docker.sock" }:ping()
        ]]):format(server.port), { env = env })
        assert.equal("ssh", err.code, err.message)
        assert.truthy(err.message:find("Permission denied", 1, true), err.message)
    end)
end)
