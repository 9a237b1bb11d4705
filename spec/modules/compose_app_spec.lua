local docker = require "spec.world.docker"
local t = require "spec.helper"

describe("compose_app", function()
    local engine, folder

    setup(function()
        engine = docker.start()
    end)

    before_each(function()
        folder = t.temp()
        engine:image("shop:live", { 'CMD ["sh", "-c", "echo one >/tmp/release; exec sleep 1000"]' })
        t.write(folder .. "/docker-compose.yml", [[
services:
  web:
    image: shop:live
    build: { context: "." }
    stop_grace_period: 0s
    environment: { WORD: "${WORD}" }
    healthcheck: { test: "test -e /tmp/release && ! grep -q bad /tmp/release", interval: 200ms, timeout: 1s, retries: 3 }
]])
        t.write(folder .. "/Dockerfile", 'FROM shop:live\nCMD ["sh", "-c", "echo two >/tmp/release; exec sleep 1000"]\n')
    end)

    after_each(function()
        engine:clear()
    end)

    local function play(body, env)
        return t.play(([[
            local compose_app = require "rollout.compose_app"
            playbook "spec" { environments = { "test" } }
            local app = compose_app.app { project = "shop", files = { "docker-compose.yml" }, env = { %s } }
            %s
        ]]):format(env or 'WORD = "x"', body), { env = engine.env, folder = folder, state = t.temp(), timeout = 120 })
    end

    local function released()
        local id = engine:cli({ "ps", "-q" }):match "%x+"
        return id and engine:cli { "exec", id, "cat", "/tmp/release" } or nil
    end

    it("builds, brings up, tries, and goes back to the very images of before", function()
        assert.equal(0, play('app:release "first"').code)
        assert.equal("one", released())
        local run = play [[
            local before = app:release("deploy", { build = true, within = "30s",
                smoke = function(compose)
                    return expect("release", compose:read("web", { "cat", "/tmp/release" }).out):equals "two\n"
                end })
            return before]]
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("two", released())
        t.write(folder .. "/Dockerfile", 'FROM shop:live\nCMD ["sh", "-c", "echo bad >/tmp/release; exec sleep 1000"]\n')
        run = play 'app:release("deploy", { build = true, within = "20s" })'
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("two", released())
        run = play [[
            local before = app:release("deploy", { smoke = function() return expect("it", 1):equals(2) end, within = "1s" })]]
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("two", released())
    end)

    it("takes the project down where nothing ran before, and starts nothing with a variable missing", function()
        local run = play 'app:release("deploy", { smoke = function() return expect("it", 1):equals(2) end, within = "1s" })'
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("", engine:cli { "ps", "-q" })
        run = play('app:release("deploy")', "")
        assert.equal(1, run.code, run.out .. run.err)
        assert.matches("not set, and compose takes them for empty: WORD", run.out)
        assert.equal("", engine:cli { "ps", "-aq" })
    end)
end)
