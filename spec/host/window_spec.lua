local play = require "spec.host.play"
local me = play.me()
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }

-- A day that is neither today, yesterday nor tomorrow anywhere.
local function other_day()
    return DAYS[(os.date("!*t").wday + 2) % 7 + 1]
end

local CLOSED = ('stage("Deploy", { window = { days = "%s", from = "12:00", to = "12:30", tz = "America/New_York" } },')
    :format(other_day()) .. ' function() note "in" end)'

local ROLES = ('roles = { ["technical lead"] = { "%s" } }'):format(me)

describe("a stage's window", function()
    it("lets a stage begin while it is open", function()
        local result = play.run [[stage("Deploy", { window = { tz = "Europe/Berlin" } }, function() note "in" end)]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("in", result:last("note").text)
        assert.is_true(result:last("window").open)
    end)
    it("stops the run while it is closed, says when it opens, and is looked at again on resume", function()
        local result = play.run(CLOSED)
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches('stage "Deploy": the window is closed; it opens next ' .. other_day() .. " %d+%-%d+%-%d+ 12:00 E[SD]T",
            play.message(result))
        assert.is_nil(result:last("note"))
        local again = play.again(result, { "resume" })
        assert.equal(1, again.code, again.out .. again.err)
        assert.matches("opens next", play.message(again))
    end)
    it("is waited for with --wait", function()
        local run = play.start(CLOSED, { "--wait" })
        assert.is_true(play.await(run, "window").opens > os.time() * 1000)
        run:kill("sigint")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
    end)
    it("gives way to an emergency that the technical lead approves", function()
        local run = play.start(CLOSED, { "--emergency", "login is down", more = ROLES })
        local asked = play.await(run, "approve.begin")
        assert.equal("login is down", asked.evidence.reason)
        assert.same({ "technical lead" }, asked.roles)
        assert.is_nil(run:last("note"))
        play.drop(run, "approve", { name = "emergency" })
        run:wait()
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("in", run:last("note").text)
        local nobody = play.run(CLOSED, { "--emergency", "login is down" })
        assert.equal(1, nobody.code)
        assert.matches('no role "technical lead"', play.message(nobody), 1, true)
    end)
    it("refuses a stage that with its rollback no longer fits", function()
        local result = play.run(
            [[stage("Deploy", { window = { from = "00:00", to = "23:59", tz = "UTC" } }, function() note "in" end)]],
            { more = 'rollback = { budget = "25h" }' })
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("never open for the 1d1h", play.message(result))
    end)
    it("in a zone that does not exist is refused", function()
        local result = play.run [[stage("Deploy", { window = { tz = "America/New_Yrok" } }, function() end)]]
        assert.equal(1, result.code)
        assert.matches('there is no time zone "America/New_Yrok"', play.message(result), 1, true)
    end)
    it("is no longer than its max", function()
        local result = play.run [[stage("Deploy", { window = { tz = "UTC", max = "300ms" } }, function() wait "20s" end)]]
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("was not finished within %d+ms", play.message(result))
    end)
end)

describe("a stage before the planned time", function()
    local function at(seconds) return os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + seconds) end

    it("waits until then, and no longer", function()
        local body = [[stage("Earlier", { before = "1h" }, function() note "in" end)]]
        local result = play.run(body, { "--at", at(3601) })
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("in", result:last("note").text)
        assert.equal(0, play.run(body, { "--at", at(-86400) }).code)
        local run = play.start(body, { "--at", at(7200) })
        play.await(run, "countdown")
        run:kill("sigint")
        run:wait()
        assert.equal(5, run.code, run.out .. run.err)
        assert.is_nil(run:last("note"))
    end)
    it("needs --at, and one that is a time", function()
        local body = [[stage("Earlier", { before = "1h" }, function() note "in" end)]]
        local result = play.run(body)
        assert.equal(1, result.code)
        assert.matches("give it with --at", play.message(result), 1, true)
        result = play.run(body, { "--at", "tomorrow" })
        assert.equal(2, result.code, result.out .. result.err)
        assert.matches('"tomorrow" is no time', result.err, 1, true)
    end)
end)
