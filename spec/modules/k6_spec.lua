local plays = require "spec.modules.service_play"
local stand_in = require "spec.world.stand_in"
local t = require "spec.helper"

describe("k6", function()
    local service, play, folder

    before_each(function()
        folder = t.temp()
        service = stand_in.start(function() return 200, "fine" end)
        play = plays(([[
            local k6 = require "rollout.k6"
            playbook "spec" { environments = { "test" } }
            local options, folder = { env = { BASE_URL = %q }, command = { "%s/spec/world/k6" } }, %q
            local function load(script, more)
                local all = {}
                for _, part in ipairs { options, more or {} } do
                    for name, value in pairs(part) do all[name] = value end
                end
                return k6.check(folder .. "/" .. script, all)
            end
            local function run_it(script) return k6.run(folder .. "/" .. script, options) end
        ]]):format(service.url, t.root, folder))
        t.write(folder .. "/good.js", "// n=20 limit=5000 threshold=1\n")
    end)

    it("takes held thresholds for a pass, and crossed ones for a fail", function()
        local found, result = play.checked 'return load "good.js"'
        assert.equal("pass", found.verdict)
        assert.equal("http_req_duration p(95)<5000: held", found.text)
        assert.equal(0, result.code)
        assert.equal(20, #service.requests)
        service.handler = function() return 500, "no" end
        found, result = play.checked 'return load("good.js", { iterations = 5 })'
        assert.equal(1, result.code)
        assert.equal("pass", found.verdict)
        assert.equal(25, #service.requests)
        assert.matches("http_req_failed rate<0.01: crossed", result.out, 1, true)
    end)

    it("tells what a gate may hold against limits of its own", function()
        t.write(folder .. "/p99.js", "// n=20 limit=5000 threshold=1\n// summaryTrendStats: [ 'avg', 'p(95)', 'p(99)' ]\n")
        local found = play.checked [[
            local s = run_it "p99.js"
            return { expect("P95", s.p95):below(5000, "ms"), expect("P99", s.p99):below(5000, "ms"),
                expect("errors", s.failed):below "1%" }]]
        assert.equal("pass", found.verdict)
        local _, result = play.checked 'return expect("P99", run_it("good.js").p99):below(1)'
        assert.matches("P99 gave no data", result.out, 1, true)
    end)

    it("takes no thresholds, no iterations, and a test that breaks for unknown", function()
        for name, text in pairs { ["none.js"] = "// n=3", ["nothing.js"] = "// n=0 limit=1 threshold=1",
            ["broken.js"] = "// broken", ["silent.js"] = "// n=1 limit=5000 threshold=1 silent" } do
            t.write(folder .. "/" .. name, text)
            local result = play.gate(('return load "%s"'):format(name))
            assert.equal(1, result.code, name)
            assert.matches('"verdict":"unknown"', result.out, 1, true, name)
        end
        assert.matches("moduleSpecifier couldn't be found", play.gate('return load "broken.js"').out, 1, true)
    end)

    it("reads the data of handleSummary, whose booleans mean the opposite", function()
        local function verdict(text)
            t.write(folder .. "/summary.json", text)
            return play.checked(('return k6.summary %q'):format(folder .. "/summary.json")).verdict
        end
        local form = '{"metrics":{"iterations":{"type":"counter","values":{"count":5,"rate":1}},'
            .. '"http_req_duration":{"type":"trend","values":{"p(95)":10},"thresholds":{"p(95)<5":%s}}}}'
        assert.equal("pass", verdict(form:format '{"ok":true}'))
        assert.equal("fail", verdict(form:format '{"ok":false}'))
        assert.equal("fail", verdict(form:format "true"))
        assert.equal("pass", verdict(form:format "false"))
        assert.equal("unknown", verdict(form:format '"yes"'))
        assert.equal("unknown", verdict "{}")
        assert.equal("unknown", verdict "garbage")
    end)
end)
