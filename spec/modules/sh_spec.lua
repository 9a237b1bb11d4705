local t = require "spec.helper"

local function fails(code, text, options)
    local value, problem, result = t.body(text, options)
    assert.is_nil(value)
    assert.equal(code, problem.code, problem.message)
    return problem, result
end

describe("sh.run", function()
    it("passes arguments as they are", function()
        local value = t.body [[return sh.run { "printf", "[%s]", "a b", "$HOME", "'", 5, 1.5 }.out]]
        assert.equal("[a b][$HOME]['][5][1.5]", value)
    end)

    it("keeps both streams and the exit code apart", function()
        local value = t.body [[return sh.run("echo out; echo err >&2; exit 3", { ok = { 0, 3 } })]]
        assert.equal("out\n", value.out)
        assert.equal("err\n", value.err)
        assert.equal(3, value.code)
        assert.is_nil(value.signal)
        assert.is_false(value.truncated)
    end)

    it("fails on another exit code, with the last words and the log", function()
        local problem, result = fails("exit", [[sh.run "echo one; echo the reason >&2; exit 4"]])
        assert.matches("exited with 4", problem.message, 1, true)
        assert.matches("the reason", problem.message, 1, true)
        assert.equal(4, problem.detail.code)
        assert.matches("one\n", t.read(problem.detail.log), 1, true)
        assert.matches("the reason\n", t.read(problem.detail.log), 1, true)
        assert.equal(1, result.code)
    end)

    it("sees a failure on the left of a pipe, and an unset variable", function()
        fails("exit", [[sh.run "false | cat"]])
        fails("exit", [[sh.run "echo $NO_SUCH_NAME"]])
    end)

    it("names the signal that ended a command", function()
        local problem = fails("exit", [[sh.run "kill -9 $$"]])
        assert.matches("SIGKILL", problem.message, 1, true)
    end)

    it("says which tool is missing, and where it looked", function()
        local problem = fails("command_not_found", [[sh.run { "no-such-tool", "deploy" }]])
        assert.matches("no-such-tool", problem.message, 1, true)
        assert.matches("PATH", problem.message, 1, true)
    end)

    it("starts where the run started, or in cwd", function()
        local folder = t.temp()
        t.write(folder .. "/sub/x", "")
        local value = t.body([[return { sh.run({ "pwd" }).out, sh.run({ "pwd", cwd = "sub" }).out,
            sh.with({ cwd = "sub" }).run({ "pwd", cwd = ".." }).out }]], { cwd = folder })
        assert.same({ folder .. "\n", folder .. "/sub\n", folder .. "\n" }, value)
        fails("cwd", [[sh.run { "pwd", cwd = "none" }]])
    end)

    it("adds to the environment, and takes from it", function()
        local value = t.body([[return sh.run { "sh", "-c", "echo $A-$B-${C-none}", env = { B = "two", C = false } }.out]],
            { env = { A = "one", C = "three" } })
        assert.equal("one-two-none\n", value)
    end)

    it("gives text or a secret on standard input", function()
        local value, _, result = t.body([[
            local length = sh.run({ "wc", "-c", stdin = secret "TOKEN" }).out
            return { sh.run({ "cat", stdin = "hello" }).out, length }]], { env = { TOKEN = "swordfish" } })
        assert.same({ "hello", "9\n" }, value)
        assert.is_nil(result.out:find("swordfish", 1, true))
    end)

    it("keeps it in a file that nobody else may read, and that can be opened again", function()
        local value = t.body([[return sh.run({ "sh", "-c", "stat -L -c %a /dev/fd/0; wc -c < /dev/fd/0; wc -c < /dev/fd/0",
            stdin = secret "TOKEN" }).out]], { env = { TOKEN = "swordfish" } })
        assert.equal("600\n9\n9\n", value)
    end)

    it("hides a secret that a command prints", function()
        local value, _, result = t.body([[return sh.run { "sh", "-c", 'echo "<$T>"', env = { T = secret "TOKEN" } }.out]],
            { env = { TOKEN = "swordfish" } })
        assert.equal("<‹secret TOKEN›>\n", value)
        assert.is_nil(t.run { "grep", "-r", "swordfish", result.state }.out:match("%S"))
    end)

    it("refuses a secret among the arguments, and says what to do", function()
        local problem = fails("usage", [[sh.run { "curl", "-u", "me:" .. secret "TOKEN", "http://localhost" }]],
            { env = { TOKEN = "swordfish" } })
        assert.matches("argument 3 is a secret", problem.message, 1, true)
        assert.matches("env =", problem.message, 1, true)
        problem = fails("usage", [[sh.run("echo " .. secret "TOKEN")]], { env = { TOKEN = "swordfish" } })
        assert.matches("the command is a secret", problem.message, 1, true)
    end)

    it("ends the whole group at its timeout", function()
        local folder = t.temp()
        local problem = fails("timeout", [[sh.run("echo before; sleep 300 & echo $! > pid; wait",
            { timeout = "300ms", grace = "200ms" })]], { cwd = folder })
        assert.matches("still running after", problem.message, 1, true)
        local pid = t.read(folder .. "/pid"):match("%d+")
        t.eventually("the grandchild ends", function() return not t.exists("/proc/" .. pid) end)
    end)

    it("kills what ignores TERM", function()
        fails("timeout", [[sh.run("trap '' TERM; echo up; while :; do sleep 0.1; done", { timeout = "300ms", grace = "200ms" })]])
    end)

    it("keeps the ends of a flood, in bounded memory", function()
        local value = t.body [[
            local r = sh.run("echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last", { capture = "64KiB" })
            return { #r.out <= 65536 + 200, r.out:sub(1, 5), r.out:sub(-5), r.truncated }]]
        assert.same({ true, "first", "last\n", true }, value)
    end)

    it("does not wait for a daemon that holds the pipe", function()
        local folder = t.temp()
        local value = t.body([[return sh.run("sleep 20 & echo $! > pid; echo started").ms < 10000]], { cwd = folder })
        t.run { "kill", (t.read(folder .. "/pid"):gsub("%s", "")) } -- a daemon that a step starts is meant to stay
        assert.is_true(value)
    end)

    it("refuses what it does not know", function()
        assert.matches("timeout", fails("usage", [[sh.run { "true", timout = "5s" }]]).message, 1, true)
        assert.matches("not in both", fails("usage", [[sh.run({ "true", cwd = "/" }, { cwd = "/" })]]).message, 1, true)
        assert.matches("empty", fails("usage", [[sh.run {}]]).message, 1, true)
        assert.matches("empty", fails("usage", [[sh.run "  "]]).message, 1, true)
        assert.matches("argument 2 is missing", fails("usage", [[sh.run { "a", nil, "c" }]]).message, 1, true)
        assert.matches("exit codes", fails("usage", [[sh.run { "a", ok = { "x" } }]]).message, 1, true)
        assert.matches("no name of a variable", fails("usage", [[sh.run { "a", env = { ["a=b"] = "c" } }]]).message, 1, true)
    end)
end)

describe("sh in checks", function()
    local function gate(body)
        return t.play(([[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
gate("g", function() return %s end)
]]):format(body))
    end

    it("passes, and fails with what was measured", function()
        assert.equal(0, gate([[sh.check { "true" }]]).code)
        assert.equal(0, gate([[sh.check { "sh", "-c", "exit 3", ok = { 0, 3 } }]]).code)
        local result = gate([[sh.check "echo not active >&2; exit 3"]])
        assert.equal(1, result.code)
        assert.matches("not active", result.out, 1, true)
    end)

    it("does not take a missing tool for an answer", function()
        local result = gate([[sh.check { "no-such-tool" }]])
        assert.equal(1, result.code)
        assert.matches('"verdict":"unknown"', result.out, 1, true)
    end)

    it("reads, and refuses to change", function()
        assert.equal(0, gate([[sh.read { "true" }.code == 0, "evidence"]]).code)
        local result = gate([[sh.run { "true" }.code == 0, "evidence"]])
        assert.equal(1, result.code)
        assert.matches("sh.read", result.out .. result.err, 1, true)
    end)
end)

describe("sh.start", function()
    it("runs until it is stopped", function()
        local folder = t.temp()
        local value = t.body([[
            local server = sh.start("echo $$ > pid; echo up; exec sleep 300", { grace = "1s" })
            sh.run "until [ -s pid ]; do sleep 0.02; done"
            local alive = sh.run("kill -0 $(cat pid)").code
            server:stop()
            return { alive, sh.run("kill -0 $(cat pid)", { ok = { 1 } }).code }]], { cwd = folder })
        assert.same({ 0, 1 }, value)
    end)

    it("ends with its stage", function()
        local folder = t.temp()
        local result = t.play([[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
stage("one", function()
    step("start", function() sh.start("echo $$ > pid; exec sleep 300") sh.run "until [ -s pid ]; do sleep 0.02; done" end)
    step("alive", function() sh.run "kill -0 $(cat pid)" end)
end)
step("gone", function() sh.run("kill -0 $(cat pid)", { ok = { 1 } }) end)
]], { cwd = folder })
        assert.equal(0, result.code, result.out .. result.err)
    end)
end)

describe("sh in a plan", function()
    it("touches nothing, and shows what is known", function()
        local folder = t.temp()
        local path = t.playbook([[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
step("one", function()
    local name = sh.run({ "touch", "made it", cwd = "x" }).out
    sh.run { "rm", name }
end)
]], "plan", folder)
        local result = t.host { "plan", path, state = folder .. "/state", cwd = folder }
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("touch 'made it'", result.out, 1, true)
        assert.matches("rm", result.out, 1, true)
        assert.is_false(t.exists(folder .. "/made it"))
    end)
end)

describe("sh after a crash", function()
    local PLAYBOOK = [[
local sh = require "rollout.sh"
playbook "spec" { environments = { "test" } }
return step("deploy", function()
    return sh.run "echo begun >> ledger; until [ -e go ]; do sleep 0.02; done; echo ended | tee -a ledger"
end).out
]]

    local function crash()
        local folder = t.temp()
        local path = t.playbook(PLAYBOOK, "spec", folder)
        local host = t.start_host { path, state = folder .. "/state", cwd = folder }
        t.eventually("the command begins", function() return t.exists(folder .. "/ledger") end)
        host:kill "sigkill"
        host:wait()
        return folder
    end

    local function resume(folder)
        return t.digest_events(t.host { "resume", "--output", "json", state = folder .. "/state", cwd = folder })
    end

    it("finds a command that outlived the host", function()
        local folder = crash()
        local host = t.start_host { "resume", "--output", "json", state = folder .. "/state", cwd = folder }
        t.write(folder .. "/go", "")
        host:wait()
        assert.equal(0, host.code, host.out .. host.err)
        assert.equal("ended\n", t.digest_events(host).ended.deploy.value.out)
        assert.equal("begun\nended\n", t.read(folder .. "/ledger"))
    end)

    it("adopts one that ended meanwhile", function()
        local folder = crash()
        t.write(folder .. "/go", "")
        t.eventually("the command ends", function() return t.read(folder .. "/ledger"):find "ended" end)
        local result = resume(folder)
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("ended\n", result.ended.deploy.value.out)
        assert.equal("begun\nended\n", t.read(folder .. "/ledger"))
    end)
end)
