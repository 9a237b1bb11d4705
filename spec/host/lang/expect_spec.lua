local stub = dofile("spec/host/lang/stub.lua")
local expect = require "lang.expect"
local check = require "lang.check"

local NULL = stub.host.json.null

local function verdict(one) return one.verdict end

describe("expect", function()
    it("holds numbers against limits", function()
        assert.equal("pass", verdict(expect.new("p95", 431):below(500, "ms")))
        assert.equal("fail", verdict(expect.new("p95", 500):below(500, "ms")))
        assert.equal("pass", verdict(expect.new("n", 1):at_least(1)))
        assert.equal("fail", verdict(expect.new("n", 0):at_least(1)))
        assert.equal("pass", verdict(expect.new("n", 2):above(1)))
        assert.equal("fail", verdict(expect.new("n", 1):above(1)))
        assert.equal("pass", verdict(expect.new("n", 1):at_most(1)))
        assert.equal("pass", verdict(expect.new("n", 5):between(1, 5)))
        assert.equal("fail", verdict(expect.new("n", 6):between(1, 5)))
        assert.equal("pass", verdict(expect.new("decimal column", "12.50"):at_least(12)))
    end)
    it("says what was measured and what was wanted", function()
        assert.equal("p95 is 612 ms, not below 500 ms", expect.new("p95", 612):below(500, "ms").text)
        assert.equal("error rate is 2%, not below 1%", expect.new("error rate", 0.02):below("1%").text)
        assert.equal("p95 gave no data (expected below 500 ms)", expect.new("p95", nil):below(500, "ms").text)
    end)
    it("takes no data for unknown, never for a pass", function()
        for _, value in ipairs { false, NULL, 0 / 0, "n/a" } do
            local measured = value
            if value == false then measured = nil end
            assert.equal("unknown", verdict(expect.new("x", measured):below(1)))
            assert.equal("unknown", verdict(expect.new("x", measured):above(1)))
            assert.equal("unknown", verdict(expect.new("x", measured):between(1, 2)))
            assert.equal("unknown", verdict(expect.new("x", measured):rises_at_most("5%", 1)))
        end
        assert.equal("unknown", verdict(expect.new("x", nil):equals(1)))
        assert.equal("unknown", verdict(expect.new("x", 1):rises_at_most("5%", nil)))
        assert.equal("unknown", verdict(expect.new("x", 1):rises_at_most("5%", 0 / 0)))
    end)
    it("shows and keeps the beginning of what is long", function()
        local page = ("line\n"):rep(100000)
        local one = expect.new("page", page):includes "nothing"
        assert.is_true(#one.text < 400)
        assert.is_nil(one.text:find("\n"))
        assert.matches("500000 bytes", one.text)
        assert.is_true(#check.plain({ one })[1].measured < 400)
        local rows = {}
        for i = 1, 5000 do rows[i] = { id = i } end
        assert.is_true(#check.plain({ expect.new("rows", rows):includes { id = 1 } })[1].measured < 400)
        assert.same({ id = 1 }, check.plain({ expect.new("row", { id = 1 }):exists() })[1].measured)
    end)
    it("reads percentages as fractions", function()
        assert.equal("pass", verdict(expect.new("rate", 0.009):below("1%")))
        assert.equal("fail", verdict(expect.new("rate", 0.011):below("1%")))
    end)
    it("compares with a base", function()
        assert.equal("pass", verdict(expect.new("rate", 0.0104):rises_at_most("5%", 0.01)))
        assert.equal("fail", verdict(expect.new("rate", 0.0106):rises_at_most("5%", 0.01)))
        assert.equal("pass", verdict(expect.new("rate", 0.001):rises_at_most("5%", 0, { floor = 0.001 })))
        assert.equal("fail", verdict(expect.new("rate", 0.001):rises_at_most("5%", 0)))
        assert.equal("pass", verdict(expect.new("n", 15):rises_at_most(5, 10)))
        assert.equal("pass", verdict(expect.new("orders", 96):falls_at_most("5%", 100)))
        assert.equal("fail", verdict(expect.new("orders", 94):falls_at_most("5%", 100)))
        assert.equal("pass", verdict(expect.new("orders", 94):falls_at_most("5%", 100, { floor = 90 })))
    end)
    it("compares other things", function()
        assert.equal("pass", verdict(expect.new("x", "a"):equals("a")))
        assert.equal("pass", verdict(expect.new("x", { 1, { a = 2 } }):equals { 1, { a = 2 } }))
        assert.equal("fail", verdict(expect.new("x", { 1, 2 }):equals { 1 }))
        assert.equal("pass", verdict(expect.new("x", "12.00"):equals(12)))
        assert.equal("fail", verdict(expect.new("x", false):equals(true)))
        assert.equal("pass", verdict(expect.new("x", { "a", "b" }):includes("b")))
        assert.equal("pass", verdict(expect.new("x", "status: online"):includes("online")))
        assert.equal("fail", verdict(expect.new("x", {}):includes("b")))
        assert.equal("pass", verdict(expect.new("x", "b"):one_of { "a", "b" }))
        assert.equal("fail", verdict(expect.new("x", "c"):one_of { "a", "b" }))
        assert.equal("pass", verdict(expect.new("x", "v1.2"):matches("^v%d")))
        assert.equal("pass", verdict(expect.new("x", 0):exists()))
        assert.equal("fail", verdict(expect.new("x", NULL):exists()))
    end)
    it("refuses what cannot be meant", function()
        for _, fn in ipairs {
            function() return expect.new(5, 5) end,
            function() return expect.new("x", 5):bellow(5) end,
            function() return expect.new("x", 5):below("five") end,
            function() return expect.new("x", 5):below(nil) end,
            function() return expect.new("x", {}):below(5) end,
            function() return expect.new("x", 5):between(5, 1) end,
            function() return expect.new("x", 5):one_of {} end,
            function() return expect.new("x", "5"):matches("[") end,
            function() return expect.new("x", 5):equals(nil) end,
            function() return expect.new("x", 5):at_least(1):at_most(7) end,
        } do
            assert.equal("usage", stub.raised(fn).code)
        end
    end)
end)

describe("a check", function()
    local function judge(...) return check.judge('gate "g"', "g", true, ...) end

    it("passes when all hold", function()
        assert.equal("pass", (judge { expect.new("a", 1):below(2), expect.new("b", 1):below(2) }))
        assert.equal("pass", (judge(expect.new("a", 1):below(2), expect.new("b", 1):below(2))))
        assert.equal("pass", (judge(true, "fine")))
    end)
    it("prefers fail to unknown to pass", function()
        local ok, bad = expect.new("a", 1):below(2), expect.new("b", 3):below(2)
        local none = expect.new("c", nil):below(2)
        assert.equal("fail", (judge { none, ok, bad }))
        assert.equal("unknown", (judge { ok, none }))
        assert.equal("fail", (judge(false, "three rows")))
    end)
    it("is unknown when its effect broke", function()
        local found, list = check.judge("w", "g", false, { code = "connect", message = "refused" })
        assert.equal("unknown", found)
        assert.matches("refused", list[1].text)
    end)
    it("raises the playbook's own error", function()
        assert.equal("attempt to index nil", stub.raised(check.judge, "w", "g", false, "attempt to index nil"))
    end)
    it("never takes silence for consent", function()
        for _, value in ipairs { {}, { true }, "ok", 1, { expect.new("a", 1) }, expect.new("a", 1) } do
            assert.equal("usage", stub.raised(judge, value).code)
        end
        assert.matches("returned nothing", stub.raised(judge).message)
        assert.matches("returned nothing", stub.raised(judge, nil).message)
        assert.equal("usage", stub.raised(judge, expect.new("a", 1):below(2), "b").code)
    end)
end)
