local G = require "spec.modules.git_play"
local t = require "spec.helper"
local uv = require "luv"

local w

local function head(folder, revision)
    return w:git(folder, "rev-parse", revision or "HEAD")
end

-- Starts a run whose step pushes, and kills host and guardian while the hook waits. Returns what let_go ends.
local function interrupted(body, hook, spare_guardian)
    t.write(hook, ([[#!/bin/sh
cd %q && echo $PPID > pid && mv pid waiting
until test -e go; do sleep 0.02; done
]]):format(w.home), "755")
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
        assert.matches("HEAD is at", resumed.out .. resumed.err, 1, true)
    end)

    it("says why it cannot find out", function()
        w:commit(w.work, "a", "1")
        local resume, let_go = interrupted([[return repo:push "main"]], w.work .. "/.git/hooks/pre-push")
        assert(uv.kill(tonumber(t.read(w.home .. "/waiting")), "sigkill"))
        let_go()
        assert(os.rename(w.origin, w.origin .. ".gone"))
        local resumed = resume()
        assert.equal(7, resumed.code, resumed.out .. resumed.err)
        assert.matches("origin cannot be reached", resumed.out .. resumed.err, 1, true)
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
        assert.matches("origin has " .. theirs:sub(1, 10) .. " there now", resumed.out .. resumed.err, 1, true)
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
