-- rollout.docker against a real engine and a real registry: images, networks, volumes, events, builds, logs for rollout.log.
local docker = require "spec.world.docker"
local t = require "spec.helper"

local HEAD = 'local docker = require "rollout.docker"; local engine = docker.engine()\n'

describe("docker's images and places", function()
    local engine, registry

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
        registry = engine:registry()
    end)

    local function body(text, options)
        options = options or {}
        options.env = engine.env
        return t.body(HEAD .. text, options)
    end

    it("tags, pushes, asks for the digest, removes and pulls an image", function()
        local name = registry .. "/shop/app:v1"
        local found, err = body(([[
            local name = %q
            local tagged = engine:tag("box:1", { as = name })
            local pushed = engine:push(name)
            local digest = engine:digest(name)
            engine:remove_image(name)
            local gone = engine:image(name)
            local pulled = engine:pull(name)
            return { tagged = tagged, pushed = pushed, digest = digest, gone = gone == nil, pulled = pulled,
                box = engine:image("box:1").id, listed = #engine:images { name = name } }
        ]]):format(name))
        assert.is_nil(err and err.message)
        assert.equal(found.box, found.tagged.id)
        assert.truthy(found.pushed.digest:find "^sha256:%x+$")
        assert.equal(found.pushed.digest, found.digest)
        assert.is_true(found.gone)
        assert.equal(found.digest, found.pulled.digest)
        assert.equal(found.box, found.pulled.id)
        assert.equal(1, found.listed)
    end)

    it("says which image a registry does not have", function()
        local _, err = body(([[return engine:pull %q]]):format(registry .. "/shop/app:v9"))
        assert.equal("no_image", err.code, err.message)
        assert.truthy(err.message:find("shop/app:v9", 1, true))
        _, err = body [[return engine:pull "127.0.0.1:5999/shop/app:v1"]]
        assert.truthy(err.message:find("5999", 1, true))
    end)

    it("builds an image, and shows what a build that fails has said", function()
        local folder = t.temp()
        t.write(folder .. "/Dockerfile", 'FROM box:1\nARG RELEASE\nRUN echo release $RELEASE > /release\nCMD ["cat", "/release"]\n')
        t.write(folder .. "/Broken", "FROM box:1\nRUN echo the tests fail >&2; exit 9\n")
        local found, err = body(([[
            local built = engine:build(%q, { tag = "app:v2", args = { RELEASE = "v2" } })
            local ran = engine:run { image = "app:v2" }
            return { built = built, ran = ran, left = #engine:containers { all = true } }
        ]]):format(folder))
        assert.is_nil(err and err.message)
        assert.equal("app:v2", found.built.names[1])
        assert.equal("release v2\n", found.ran.out)
        assert.equal(0, found.ran.code)
        assert.equal(0, found.left)
        local _, broken = body(([[return engine:build(%q, { tag = "app:v3", file = %q })]]):format(folder, folder .. "/Broken"))
        assert.equal("build", broken.code)
        assert.truthy(broken.message:find("the tests fail", 1, true), broken.message)
    end)

    it("loads images from an archive", function()
        local archive = t.temp() .. "/box.tar"
        engine:cli { "tag", "box:1", "carried:1" }
        engine:cli { "save", "-o", archive, "carried:1" }
        engine:cli { "rmi", "carried:1" }
        local found, err = body(([[return { engine:load %q, engine:image "carried:1" ~= nil }]]):format(archive))
        assert.is_nil(err and err.message)
        assert.same({ "carried:1" }, found[1].names)
        assert.is_true(found[2])
    end)

    it("makes, lists and removes networks and volumes, and tells what happened", function()
        local found, err = body [[
            local net = engine:create_network("shop", { labels = { app = "shop" } })
            local volume = engine:create_volume("files", { labels = { app = "shop" } })
            local made = engine:create { name = "inside", image = "box:1", network = "shop", volumes = { "files:/data" },
                command = "echo kept > /data/x; exit 5" }
            local inside = engine:container(made)
            inside:start()
            local code = inside:wait { timeout = "10s" }.code
            local out = { net = net, volume = volume, code = code, networks = engine:networks { label = { app = "shop" } },
                volumes = engine:volumes { label = { app = "shop" } }, there = engine:network "shop" ~= nil,
                events = engine:events { since = "1m", container = "inside" } }
            inside:remove()
            engine:remove_network "shop"
            engine:remove_volume "files"
            out.left = { engine:network "shop" == nil, #engine:volumes { name = "files" } }
            return out
        ]]
        assert.is_nil(err and err.message)
        assert.equal(5, found.code)
        assert.equal(found.net.id, found.networks[1].id)
        assert.equal("files", found.volumes[1].name)
        assert.is_true(found.there)
        local actions = {}
        for _, one in ipairs(found.events.events) do
            actions[#actions + 1] = one.action .. (one.exit_code and "=" .. one.exit_code or "")
        end
        assert.equal("create start die=5", table.concat(actions, " "))
        assert.same({ true, 0 }, found.left)
    end)

    it("measures what a container uses", function()
        engine:cli { "run", "-d", "--name", "busy", "--memory", "64m", "box:1", "sh", "-c", "while :; do :; done" }
        local found, err = body [[return engine:container "busy":stats()]]
        engine:cli { "rm", "-f", "busy" }
        assert.is_nil(err and err.message)
        assert.is_true(found.cpu > 0.05 and found.cpu < 4, tostring(found.cpu))
        assert.equal(64 * 1024 * 1024, found.memory_limit)
        assert.is_true(found.memory > 0 and found.memory_share < 1)
        assert.equal(1, found.pids)
    end)

    it("gives its log to rollout.log", function()
        engine:cli { "run", "-d", "--name", "app", "box:1", "sh", "-c",
            "echo listening on 80; echo ERROR no column; exec sleep 100" }
        local found, err = body [[
            local log = engine:container "app":log()
            local ready = log:wait_for("listening on", { since = "1m", timeout = "10s" })
            return { ready = ready.text, errors = log:find("ERROR", { since = "1m" }).count }
        ]]
        assert.is_nil(err and err.message)
        assert.truthy(found.ready:find "listening on 80$")
        assert.equal(1, found.errors)
    end)

    it("shows all of it in a plan, and touches nothing", function()
        local path, folder = t.playbook([[
playbook "spec" { environments = { "test" } }
local docker = require "rollout.docker"
local engine = docker.engine { host = "unix:///nonexistent/docker.sock" }
local app = docker.compose { project = "shop", engine = engine }
step("it", function()
    local made = engine:create { name = "web", image = "box:1" }
    local web = engine:container(made)
    web:start { healthy = "10s" }
    web:exec { "pnpm", "db:migrate" }
    engine:pull "shop/app:v1"
    app:up()
    app:exec("web", { "true" })
    app:scale { web = 2 }
    app:down()
    return web:inspect().status
end)
]])
        local plan = t.host { "plan", path, state = folder .. "/state", cwd = folder }
        assert.equal(0, plan.code, plan.out .. plan.err)
        for _, words in ipairs { "create container web of box:1", "start container web", "`pnpm db:migrate` in web",
            "pull shop/app:v1",
            "compose up of shop", "compose scale", "compose down of shop" } do
            assert.truthy(plan.out:find(words, 1, true), words .. "\n" .. plan.out)
        end
    end)
end)
