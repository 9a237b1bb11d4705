-- Every module that deploys, in one playbook: planned by deploys_plan_spec.lua, never run.
local bluegreen, compose_app, github = require "rollout.bluegreen", require "rollout.compose_app", require "rollout.github"
local http, k6, kubectl, pm2 = require "rollout.http", require "rollout.k6", require "rollout.kubectl", require "rollout.pm2"
local railway, render, repo = require "rollout.railway", require "rollout.render", require "rollout.repo"
local ssh, systemd, vercel = require "rollout.ssh", require "rollout.systemd", require "rollout.vercel"

playbook "plan" { environments = { "test" } }

local web, fleet = ssh.host "deploy@web1", ssh.hosts({ "a", "b" }, { at_once = 1, may_fail = 1 })
local shop = github.repository("acme/shop", { token = secret "TOKEN" })
local site = bluegreen.nginx { config = "/etc/x", colors = { blue = "http://127.0.0.1:1", green = "http://127.0.0.1:2" } }
local app, cluster, tree = compose_app.app { project = "x" }, kubectl.cluster {}, repo.tree "."
local on_vercel = vercel.project("shop", { token = secret "TOKEN" })
local on_render = render.service("srv-1", { token = secret "TOKEN" })
local on_railway = railway.instance { project = "p", environment = "e", service = "s", token = secret "TOKEN" }

stage("Before", function()
    gate("the tree", function() return { tree:lacks "console.log", table.unpack(tree:ignores ".env") } end)
    gate("no secrets", function() return tree:no_secrets() end)
    gate("merged", function() return shop:merged(14) end)
    gate("green", function() return shop:checks "main" end)
    gate("load", function() return k6.check "x.js" end)
end)

stage("Machines", function()
    step("by ssh", function()
        web:run { "ls", "-l" }
        fleet:copy { from = "a", to = "/b" }
        return fleet:run { "x" }
    end)
    gate("by ssh, one", function() return web:check { "true" } end)
    gate("by ssh, all", function() return fleet:check { "true" } end)
    step("pm2", function()
        pm2.stop "x"
        return pm2.restart "x"
    end)
    gate("pm2 runs", function() return pm2.check("x", { instances = 2, uptime = "3s", memory = "3MiB", restarts = 1 }) end)
    step("systemd", function()
        systemd.daemon_reload()
        systemd.stop "x"
        return systemd.restart "x"
    end)
    gate("systemd runs", function() return systemd.check("x", { restarts = 0, enabled = true, memory = "1MiB" }) end)
end)

stage("Releases", function()
    step("github", { undo = function(made) shop:delete_release(made) end }, function()
        shop:merge_in_order { 14, { 15, after = { 14 } } }
        return shop:release { tag = "v1" }
    end)
    site:release("bluegreen", { hold = "1h", up = function() end, down = function() end,
        smoke = function(url) return http.check(url) end })
    app:release("compose", { build = true, prepare = function(compose) return compose:run("app", { "x" }) end,
        smoke = function() return http.check "http://x" end })
    local before = step("what is live", function()
        return { on_vercel = on_vercel:live(), on_render = on_render:live(), on_railway = on_railway:live(),
            cluster = cluster:status "backend" }
    end)
    step("hosted", { undo = function()
        on_vercel:rollback(before.on_vercel)
        on_render:rollback(before.on_render)
        on_railway:rollback(before.on_railway)
        cluster:undo("backend", before.cluster)
    end }, function()
        local made = on_vercel:deploy { repository = "a/b", ref = "x" }
        on_vercel:alias(made, "a.b")
        on_vercel:promote(made)
        on_render:deploy { commit = "x" }
        on_railway:deploy { commit = "x" }
        cluster:restart "backend"
        cluster:scale("backend", 2)
        return cluster:set_image("backend", { backend = "x" })
    end)
    gate("hosted is live", function()
        return { on_vercel:is_live(before.on_vercel), on_render:is_live "x", on_railway:is_live "x",
            table.unpack(cluster:check("backend", { images = { backend = "x" } })) }
    end)
end)
