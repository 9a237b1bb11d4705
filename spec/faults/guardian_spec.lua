-- kill -9 of the host, of the guardian, of both, in the middle of a command; then resume.
local t = require "spec.helper"
local uv = require "luv"

local PLAY = [[
local sh = require "rollout.sh"
playbook "faults" { environments = { "test" } }
stage("Work", function()
  local said = step("long", function()
    return sh.%s("echo ran >> ran; echo early; until test -e go; do sleep 0.02; done; echo late").out
  end)
  step("after", function() sh.run("echo '" .. said:gsub("\n", " ") .. "' >> after") end)
end)
]]

local function ledger(run)
    local folder = run.state .. "/runs/"
    local _, name = next(t.exists(folder) and t.list(folder) or {})
    return name and t.read(folder .. name .. "/spool/ledger") or ""
end

local function start(verb)
    local folder = t.temp()
    local path = t.playbook(PLAY:format(verb or "run"), "faults", folder)
    local run = { folder = folder, state = folder .. "/state" }
    run.host = t.start_host { path, state = run.state, cwd = folder }
    t.eventually("the command runs", function()
        return t.exists(folder .. "/ran") and t.read(folder .. "/ran") == "ran\n" and ledger(run):find("pid %S+ %d+ %d+\n")
    end)
    run.command = tonumber(ledger(run):match("pid %S+ (%d+)"))
    run.guardian = tonumber(ledger(run):match("guardian (%d+)"))
    t.finally(function() -- what a failed test leaves
        t.write(folder .. "/go", "")
    end)
    return run
end

local function kill(pid) assert(uv.kill(pid, "sigkill")) end

local function kill_host(run)
    run.host:kill("sigkill")
    run.host:wait()
end

local function let_go(run) t.write(run.folder .. "/go", "") end

local function resume(run)
    return t.host { "resume", state = run.state, cwd = run.folder }
end

local function once(run)
    assert.equal("ran\n", t.read(run.folder .. "/ran"))
end

local function is_alive(pid)
    local stat = io.open("/proc/" .. pid .. "/stat")
    local state = stat and stat:read("a"):match("%) (%a)")
    if stat then
        stat:close()
    end
    return state and state ~= "Z"
end

describe("a command whose host was killed", function()
    it("is attached again while it runs", function()
        local run = start()
        kill_host(run)
        local again = t.start_host { "resume", state = run.state, cwd = run.folder }
        again:wait_for("AGAIN")
        let_go(run)
        assert.equal(0, again:wait().code, again.out .. again.err)
        once(run)
        assert.equal("early late \n", t.read(run.folder .. "/after"))
    end)
    it("is adopted when it has ended meanwhile", function()
        local run = start()
        kill_host(run)
        let_go(run)
        t.eventually("its end is in the ledger", function() return ledger(run):find("exit %S+ 0 0") end)
        t.eventually("the guardian ends", function() return not is_alive(run.guardian) end)
        local again = resume(run)
        assert.equal(0, again.code, again.out .. again.err)
        once(run)
        assert.equal("early late \n", t.read(run.folder .. "/after"))
    end)
end)

describe("a command whose guardian was killed", function()
    it("leaves its effect in doubt at once", function()
        local run = start()
        kill(run.guardian)
        assert.equal(7, run.host:wait().code, run.host.out .. run.host.err)
        assert.matches("in doubt", run.host.out:lower())
        let_go(run)
        local again = resume(run)
        assert.equal(7, again.code, again.out .. again.err)
        once(run)
    end)
    it("runs again if it changes nothing", function()
        local run = start("read")
        kill(run.guardian)
        let_go(run)
        local code = run.host:wait().code
        if code ~= 0 then
            assert.equal(0, resume(run).code)
        end
        assert.equal("early late \n", t.read(run.folder .. "/after"))
    end)
    it("is in doubt after a resume when the host was killed too", function()
        local run = start()
        kill(run.guardian)
        kill_host(run)
        kill(-run.command)
        t.eventually("the command is gone", function() return not is_alive(run.command) end)
        local again = resume(run)
        assert.equal(7, again.code, again.out .. again.err)
        once(run)
        local id = again.out:match("faults%-%d+%-%d+%-%x+")
        assert.equal(0, t.host({ "decide", id, "--retry", "--reason", "looked", state = run.state }).code)
        let_go(run)
        again = resume(run)
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("ran\nran\n", t.read(run.folder .. "/ran"))
    end)
end)
