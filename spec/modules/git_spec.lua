local G = require "spec.modules.git_play"
local t = require "spec.helper"

describe("git: what a repository says", function()
    local w

    before_each(function()
        w = G.world()
    end)

    it("tells the status, clean and dirty", function()
        local status = w:body [[return repo:status()]]
        assert.is_true(status.clean)
        assert.equal("main", status.branch)
        assert.equal("origin/main", status.upstream)
        assert.same({ 0, 0 }, { status.ahead, status.behind })
        assert.equal(w:git(w.work, "rev-parse", "HEAD"), status.commit)

        t.write(w.work .. "/app.txt", "two\n")
        t.write(w.work .. "/neu und ungetrackt.txt", "x")
        w:git(w.work, "mv", "grüße aus.txt", "umbenannt.txt")
        status = w:body [[return repo:status()]]
        assert.is_false(status.clean)
        assert.same({ 1, 1, 1, 3 }, { status.staged, status.changed, status.untracked, status.total })
        local files = {}
        for _, file in ipairs(status.files) do
            files[file.path] = file.state .. (file.from and " from " .. file.from or "")
        end
        assert.same({ ["app.txt"] = ".M", ["neu und ungetrackt.txt"] = "??",
            ["umbenannt.txt"] = "R. from grüße aus.txt" }, files)
        assert.equal(2, w:body([[return repo:status{ untracked = false }]]).total)
    end)

    it("judges in a gate whether the tree is clean, and names what is not", function()
        local text = [[
            local git = require "rollout.git"
            playbook "spec" { environments = { "test" } }
            gate("nothing is uncommitted", function() return git.repo(%q):clean() end)
        ]]
        assert.equal(0, t.play(text:format(w.work), { env = w.env }).code)
        t.write(w.work .. "/app.txt", "two\n")
        local result = t.play(text:format(w.work), { env = w.env })
        assert.equal(1, result.code)
        assert.matches("app.txt (M)", result.out, 1, true)
    end)

    it("tells head, branch, detached head and a repository without a commit", function()
        local sha = w:git(w.work, "rev-parse", "HEAD")
        w:git(w.work, "tag", "v1")
        assert.same({ sha = sha, branch = "main", tags = { "v1" } }, w:body [[return repo:head()]])
        w:git(w.work, "checkout", "--quiet", "--detach")
        assert.same({ sha = sha, tags = { "v1" } }, w:body [[return repo:head()]])
        assert.is_nil(w:body [[return repo:branch()]])
        assert.is_true(w:body([[return repo:status()]]).detached)
        local value = w:body [[
            sh.run { "git", "init", "--quiet", "-b", "first", "empty" }
            local empty = git.repo "empty"
            return { empty:head(), empty:status(), empty:branch() }]]
        assert.same({ branch = "first", tags = {} }, value[1])
        assert.is_nil(value[2].commit)
        assert.equal("first", value[3])
    end)

    it("tells the log between two tags, with merges, authors and awkward messages", function()
        w:git(w.work, "tag", "v1")
        w:commit(w.work, "a", "1", "a \"quoted\" subject\n\nand a body\nof two lines")
        w:git(w.work, "checkout", "--quiet", "-b", "side")
        w:commit(w.work, "b", "1", "on the side")
        w:git(w.work, "checkout", "--quiet", "main")
        w:git(w.work, "merge", "--quiet", "--no-ff", "--no-edit", "side")
        w:git(w.work, "tag", "v2")
        local log = w:body [[return repo:log { from = "v1", to = "v2" }]]
        assert.equal(3, #log)
        assert.equal("Merge branch 'side'", log[1].subject)
        assert.equal(2, #log[1].parents)
        assert.equal("Dana Deploy", log[1].author)
        assert.equal("dana@example.com", log[1].email)
        assert.equal("integer", math.type(log[1].authored))
        assert.equal("a \"quoted\" subject", log[3].subject)
        assert.equal("and a body\nof two lines", log[3].body)
        assert.equal(2, #w:body [[return repo:log { from = "v1", to = "v2", first_parent = true }]])
        assert.equal(2, #w:body [[return repo:log { from = "v1", merges = false }]])
        assert.equal(1, #w:body [[return repo:log { from = "v1", path = "b", merges = false }]])
        assert.same({}, w:body [[return repo:log { from = "v2", to = "v2" }]])
        local problem = w:fails("unknown_revision", [[return repo:log { from = "v9" }]])
        assert.matches("v9", problem.message, 1, true)
    end)

    it("finds tags by version, and the release before one", function()
        for _, name in ipairs { "v1.9.0", "v1.10.0-rc.1", "v1.10.0" } do
            w:commit(w.work, "version", name)
            w:git(w.work, "tag", "-a", "-m", "release " .. name, name)
        end
        w:git(w.work, "tag", "nightly")
        local value = w:body [[
            local tags = repo:tags { match = "^v%d+%.%d+%.%d+$" }
            return { tags, repo:previous_tag("v1.10.0", { match = "^v%d+%.%d+%.%d+$" }), repo:previous_tag("v1.9.0") or "none" }]]
        assert.same({ "v1.10.0", "v1.9.0" }, { value[1][1].name, value[1][2].name })
        assert.equal(w:git(w.work, "rev-parse", "v1.10.0^{commit}"), value[1][1].sha)
        assert.is_true(value[1][1].annotated)
        assert.equal("release v1.10.0", value[1][1].subject)
        assert.equal("v1.9.0", value[2].name)
        assert.equal("none", value[3])
    end)

    it("tells ancestors, revisions and what the remote has", function()
        w:git(w.work, "tag", "-a", "-m", "x", "v1")
        w:git(w.work, "push", "--quiet", "origin", "v1")
        local value = w:body [[return {
            repo:is_ancestor("HEAD^", "HEAD"), repo:is_ancestor("HEAD", "HEAD^"), repo:resolve "v1", repo:resolve "v2" or "none",
            repo:remote_ref "v1", repo:remote_ref "main", repo:remote_ref "v2" or "none" }]]
        local head = w:git(w.work, "rev-parse", "HEAD")
        assert.same({ true, false, head, "none", { ref = "refs/tags/v1", object = w:git(w.work, "rev-parse", "v1"), sha = head },
            { ref = "refs/heads/main", object = head, sha = head }, "none" }, value)
        w:git(w.work, "push", "--quiet", "origin", "main:refs/heads/v1")
        assert.matches("refs/heads/v1 or refs/tags/v1", w:fails("ambiguous", [[repo:remote_ref "v1"]]).message, 1, true)
        w:git(w.work, "tag", "main", "HEAD^")
        for _, call in ipairs { 'resolve "main"', 'is_ancestor("main", "HEAD")', 'tag { "v3", at = "main" }',
            'worktree("x", "main")', 'revert "main"', 'log { from = "main" }' } do
            w:fails("ambiguous", "repo:" .. call)
        end
    end)

    it("says so where there is no repository, no folder, no remote and no such name", function()
        local problem = w:fails("no_repository", [[git.repo("/"):status()]])
        assert.matches("/ is no repository", problem.message, 1, true)
        w:fails("no_repository", [[git.repo("none"):status()]])
        w:fails("no_repository", [[git.repo("/"):branch()]])
        problem = w:fails("no_remote", [[repo:remote_ref("main", { remote = "orign" })]])
        assert.matches('did you mean "origin"', problem.message, 1, true)
        w:git(w.work, "remote", "add", "gone", w.folder .. "/gone.git")
        problem = w:fails("remote", [[repo:remote_ref("main", { remote = "gone" })]])
        assert.matches("gone cannot be reached", problem.message, 1, true)
    end)

    it("refuses options in names, secrets in arguments, and misspelt words", function()
        w:fails("usage", [[repo:checkout "--force"]])
        w:fails("usage", [[repo:checkout(secret "TOKEN")]], { env = { TOKEN = "very-secret-token" } })
        w:fails("usage", [[repo:push { "main", remot = "origin" }]])
        for _, call in ipairs { 'git.clone("https://dana:hunter22@example.com/x", "x")',
            'repo:remote_ref("main", { remote = "https://dana:hunter22@example.com/x" })' } do
            assert.not_matches("hunter22", w:fails("usage", call).message, 1, true)
        end
        assert.matches('did you mean "status"', w:fails("usage", [[repo:statsu()]]).message, 1, true)
        w:fails("usage", [[repo.status()]])
    end)

    it("is described in a plan, which touches nothing", function()
        local path, folder = t.playbook(w:playbook [[
            local before = repo:head()
            if repo:status().clean then repo:pull() end
            local tag = repo:tag "v2"
            repo:push(tag.name)
            repo:checkout(repo:previous_tag("v2").name)
            repo:worktree("build", tag.name)
            for _, commit in ipairs(repo:log { from = "v1" }) do note(commit.subject) end
            repo:revert { from = "v1" }
            repo:back_to(before)
            repo:delete_tag(tag)
            git.clone("https://example.com/shop.git", "shop")]])
        local planned = t.host { "plan", path, cwd = folder, env = { PATH = folder } } -- where no git is
        assert.equal(0, planned.code, planned.out .. planned.err)
        for _, line in ipairs { "tag v2 at ‹known after run›", "push v2 to origin", "delete refs/tags/v2",
            "revert v1..HEAD", "clone https://example.com/shop.git to shop", "fetch origin" } do
            assert.matches(line, planned.out, 1, true)
        end
        assert.equal("", w:git(w.work, "tag"))
    end)

    it("is not led astray by what a calling git leaves in the environment", function()
        local other = w:other()
        w:commit(other, "z", "z")
        local status = w:body([[return repo:head()]], { env = { GIT_DIR = other .. "/.git", GIT_WORK_TREE = other,
            GIT_INDEX_FILE = other .. "/.git/index", GIT_CONFIG_PARAMETERS = "'core.bare'='true'" } })
        assert.equal(w:git(w.work, "rev-parse", "HEAD"), status.sha)
    end)

    it("names files that are no text as one for people, and exactly in the result", function()
        t.write(w.work .. "/\xFF name", "x")
        local status = w:body [[return { repo:status().files[1].path, repo:clean().text }]]
        assert.same({ ["$bytes"] = "/yBuYW1l" }, status[1])
        assert.matches("\u{FFFD} name (?)", status[2], 1, true)
        w:git(w.work, "add", "--all")
        assert.matches("\u{FFFD} name (A)", w:fails("dirty", [[repo:checkout "HEAD"]]).message, 1, true)
    end)

    it("does not show a password that stands in a remote's URL", function()
        w:git(w.work, "remote", "set-url", "origin", ("http://dana:hunter22@127.0.0.1:%d/x.git"):format(t.free_port()))
        for _, call in ipairs { "fetch()", 'push "main"', "pull()", 'remote_ref "main"' } do
            local problem, result = w:fails("remote", "repo:" .. call)
            assert.not_matches("hunter22", problem.message, 1, true)
            assert.equal("", t.run({ "grep", "-rlF", "hunter22", result.state .. "/runs" }).out)
        end
    end)

    it("counts every file of a huge status and names a hundred", function()
        for i = 1, 3000 do
            t.write(("%s/many/file-%04d-with-a-longer-name-so-that-it-takes-some-room.txt"):format(w.work, i), "x")
        end
        w:git(w.work, "add", "many")
        local status = w:body [[return repo:status()]]
        assert.same({ 3000, 100 }, { status.staged, #status.files })
    end)
end)
