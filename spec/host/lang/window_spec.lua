local stub = dofile("spec/host/lang/stub.lua")

-- `date` knows the zones by itself: the specs' oracle, and the host's zone_offset here.
local cache = {}
function stub.host.zone_offset(tz, seconds)
    tz = tz or "UTC"
    if tz == "America/New_Yrok" then return nil, 'there is no time zone "America/New_Yrok"' end
    local id = tz .. seconds
    if not cache[id] then
        local pipe = assert(io.popen(("TZ=%s date -d @%d '+%%z %%Z'"):format(tz, seconds)))
        local sign, hours, minutes, name = pipe:read("a"):match("([-+])(%d%d)(%d%d) (%S+)")
        pipe:close()
        cache[id] = { (hours * 3600 + minutes * 60) * (sign == "-" and -1 or 1), name }
    end
    return math.tointeger(cache[id][1]), cache[id][2]
end

local zone = require "lang.zone"
local window = require "lang.window"
local NY = "America/New_York"
local H = 3600000

local function at(text) return (assert(zone.parse(text, NY))) end

describe("a time", function()
    it("is read in a zone or with an offset", function()
        assert.equal(1795575600000, (zone.parse("2026-11-24T22:00", NY)))
        assert.equal(1795575600000, (zone.parse("2026-11-24T22:00:00-05:00", "Europe/Berlin")))
        assert.equal(1795575600000, (zone.parse("2026-11-25 03:00Z")))
    end)
    it("is refused when it is none", function()
        for _, text in ipairs { "tomorrow", "2026-13-01T00:00", "2026-02-29T00:00", "2026-02-30T00:00", "22:00",
            "2026-11-24T24:00", "2026-11-24T22:60", "2026-11-24T22:00 EST", "2026-11-24", "2026-11-31T00:00" } do
            assert.is_nil((zone.parse(text, NY)), text)
        end
        assert.is_number((zone.parse("2028-02-29T00:00", NY)))
    end)
    it("is shown in its zone", function()
        assert.equal("Tue 2026-11-24 22:00 EST", zone.format(NY, 1795575600000))
    end)
    it("that the clock skips moves on, that it shows twice is the first", function()
        assert.equal("Sun 2026-03-08 03:30 EDT", zone.format(NY, at "2026-03-08T02:30"))
        assert.equal("Sun 2026-11-01 01:30 EDT", zone.format(NY, at "2026-11-01T01:30"))
    end)
end)

describe("a window", function()
    local night
    before_each(function()
        night = window.parse({ days = "Tue-Thu", from = "22:00", to = "02:00", tz = NY }, "stage")
    end)

    -- 2026-11-24 is a Tuesday.
    for text, open in pairs {
        ["2026-11-24T21:59"] = false, ["2026-11-24T22:00"] = true, ["2026-11-25T01:59"] = true,
        ["2026-11-25T02:00"] = false, ["2026-11-26T22:00"] = true, ["2026-11-27T01:00"] = true,
        ["2026-11-27T22:00"] = false, ["2026-11-24T01:00"] = false, ["2026-11-28T01:00"] = false,
    } do
        it("of Tue-Thu nights at " .. text, function()
            assert.equal(open, window.check(night, at(text)).open)
        end)
    end
    it("says when it opens next and when it closes", function()
        assert.equal(at "2026-12-01T22:00", window.check(night, at "2026-11-27T02:00").opens)
        assert.equal(at "2026-11-25T02:00", window.check(night, at "2026-11-24T23:00").closes)
        assert.matches("Tue 2026%-12%-01 22:00 EST", window.check(night, at "2026-11-27T12:00").text)
    end)
    it("refuses what no longer fits", function()
        local state = window.check(night, at "2026-11-25T01:50", 15 * 60000)
        assert.is_true(state.open)
        assert.is_false(state.fits)
        assert.matches("closes Wed 2026%-11%-25 02:00 EST, in 10m", state.text)
        assert.equal(at "2026-11-25T22:00", state.opens)
        assert.is_true(window.check(night, at "2026-11-25T01:45", 15 * 60000).fits)
    end)
    it("that is never long enough never opens", function()
        local state = window.check(night, at "2026-11-24T23:00", 5 * H)
        assert.is_nil(state.opens)
        assert.matches("never open for the 5h", state.text)
    end)
    it("spans the changes of the clock", function()
        local every = window.parse({ from = "22:00", to = "03:00", tz = NY }, "stage")
        local spring = window.check(every, at "2026-03-07T23:00")
        assert.equal(4 * H, spring.closes - at "2026-03-07T22:00")
        local autumn = window.check(every, at "2026-10-31T23:00")
        assert.equal(6 * H, autumn.closes - at "2026-10-31T22:00")
    end)
    it("whose hours the spring night lacks", function()
        local gap = window.parse({ days = "Sun", from = "02:00", to = "03:00", tz = NY }, "stage")
        local state = window.check(gap, at "2026-03-08T01:00")
        assert.is_false(window.check(gap, at "2026-03-08T03:30").open)
        assert.equal(at "2026-03-15T02:00", state.opens)
    end)
    it("of whole days in a row closes after the last", function()
        local days = window.parse({ days = { "Tue", "Wed" }, tz = NY }, "stage")
        assert.equal(at "2026-11-26T00:00", window.check(days, at "2026-11-24T12:00").closes)
    end)
    it("wraps around the week", function()
        local weekend = window.parse({ days = "Sat-Mon", tz = NY }, "stage")
        assert.is_true(window.check(weekend, at "2026-11-30T12:00").open)
        assert.is_false(window.check(weekend, at "2026-12-01T12:00").open)
    end)
    it("is refused when it cannot be meant", function()
        for _, spec in ipairs {
            { days = "Tues-Thirsday", from = "22:00", to = "02:00" }, { days = {} }, { from = "22:00" },
            { from = "25:00", to = "02:00" }, { from = "22", to = "02:00" }, { from = "22:00", to = "22:00" },
            { tz = "America/New_Yrok" }, { max = 4 }, { day = "Tue" }, { days = { 1 } },
        } do
            assert.equal("usage", stub.raised(window.parse, spec, "stage").code)
        end
    end)
end)
