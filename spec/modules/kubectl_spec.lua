local kubernetes = require "spec.world.kubernetes"
local plays = require "spec.modules.service_play"
local t = require "spec.helper"

describe("kubectl", function()
    local service, play

    local function against(config)
        return plays(([[
            local kubectl = require "rollout.kubectl"
            playbook "spec" { environments = { "test" } }
            local k = kubectl.cluster { kubeconfig = %q, env = { HOME = %q } }
        ]]):format(config, t.temp()))
    end

    before_each(function()
        service = kubernetes.start()
        play = against(service.config)
    end)

    it("restarts once, waits for it, and keeps variables out of everything", function()
        local value, problem, result = play.step [[
            return { k:status "backend", k:restart "deployment/backend", k:check("backend", { replicas = 2 })[1].verdict }]]
        assert.is_nil(problem)
        assert.same({ "1", "hash1", true }, { value[1].revision, value[1].template, value[1].done })
        assert.same({ "2", true, 2, "pass" }, { value[2].revision, value[2].done, value[2].available, value[3] })
        assert.equal(2, #service.sets)
        play.hides(result, "k8s-hunter2-spec")
    end)

    it("sets an image, and goes back to the release before, once", function()
        local value, problem = play.step [[
            local before = k:status "backend"
            k:set_image("backend", { backend = "shop/backend:v2" })
            local new = k:check("backend", { images = { backend = "shop/backend:v2" } })
            local back, again = k:undo("backend", before), k:undo("backend", before)
            return { before.template, new[2].verdict, back.images.backend, back.revision, again.revision }]]
        assert.is_nil(problem)
        assert.same({ "hash1", "pass", "shop/backend:v1", "3", "3" }, value)
        local _, wrong = play.step [[k:set_image("backend", { backnd = "x" })]]
        assert.matches('did you mean "backend"', wrong.message)
        _, wrong = play.step [[k:undo("backend", "hash99")]]
        assert.equal("gone", wrong.code)
    end)

    it("scales, and tells how many there were", function()
        local value = assert(play.step [[
            local none = k:scale("backend", 0)
            return { none.before, none.available, k:check("backend").verdict or k:check("backend")[1].verdict,
                k:check("backend", { replicas = 0 })[1].verdict, k:scale("backend", none.before).available }]])
        assert.same({ 2, 0, "fail", "pass", 2 }, value)
    end)

    it("takes a roll-out that does not come to its end for a failure, and says what the pods wait for", function()
        local _, problem = play.step [[k:set_image("backend", { backend = "shop/backend:bad" })]]
        assert.equal("failed", problem.code)
        assert.matches("ProgressDeadlineExceeded", problem.message)
        assert.matches("backend%-x: Pending ImagePullBackOff no such image", problem.message)
        assert.equal("fail", play.checked 'return k:check "backend"'.verdict)
    end)

    it("knows what is not there, what it may not do, and a cluster that does not answer", function()
        local _, problem = play.step [[k:restart "frontend"]]
        assert.equal("not_found", problem.code)
        _, problem = play.step [[k:restart "statefulset/cache"]]
        assert.equal("not_found", problem.code)
        _, problem = play.step [[k:restart "cronjob/db"]]
        assert.matches("is no deployment", problem.message)
        service.refuses = true
        _, problem = play.step [[k:restart "backend"]]
        assert.equal("access_denied", problem.code)
        service.refuses = false
        local config = t.read(service.config)
        t.write(service.config, (config:gsub("127.0.0.1:%d+", "127.0.0.1:" .. t.free_port())))
        assert.equal("unknown", (play.checked 'return k:check "backend"').verdict)
        t.write(service.config, config)
        service.fail(200, "<html>", nil, 9)
        assert.equal("unknown", (play.checked 'return k:check "backend"').verdict)
    end)
    for name, all in pairs { ["statefulset/db"] = 2, ["daemonset/agent"] = 3 } do
        local short = name:match "/(.*)$"

        it("rolls out " .. name .. ", and goes back, once", function()
            local value, problem, result = play.step(([[
                local name, image = "%s", "%s"
                local before = k:status(name)
                local new = k:set_image(name, { [image] = "shop/new:v2" })
                local checks = k:check(name, { images = { [image] = "shop/new:v2" } })
                local back, again = k:undo(name, before), k:undo(name, before)
                local restarted = k:restart(name)
                return { before, new, { checks[1].verdict, checks[2].verdict }, back, again, restarted }]]):format(name, short))
            assert.is_nil(problem and problem.message)
            local before, new, back, again, restarted = value[1], value[2], value[4], value[5], value[6]
            assert.same({ short .. "-1", "1", true, all }, { before.template, before.revision, before.done, before.replicas })
            assert.same({ short .. "-2", "2", true, all, all },
                { new.template, new.revision, new.done, new.updated, new.available })
            assert.same({ "pass", "pass" }, value[3])
            assert.same({ short .. "-1", "3", "shop/" .. short .. ":v1" }, { back.template, back.revision, back.images[short] })
            assert.same({ "3", "4", short .. "-3" }, { again.revision, restarted.revision, restarted.template })
            play.hides(result, "k8s-hunter2-spec")
        end)

        it("says why a roll-out of " .. name .. " does not come to its end", function()
            local _, problem = play.step(('k:set_image("%s", { %s = "shop/bad:v1" }, { within = "100ms" })'):format(name, short))
            assert.equal("timeout", problem.code)
            assert.matches("of " .. all .. " replicas are new and available", problem.message, 1, true)
            assert.matches(short .. "-0: Pending CrashLoopBackOff back-off (started again 4 times)", problem.message, 1, true)
            assert.equal("fail", play.checked(('return k:check "%s"'):format(name)).verdict)
            _, problem = play.step(('k:undo("%s", "%s-9")'):format(name, short))
            assert.equal("gone", problem.code)
        end)
    end

    it("scales a stateful set, and not what is on each node", function()
        local value, problem = play.step [[
            local more = k:scale("sts/db", 5)
            return { more.before, more.available, more.done, k:status("statefulset/db").replicas }]]
        assert.is_nil(problem and problem.message)
        assert.same({ 2, 5, true, 5 }, value)
        local _, refused = play.step [[k:scale("ds/agent", 5)]]
        assert.matches("has no number of replicas", refused.message, 1, true)
    end)

    it("does not wait for pods that somebody has to delete, nor for those that are to stay", function()
        service.statefulset.object.spec.updateStrategy = { type = "OnDelete" }
        local _, problem = play.step [[k:restart "statefulset/db"]]
        assert.matches("OnDelete", problem.message, 1, true)
        assert.equal(1, #service.statefulset.revisions)
        service.statefulset.object.spec.updateStrategy = { type = "RollingUpdate", rollingUpdate = { partition = 1 } }
        local status = service.statefulset.object.status
        status.updatedReplicas, status.updateRevision = 1, "db-2"
        assert.is_true(play.step([[return k:status "statefulset/db"]]).done)
        service.statefulset.object.spec.updateStrategy.rollingUpdate.partition = 0
        assert.is_false(play.step([[return k:status "statefulset/db"]]).done)
    end)
end)
