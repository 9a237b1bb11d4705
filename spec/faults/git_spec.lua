-- A release by git, killed around the commits of its journal.
local G = require "spec.modules.git_play"
local chain = require "spec.faults.chain"
local t = require "spec.helper"

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
    it("does each thing once, killed around every commit of the journal", function()
        local w = G.world()
        local function head(folder, revision)
            return w:git(folder, "rev-parse", revision or "HEAD")
        end
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
