local stub = dofile("spec/host/lang/stub.lua")
local units = require "lang.units"
local options = require "lang.options"
local unknown = require "lang.unknown"

describe("durations", function()
    for text, ms in pairs { ["90s"] = 90000, ["15m"] = 900000, ["24h"] = 86400000, ["7d"] = 604800000,
        ["1h30m"] = 5400000, ["250ms"] = 250, ["0s"] = 0, ["1.5h"] = 5400000 } do
        it(text, function() assert.equal(ms, units.duration(text)) end)
    end
    for _, text in ipairs { "", "90", "s", "90 s", "1m1h", "1h1h", "-5s", "5x", "1e3s", "5s ", "11y", "4000d" } do
        it("refuses " .. ("%q"):format(text), function()
            local ms, why = units.duration(text)
            assert.is_nil(ms)
            assert.is_string(why)
        end)
    end
    it("asks a number for its unit", function()
        local _, why = units.duration(30)
        assert.matches('write "30s"', why, 1, true)
    end)
    it("are shown short", function()
        assert.equal("1h30m", units.show(5400000))
        assert.equal("2d4h", units.show(2 * 86400000 + 4 * 3600000 + 59000))
        assert.equal("1h", units.show(3600000 + 5000))
        assert.equal("250ms", units.show(250))
        assert.equal("2.5s", units.show(2500))
        assert.equal("0ms", units.show(0))
    end)
end)

describe("sizes", function()
    it("are read", function()
        assert.equal(64 * 1024 * 1024, units.size("64MiB"))
        assert.equal(2000000, units.size("2MB"))
        assert.equal(1536, units.size("1.5KiB"))
    end)
    it("are refused without a unit", function()
        for _, value in ipairs { 64, "64", "64 miles", "MiB", "-1KiB", "99999999999TiB" } do
            assert.is_nil((units.size(value)))
        end
    end)
end)

describe("options", function()
    local spec = { timeout = "duration", ok = { "table" }, mode = { "string", one_of = { "swap", "into" } },
        url = { "string", required = true }, tries = { "integer", default = 3 } }

    it("are converted, with defaults", function()
        local got = options.check({ timeout = "5s", url = "x" }, spec, "http.get")
        assert.same({ timeout = 5000, url = "x", tries = 3 }, got)
    end)
    it("suggest a name for one that is unknown", function()
        local err = stub.raised(options.check, { timeuot = "5s", url = "x" }, spec, "http.get")
        assert.matches('http.get: unknown option "timeuot"', err.message, 1, true)
        assert.matches('timeout', err.message, 1, true)
    end)
    it("say what a type must be", function()
        assert.matches("expects an integer, not a float",
            stub.raised(options.check, { tries = 1.5, url = "x" }, spec, "w").message, 1, true)
        assert.matches("url is missing", stub.raised(options.check, {}, spec, "w").message, 1, true)
        assert.matches('write "5s"', stub.raised(options.check, { timeout = 5, url = "x" }, spec, "w").message, 1, true)
        assert.matches("none of swap, into",
            stub.raised(options.check, { mode = "x", url = "x" }, spec, "w").message, 1, true)
        assert.matches("not a string", stub.raised(options.check, "x", spec, "w").message, 1, true)
        assert.matches("position 1", stub.raised(options.check, { "x" }, spec, "w").message, 1, true)
    end)
    it("take a placeholder for any type", function()
        local value = unknown.new("x")
        assert.equal(value, options.check({ url = value }, spec, "w").url)
    end)
    it("sort out a verb's arguments", function()
        local fn = function() end
        local opts, body = options.verb("step", "x", fn, nil, {})
        assert.same({}, opts)
        assert.equal(fn, body)
        assert.matches('did you mean "rollback"',
            stub.raised(options.verb, "step", "x", { on_failure = "rolback" }, fn, {}).message)
        options.environments = { "staging", "production" }
        assert.matches('no environment "prodution": did you mean "production"',
            stub.raised(options.verb, "step", "x", { only = { "staging", "prodution" } }, fn, {}).message)
        assert.matches("first argument is its name", stub.raised(options.verb, "step", fn, nil, nil, {}).message)
        assert.matches("needs a function", stub.raised(options.verb, "step", "x", {}, nil, {}).message, 1, true)
    end)
end)

describe("a placeholder", function()
    local value
    before_each(function() value = unknown.new("db.value") end)

    it("bears everything", function()
        assert.equal("‹known after run›", tostring(value))
        assert.equal("backups/‹known after run›.sql", tostring("backups/" .. value.path .. ".sql"))
        for _, one in ipairs { value.a.b, value(), value + 1, 2 * value, -value, value // 1, value.x "y" } do
            assert.is_true(unknown.is(one))
        end
        value.x = 1
        assert.equal(0, #value)
    end)
    it("ends each loop", function()
        for _ in pairs(value) do error "pairs" end
        for _ in unknown.ipairs(value) do error "ipairs" end
        assert.equal("‹known after run›", tostring(value[1].name))
        for _ in value:gmatch "x" do error "iterator" end
        for _ = 1, #value do error "#" end
    end)
    it("tells of a guess", function()
        local heard
        unknown.on_guess(function(label) heard = label end)
        assert.is_true(value < 5)
        assert.equal("db.value", heard)
        unknown.on_guess(function() end)
    end)
end)
