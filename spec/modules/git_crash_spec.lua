local G = require "spec.modules.git_play"
local chain = require "spec.faults.chain"
local t = require "spec.helper"
local uv = require "luv"

local w

local function head(folder, revision)
    return w:git(folder, "rev-parse", revision or "HEAD")
end

local RELEASE = [[
local git, fs = require "rollout.git", require "rollout.fs"
playbook "release" { environments = { "test" } }
local repo = git.repo(%q)
local before = step("where", function() return repo:head() end)
step("pull", function() return repo:pull() end)
step("clone", function() return git.clone(%q, "copy") end)
local tag = step("tag", function() return repo:tag { "v2", message = "release" } end)
local pushed = step("publish", function() return repo:push "v2" end)
step("beside", function() return repo:worktree("build", "v2") end)
step("checkout", function() return repo:checkout "v2" end)
step("back", function() return repo:back_to { sha = pushed.object and repo:resolve "main", branch = "main" } end)
step("revert", function() return repo:revert "HEAD" end)
step("push main", function() return repo:push "main" end)
step("unbuild", function() repo:remove_worktree "build" end)
step("take back", function() return { repo:delete_tag(pushed), repo:delete_tag(tag) } end)
return { before = before, tag = tag }
]]

describe("git and a host that dies", function()
    before_each(function()
        w = G.world()
    end)

    it("does each thing once, killed around every commit of the journal", function()
        local other = w:other()
        local theirs = w:commit(other, "b", "1", "theirs")
        w:git(other, "push", "--quiet", "origin", "main")
        local path, folder = t.playbook(RELEASE:format(w.work, w.origin), "release")
        local every, first = chain.pace(5)
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state", env = w.env,
            every = every, first = first }
        local code = run:run(600)
        print("\ngit: " .. run:summary())
        assert(code == 0, run.said:sub(-4000))
        assert.same({}, run.doubts)
        assert.equal("", w:git(w.work, "tag"))
        assert.equal("", w:git(w.origin, "tag"))
        assert.equal(theirs, head(w.work, "main^"))
        assert.equal('Revert "theirs"', w:git(w.work, "log", "-1", "--format=%s"))
        assert.equal(head(w.work, "main"), head(w.origin, "main"))
        assert.equal(theirs, head(folder .. "/copy"))
        assert.is_false(t.exists(folder .. "/build"))
        assert.equal("", w:git(w.work, "status", "--porcelain"))
        assert.equal("", w:git(w.work, "for-each-ref", "refs/rollouthost"))
    end)
end)

-- Starts a run whose step pushes, and kills host and guardian while the hook waits. Returns what let_go ends.
local function interrupted(body, hook, spare_guardian)
    t.write(hook, ('#!/bin/sh\necho $PPID > %q/waiting\nuntil test -e %q/go; do sleep 0.02; done\n'):format(w.home, w.home), "755")
    local path, folder = t.playbook(w:playbook(body), "crash")
    local state = folder .. "/state"
    local host = t.start_host { path, state = state, cwd = folder, env = w.env }
    t.finally(function() t.write(w.home .. "/go", "") end)
    t.eventually("the hook waits", function() return t.exists(w.home .. "/waiting") end)
    local name = t.list(state .. "/runs")[1]
    local guardian = tonumber(t.read(state .. "/runs/" .. name .. "/spool/ledger"):match("guardian (%d+)"))
    host:kill("sigkill")
    host:wait()
    assert(spare_guardian or uv.kill(guardian, "sigkill"))
    return function()
        return t.host { "resume", state = state, cwd = folder, env = w.env, timeout = 60 }
    end, function() t.write(w.home .. "/go", "") end
end

describe("git when host and guardian die", function()
    before_each(function()
        w = G.world()
    end)

    it("waits for a push that outlived the host alone", function()
        w:commit(w.work, "a", "1")
        local resume, let_go = interrupted([[return repo:push "main"]], w.work .. "/.git/hooks/pre-push", true)
        os.remove(w.work .. "/.git/hooks/pre-push")
        let_go()
        local resumed = resume()
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal(head(w.work), head(w.origin, "main"))
    end)

    it("recognises a push that reached the remote", function()
        w:commit(w.work, "a", "1")
        local resume, let_go = interrupted([[return repo:push "main"]], w.origin .. "/hooks/post-receive")
        let_go()
        t.eventually("the push is through", function() return head(w.origin, "main") == head(w.work) end)
        t.write(w.origin .. "/hooks/pre-receive", "#!/bin/sh\necho 'a second push' >&2\nexit 1\n", "755")
        local resumed = resume()
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
    end)

    it("pushes again what did not reach it", function()
        w:commit(w.work, "a", "1")
        local resume, let_go = interrupted([[return repo:push "main"]], w.work .. "/.git/hooks/pre-push")
        local git = tonumber(t.read(w.home .. "/waiting"))
        assert(uv.kill(git, "sigkill"))
        os.remove(w.work .. "/.git/hooks/pre-push")
        let_go()
        local resumed = resume()
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal(head(w.work), head(w.origin, "main"))
    end)

    it("recognises a checkout that was done, and leaves one that was cut short to a person", function()
        w:git(w.work, "tag", "v1", "HEAD^")
        local resume, let_go = interrupted([[return repo:checkout "v1"]], w.work .. "/.git/hooks/post-checkout")
        let_go()
        local resumed = resume()
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        os.remove(w.work .. "/.git/hooks/post-checkout")

        w = G.world()
        w:git(w.work, "config", "filter.slow.smudge", w.home .. "/slow")
        w:commit(w.work, ".gitattributes", "app.txt filter=slow\n")
        w:commit(w.work, "app.txt", "two\n")
        w:git(w.work, "tag", "v1", "HEAD^")
        resume, let_go = interrupted([[return repo:checkout "v1"]], w.home .. "/slow")
        local shell = tonumber(t.read(w.home .. "/waiting"))
        local parent = tonumber(t.read("/proc/" .. shell .. "/stat"):match("^%d+ %(.-%) %a (%d+)"))
        for _, pid in ipairs { shell, parent } do
            local name = t.read("/proc/" .. pid .. "/comm")
            if name == "git\n" or name == "sh\n" or name == "slow\n" then
                uv.kill(pid, "sigkill")
            end
        end
        let_go()
        resumed = resume()
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        assert.matches("check out v1", resumed.out .. resumed.err, 1, true)
    end)

    it("leaves to a person what somebody else has changed meanwhile", function()
        w:commit(w.work, "a", "1")
        local other = w:other()
        local theirs = w:commit(other, "b", "1")
        local resume, let_go = interrupted([[return repo:push "main"]], w.work .. "/.git/hooks/pre-push")
        assert(uv.kill(tonumber(t.read(w.home .. "/waiting")), "sigkill"))
        let_go()
        w:git(other, "push", "--quiet", "origin", "main")
        local resumed = resume()
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        assert.matches("push main to origin", resumed.out .. resumed.err, 1, true)
        assert.equal(theirs, head(w.origin, "main"))
    end)
end)

describe("a playbook in the repository that it moves", function()
    it("goes on with the bytes that it started with", function()
        w = G.world()
        local text = [[
            local git, sh = require "rollout.git", require "rollout.sh"
            local words = require "words"
            playbook "self" { environments = { "test" } }
            local repo = git.repo "."
            step("go", function() return repo:checkout "%s" end)
            step("say", function() sh.run { "sh", "-c", "echo " .. words .. " >> ../said" } end)
            gate("ready", function() return expect("go", sh.read({ "ls", ".." }).out):includes "go" end)
        ]]
        w:git(w.work, "checkout", "--quiet", "-b", "old")
        t.write(w.work .. "/modules/words.lua", "return 'old'")
        w:commit(w.work, "self.lua", "error 'the old playbook'")
        w:git(w.work, "checkout", "--quiet", "-b", "new")
        t.write(w.work .. "/modules/words.lua", "return 'new'")
        w:commit(w.work, "self.lua", text:format "old")
        local state = w.folder .. "/state"
        local first = t.host { "self.lua", state = state, cwd = w.work, env = w.env }
        assert.equal(1, first.code, first.out .. first.err)
        assert.equal("return 'old'", t.read(w.work .. "/modules/words.lua"))
        t.write(w.folder .. "/go", "")
        local resumed = t.host { "resume", state = state, cwd = w.work, env = w.env }
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal("new\n", t.read(w.folder .. "/said"))
    end)
end)
