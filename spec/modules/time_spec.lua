local time = require "spec.modules.stub"("time", { now = function() return 1763629200123 end })

describe("time", function()
    it("tells the clock in milliseconds", function()
        assert.equal(1763629200123, time.now())
    end)

    it("formats ISO 8601", function()
        assert.equal("1970-01-01T00:00:00Z", time.format(0))
        assert.equal("2026-11-20T09:30:00Z", time.format(1795167000000))
        assert.equal("2026-11-20T09:30:00.007Z", time.format(1795167000007))
        assert.equal("2026-11-20T09:30:00.000Z", time.format(1795167000000, { ms = true }))
        assert.equal("2026-11-20T15:00:00+05:30", time.format(1795167000000, { offset = "+05:30" }))
        assert.equal("2026-11-20", time.format(1795167000000, { date = true }))
        assert.equal("2026-11-19", time.format(1795167000000, { date = true, offset = "-10:00" }))
        assert.equal("1969-12-31T23:59:59.999Z", time.format(-1))
    end)

    it("reads back what it wrote, on every day of four centuries", function()
        local at = time.parse "1900-01-01"
        local last = time.parse "2300-01-01"
        while at < last do
            assert.equal(at, time.parse(time.format(at)))
            at = at + 86400000 * 13 + 3723004
        end
    end)

    it("agrees with the system's calendar", function()
        for _, day in ipairs { 0, 59, 60, 11016, 11017, 18321, 20000, 47541 } do
            assert.equal(os.date("!%Y-%m-%dT%H:%M:%SZ", day * 86400), time.format(day * 86400000))
        end
    end)

    it("parses offsets and fractions", function()
        assert.equal(1795167000000, time.parse "2026-11-20T09:30:00Z")
        assert.equal(1795167000000, time.parse "2026-11-20T10:30:00+01:00")
        assert.equal(1795167000000, time.parse "2026-11-20 01:30-0800")
        assert.equal(1795167000120, time.parse "2026-11-20T09:30:00.12Z")
        assert.equal(1795167000123, time.parse "2026-11-20T09:30:00.123999Z")
    end)

    for text, why in pairs {
        ["2026-11-20T09:30:00"] = "no offset",
        ["2026-02-29"] = "no moment",
        ["2026-13-01"] = "no moment",
        ["2026-11-20T24:00Z"] = "no moment",
        ["2026-11-20T09:30:00+99:00"] = "offset",
        ["20.11.2026"] = "no time such as",
        [""] = "no time such as",
    } do
        it(("refuses %q"):format(text), function()
            local ok, problem = pcall(time.parse, text)
            assert.is_false(ok)
            assert.matches(why, problem.message, 1, true)
        end)
    end

    it("refuses what is no time", function()
        assert.has_error(function() time.format(1.5) end)
        assert.has_error(function() time.format("now") end)
        assert.has_error(function() time.parse(5) end)
        assert.has_error(function() time.format(0, { offset = "Berlin" }) end)
        assert.has_error(function() time.format(0, { tz = "UTC" }) end)
    end)

    it("says durations", function()
        for ms, text in pairs { [90] = "90ms", [2500] = "2.5s", [60000] = "1m", [5400000] = "1h30m" } do
            assert.equal(text, time.format_duration(ms))
        end
    end)
end)
