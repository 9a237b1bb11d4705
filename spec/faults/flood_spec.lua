-- A command that prints without end and without a newline: the memory of host and guardian stays small, and both ends of
-- what it printed are kept. FLOOD_MIB makes it larger.
local t = require "spec.helper"

local MIB = tonumber(os.getenv "FLOOD_MIB") or 128
local LIMIT_KIB = 64 * 1024

local function peak(pid)
    local file = io.open("/proc/" .. pid .. "/status")
    local text = file and file:read("a") or ""
    if file then
        file:close()
    end
    return tonumber(text:match "VmHWM:%s*(%d+) kB")
end

describe("a flood without a newline", function()
    it("takes little memory of host and guardian", function()
        local path, folder = t.playbook(([[
            local sh = require "rollout.sh"
            playbook "demo" { environments = { "staging" } }
            local token = secret "FLOOD_TOKEN"
            return step("flood", function()
                local r = sh.run("printf first; head -c %d /dev/zero | tr '\\0' x; printf $FLOOD_TOKEN; printf last", {
                    env = { FLOOD_TOKEN = token }, capture = "64KiB" })
                return { first = r.out:sub(1, 6), last = r.out:sub(-40), short = #r.out < 70000, cut = r.truncated }
            end)
        ]]):format(MIB << 20), "demo")
        local state = folder .. "/state"
        local run = t.start_host { path, "--output", "json", state = state, cwd = folder,
            env = { FLOOD_TOKEN = "a-token-in-the-flood" } }
        local guardian, host_peak, guardian_peak
        t.eventually("the flood ends", function()
            local folders = t.exists(state .. "/runs") and t.list(state .. "/runs") or {}
            local ledger = folders[1] and state .. "/runs/" .. folders[1] .. "/spool/ledger"
            guardian = guardian or ledger and t.exists(ledger) and t.read(ledger):match "guardian (%d+)"
            host_peak = peak(run.pid) or host_peak
            guardian_peak = guardian and peak(guardian) or guardian_peak
            return run.code and run.open == 0
        end, 120)
        print(("\n%d MiB: host %d KiB, guardian %d KiB"):format(MIB, host_peak, guardian_peak))
        assert.equal(0, run.code, run.out:sub(-2000) .. run.err)
        assert(host_peak < LIMIT_KIB and guardian_peak < LIMIT_KIB)
        local value = t.digest_events(run).ended.flood.value
        assert.equal("firstx", value.first)
        assert.matches("last$", value.last)
        assert.same({ true, true }, { value.short, value.cut })
        assert.equal(1, t.run({ "grep", "-rqF", "a-token-in-the-flood", state, timeout = 120 }).code)
    end)
end)
