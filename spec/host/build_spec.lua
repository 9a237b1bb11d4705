local t = require "spec.helper"

describe("the build", function()
    it("installs what runs from where it was put", function()
        local folder = t.temp()
        local make = t.run { "make", "-s", "BUILD=" .. t.build, "DESTDIR=" .. folder, "PREFIX=/opt/x", "install",
            timeout = 120 }
        assert.equal(0, make.code, make.out .. make.err)
        local path = t.playbook([[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
step("it", function() sh.run { "true" } end)
]], "spec", folder)
        local run = t.run { folder .. "/opt/x/bin/rollouthost", path, "--state", folder .. "/state", cwd = folder }
        assert.equal(0, run.code, run.out .. run.err)
    end)

    it("names the package of a library that is not there", function()
        local check = t.run { "vendor/check", env = { PKG_CONFIG_LIBDIR = "/nonexistent", PKG_CONFIG_PATH = "" } }
        assert.equal(1, check.code)
        assert.matches("jansson is missing (Debian package libjansson-dev)", check.err, 1, true)
        assert.matches("vendor/install build", check.err, 1, true)
        assert.equal(0, t.run({ "vendor/check" }).code)
    end)

    it("installs nothing, and says nothing, where all is there", function()
        assert.same({ 0, "", "" }, (function(r) return { r.code, r.out, r.err } end)(t.run { "vendor/install", "build" }))
        local unknown = t.run { "vendor/install", "nonsense" }
        assert.equal(2, unknown.code)
        assert.matches("there are: build run test ", unknown.err, 1, true)
    end)
end)

describe("spec/run", function()
    local function outcome(text)
        local path = t.write(t.temp() .. "/x_spec.lua", text)
        local run = t.run { "spec/run", path, timeout = 60 }
        return run.code, run.out
    end

    it("sums up what passed, failed and was skipped", function()
        local code, out = outcome [[
describe("x", function()
    it("passes", function() end)
    it("fails", function() error("the reason") end)
    pending("skipped for a reason")
end)]]
        assert.equal(1, code)
        assert.matches("the reason", out, 1, true)
        assert.matches("skipped: x skipped for a reason\n1 passed, 1 failed, 1 skipped\n$", out)
    end)

    it("takes nothing tested, a crash, and a process left behind for failures", function()
        assert.matches("tests nothing", select(2, outcome "local x = 1 return x"), 1, true)
        assert.matches("unexpected symbol", select(2, outcome "x = = 1"), 1, true)
        local code, out = outcome [[it("ends", function() os.exit(0) end)]]
        assert.equal(1, code)
        assert.matches("tests nothing", out, 1, true)
        code, out = outcome [[it("passes", function() end) it("ends", function() os.exit(0) end)]]
        assert.equal(1, code)
        assert.matches("did not come to its last test", out, 1, true)
        code, out = outcome [[it("leaves", function() os.execute("sleep 77 >/dev/null 2>&1 &") end)]]
        assert.equal(1, code)
        assert.matches("left a process behind: %d+ sleep 77", out)
    end)
end)
