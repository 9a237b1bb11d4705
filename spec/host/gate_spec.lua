local play = require "spec.host.play"
local t = require "spec.helper"

describe("a gate", function()
    it("that passes lets the run go on and keeps what it measured", function()
        local result = play.run [[
            gate("orders", function() return expect("orders", 12):at_least(10, "rows") end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        local check = result:last("check", "orders")
        assert.equal("pass", check.verdict)
        assert.same({ name = "orders", verdict = "pass", measured = 12, limit = "at least 10 rows", unit = "rows",
            text = "orders is 12 rows, at least 10 rows" }, check.expectations[1])
    end)
    it("that fails stops the run and says what was measured and the limit", function()
        local result = play.run [[
            gate("orders", function() return { expect("orders", 3):at_least(10), expect("p95", nil):below(5) } end)
            note "never"
        ]]
        assert.equal(1, result.code)
        assert.matches("orders is 3, not at least 10; p95 gave no data", play.message(result), 1, true)
        assert.is_nil(result:last("note"))
    end)
    it("says of several expectations what was measured when they hold, and each that does not", function()
        local result = play.run [[
            gate("well", function() return { expect("errors", 0):below(5), expect("memory", 412):below(500, "MiB") } end)
            gate("ill", { within = "1ms" }, function()
                local list = {}
                for i = 1, 12 do list[i] = expect("node " .. i, i * 10):below(75, "ms") end
                return list
            end)
        ]]
        assert.equal(1, result.code)
        assert.equal("2 hold: errors 0, memory 412 MiB", result:last("check", "well").text)
        assert.equal("5 of 12 do not hold: node 8 is 80 ms, not below 75 ms; node 9 is 90 ms, not below 75 ms; and 3 more",
            result:last("check", "ill").text)
        local message = play.message(result)
        assert.matches("5 of 12 do not hold %(tried 1 time in %S+%):\n", message)
        for i = 8, 12 do
            assert.truthy(message:find(("\n  node %d is %d ms, not below 75 ms"):format(i, i * 10), 1, true), message)
        end
    end)
    it("that returns nothing fails at once, with its line", function()
        local result = play.run [[
            gate("empty", { within = "1m" }, function() end)
        ]]
        assert.equal(1, result.code)
        local message = result:last("gate.end").error
        assert.matches("returned nothing", message.message)
        assert.matches("demo.lua:2", message.where)
        assert.equal(0, #result:events("check"))
    end)
    it("whose playbook is wrong fails at once, with its line", function()
        local result = play.run [[
            gate("typo", { within = "1m" }, function()
                local page
                return expect("status", page.status):equals(200)
            end)
        ]]
        assert.equal(1, result.code)
        assert.matches("demo.lua:4", result:last("gate.end").error.where)
    end)
    it("tries again until it passes so often in a row", function()
        local run = play.start [[
            local fs = require "rollout.fs"
            gate("flag", { every = "20ms", within = "20s", needs = 3 }, function()
                return expect("there", fs.exists "flag"):equals(true)
            end)
        ]]
        assert.equal("fail", play.await(run, "check").verdict)
        t.write(run.folder .. "/flag", "")
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        local checks = run:events("check")
        assert.equal("passpasspass", checks[#checks - 2].payload.verdict .. checks[#checks - 1].payload.verdict
            .. checks[#checks].payload.verdict)
        assert.equal("fail", checks[#checks - 3].payload.verdict)
    end)
    it("says how long it was tried", function()
        local result = play.run [[
            gate("never", { every = "20ms", within = "100ms" }, function() return false, "still down" end)
        ]]
        assert.equal(1, result.code)
        assert.matches("never: still down %(tried %d+ times in %d+ms%)", result:last("gate.end").error.message)
        assert.is_true(#result:events("check") > 2)
    end)
    it("measured without data is no pass", function()
        local result = play.run [[
            local fs = require "rollout.fs"
            gate("broken", function() return expect("text", fs.read("there-is-none")):equals("x") end)
        ]]
        assert.equal(1, result.code)
        assert.equal("unknown", result:last("check").verdict)
    end)
    it("may not change anything", function()
        local result = play.run [[
            local fs = require "rollout.fs"
            gate("writes", { within = "1m" }, function() fs.write("x", "y") return true end)
        ]]
        assert.equal(1, result.code)
        assert.matches("fs.write changes the world", result:last("gate.end").error.message)
        assert.is_false(t.exists(result.folder .. "/x"))
    end)
    it("may be a warning only, or skipped", function()
        local result = play.run [[
            gate("loud", { on_failure = "alert" }, function() return false end)
            gate("off", { when = false }, function() return false end)
            gate("elsewhere", { only = "production" }, function() return false end)
            note "on"
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("skipped", result:last("gate.end", "off").status)
        assert.equal("only in production", result:last("gate.end", "elsewhere").reason)
        assert.equal("on", result:last("note").text)
    end)
    it("is not measured again on resume unless fresh says so", function()
        local result = play.run [[
            gate("stale", function() return true end)
            gate("fresh", { fresh = "0s" }, function() return true end)
            gate("red", function() return false end)
        ]]
        assert.equal(1, result.code)
        local again = play.again(result, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.is_nil(again:last("check", "stale"))
        assert.equal("pass", again:last("check", "fresh").verdict)
        assert.equal("fail", again:last("check", "red").verdict)
    end)
    for name, text in pairs {
        ["every alone"] = '{ every = "1s" }', ["needs alone"] = "{ needs = 2 }", ["a number"] = "{ within = 5 }",
        ["a misspelling"] = '{ withn = "5s" }',
    } do
        it("refuses " .. name, function()
            local result = play.run(("gate('g', %s, function() return true end)"):format(text))
            assert.not_equal(0, result.code)
            assert.matches('gate "g"', play.message(result), 1, true)
        end)
    end
end)

describe("a soak", function()
    it("measures over its time and tells its check what was before", function()
        local result = play.run [[
            soak("rate", { duration = "200ms", every = "100ms" }, function(m)
                if m.n > 1 then assert(m.first.rate == 1 and m.previous.rate == m.n - 1) end
                return expect("rate", m.n):below(10)
            end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(3, #result:events("check"))
        assert.equal(3, result:last("soak.end").value.measured)
    end)
    it("fails with the first failure, tolerates as many in a row as it says", function()
        local result = play.run [[
            soak("tolerant", { duration = "300ms", every = "50ms", failures = 1 }, function(m) return m.n % 2 == 1 end)
            soak("strict", { duration = "10s", every = "10ms" }, function(m) return m.n < 3 end)
        ]]
        assert.equal(1, result.code)
        assert.equal("ok", result:last("soak.end", "tolerant").status)
        assert.matches("measurement 3, .* of 10s; 1 failing in a row, 0 tolerated", result:last("soak.end", "strict")
            .error.message)
    end)
    it("does not end on a tolerated failure", function()
        local result = play.run [[
            soak("late", { duration = "40ms", every = "20ms", failures = 5 }, function(m) return m.n > 4 end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(5, result:last("soak.end").value.measured)
    end)
    it("without data passes never", function()
        local result = play.run [[
            soak("blind", { duration = "20ms", every = "10ms" }, function() return expect("x", nil):below(1) end)
        ]]
        assert.equal(1, result.code)
        assert.matches("5 without data in a row, 4 tolerated", result:last("soak.end").error.message)
    end)
    it("goes on after a crash where it was, and counts the gap", function()
        local body = [[
            soak("long", { duration = "3s", every = "300ms" }, function(m) return expect("n", m.n):below(100) end)
        ]]
        local first = play.start(body)
        t.eventually("the second measurement", function() return #first:events("check") >= 2 end)
        -- Measurements are durable when the next wait begins or after five seconds: wait for the file to hold one.
        first:kill("sigkill")
        first:wait()
        local second = play.again(first, { "resume" })
        assert.equal(0, second.code, second.out .. second.err)
        local value = second:last("soak.end").value
        assert.is_true(value.measured <= value.planned)
        assert.equal(11, value.planned)
        assert.equal(value.planned, value.measured + value.gaps)
    end)
end)

describe("a wait", function()
    it("takes the options of every verb", function()
        local late = play.run [[wait("20s", { timeout = "100ms" }) note "never"]]
        assert.equal(1, late.code, late.out .. late.err)
        assert.matches('wait "20s" was not finished within 100ms', play.message(late), 1, true)
        local alerted = play.run [[wait("20s", { name = "settle", timeout = "100ms", on_failure = "alert" }) note "went on"]]
        assert.equal(0, alerted.code, alerted.out .. alerted.err)
        local wrong = play.run [[wait("20s", { timout = "100ms" })]]
        assert.matches('unknown option "timout": did you mean "timeout"', play.message(wrong), 1, true)
    end)
    it("ends at the time that was set, whatever died meanwhile", function()
        local first = play.start [[wait "2s" note "over"]]
        play.await(first, "wait.begin")
        first:kill("sigkill")
        first:wait()
        local second = play.again(first, { "resume" })
        assert.equal(0, second.code, second.out .. second.err)
        assert.equal("over", second:last("note").text)
        local third = play.again(first, { "resume" })
        assert.equal(0, third.code)
        assert.is_nil(third:last("note"))
    end)
    it("wants a unit", function()
        local result = play.run "wait(5)"
        assert.not_equal(0, result.code)
        assert.matches('write "5s"', play.message(result), 1, true)
    end)
end)
