-- rollout.docker over tcp: who the engine is and who asks are both known by certificates; and contexts of the docker command.
local docker = require "spec.world.docker"
local t = require "spec.helper"

describe("docker over TLS", function()
    local engine, tls, port

    setup(function()
        tls, port = t.certificates(), 2376
        engine = docker.start { flags = { "--host", "tcp://127.0.0.1:" .. port, "--tlsverify", "--tlscacert", tls.ca, "--tlscert",
            tls.good.cert, "--tlskey", tls.good.key } }
        engine:image("box:1")
    end)

    -- The engine's port is one of its own network: the host is run there.
    local function ask(options, env, call)
        local folder = t.temp()
        local path = t.playbook(([[
playbook "spec" { environments = { "test" } }
local docker = require "rollout.docker"
local engine = docker.engine { %s }
step("it", function() return %s end)
]]):format(options, call or 'engine:image "box:1".names'), "tls", folder)
        local command = { "nsenter", "--target", tostring(engine.pid), "--net", t.binary, path, "--output", "json", "--state",
            folder .. "/state", cwd = folder, env = env }
        local result = t.digest_events(t.run(command))
        return t.outcome(result)
    end

    local function files(ca, pair)
        return ("ca = %q, certificate = %q, key = %q"):format(ca, pair.cert, pair.key)
    end

    local function at(host)
        return ('host = "tcp://%s:%d", '):format(host, port)
    end

    it("asks with a certificate, and streams", function()
        local value, err = ask(at "127.0.0.1" .. files(tls.ca, tls.good))
        assert.is_nil(err and err.message)
        assert.same({ "box:1" }, value)
        value, err = ask(at "127.0.0.1" .. files(tls.ca, tls.good), nil, 'engine:run { image = "box:1", command = "echo there" }')
        assert.is_nil(err and err.message)
        assert.equal("there\n", value.out)
        engine:cli { "run", "-d", "--name", "fed", "box:1", "sleep", "3600" }
        value, err = ask(at "127.0.0.1" .. files(tls.ca, tls.good), nil,
            'engine:container("fed"):exec({ "sh", "-c", "wc -c; head -c 3 /etc/hostname >&2" }, { stdin = ("x"):rep(3000000) })')
        assert.is_nil(err and err.message)
        assert.equal("3000000\n", value.out)
        value, err = ask(at "127.0.0.1" .. files(tls.ca, tls.good), nil,
            'engine:container("fed"):exec({ "echo", "enough" }, { stdin = ("x"):rep(3000000) })')
        assert.is_nil(err and err.message)
        assert.equal("enough\n", value.out)
    end)

    it("asks no engine that is not the one, and none lets a stranger ask", function()
        local _, err = ask(at "127.0.0.1" .. files(tls.self_signed.cert, tls.good))
        assert.equal("tls", err.code, err.message)
        _, err = ask(at "127.0.0.1" .. files(tls.ca, tls.unknown))
        assert.truthy(err.message:find(tostring(port), 1, true), err.message)
        assert.truthy(err.code == "tls" or err.code == "no_daemon", err.code .. err.message)
        _, err = ask(at "127.0.0.1" .. ("ca = %q"):format(tls.ca))
        assert.truthy(err.code == "tls" or err.code == "no_daemon", err.code .. err.message)
    end)

    it("finds the engine by a context, by the one in use, and by the environment", function()
        local config = t.temp()
        local env = { DOCKER_CONFIG = config, DOCKER_HOST = false }
        local function cli(...)
            local command = { "/usr/bin/docker", "context", ... }
            command.env = env
            local result = t.run(command)
            assert.equal(0, result.code, result.err)
        end
        cli("create", "prod", "--docker", ("host=tcp://127.0.0.1:%d,ca=%s,cert=%s,key=%s"):format(port, tls.ca, tls.good.cert,
            tls.good.key))
        local value, err = ask('context = "prod"', env)
        assert.is_nil(err and err.message)
        assert.same({ "box:1" }, value)
        err = select(2, ask('context = "nosuch"', env))
        assert.truthy(err.message:find('no context "nosuch"', 1, true))
        cli("use", "prod")
        assert.same({ "box:1" }, (ask("", env)))
        assert.same({ "box:1" }, (ask("", { DOCKER_CONFIG = config, DOCKER_HOST = engine.host })))
        local certificates = t.temp()
        for name, file in pairs { ca = tls.ca, cert = tls.good.cert, key = tls.good.key } do
            t.write(certificates .. "/" .. name .. ".pem", t.read(file))
        end
        assert.same({ "box:1" }, (ask("", { DOCKER_HOST = "tcp://127.0.0.1:" .. port, DOCKER_TLS_VERIFY = "1",
            DOCKER_CERT_PATH = certificates })))
    end)
end)
