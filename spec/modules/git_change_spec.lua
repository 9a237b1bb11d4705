local G = require "spec.modules.git_play"
local t = require "spec.helper"

local w

local function head(folder, revision)
    return w:git(folder or w.work, "rev-parse", revision or "HEAD")
end

describe("git.tag", function()
    before_each(function()
        w = G.world()
    end)

    it("makes an annotated tag with its message, once", function()
        local tag = w:body [[
            local tag = repo:tag { "v1.0.0", message = "-F is no option here\n\n# nor is this a comment" }
            return { tag, repo:tag("v1.0.0") }]]
        assert.same({ name = "v1.0.0", ref = "refs/tags/v1.0.0", sha = head(), object = head(nil, "refs/tags/v1.0.0"),
            created = true }, tag[1])
        assert.is_false(tag[2].created)
        assert.equal("tag", w:git(w.work, "cat-file", "-t", "v1.0.0"))
        assert.matches("-F is no option here", w:git(w.work, "cat-file", "-p", "v1.0.0"), 1, true)
    end)

    it("makes a lightweight one, at another commit", function()
        w:body [[return repo:tag { "v0", at = "HEAD^", annotate = false }]]
        assert.equal(head(nil, "HEAD^"), head(nil, "refs/tags/v0"))
    end)

    it("does not move one that is there", function()
        w:git(w.work, "tag", "v1", "HEAD^")
        local problem = w:fails("exists", [[repo:tag "v1"]])
        assert.matches("is not moved", problem.message, 1, true)
        assert.equal(head(nil, "HEAD^"), head(nil, "v1"))
    end)

    it("says that nobody is known who could make it", function()
        t.write(w.home .. "/.gitconfig", "[user]\n    useConfigOnly = true\n")
        assert.matches("user.email", w:fails("identity", [[repo:tag "v1"]]).message, 1, true)
        assert.equal("v0", w:body([[return repo:tag { "v0", annotate = false }]]).name)
    end)

    it("refuses names that cannot be", function()
        w:fails("usage", [[repo:tag "a..b"]])
        w:fails("usage", [[repo:tag "-d"]])
        w:fails("unknown_revision", [[repo:tag { "v1", at = "nowhere" }]])
    end)

    it("signs with the key that the user's git has, and fails where there is none", function()
        local key = w.home .. "/key"
        t.run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key }
        w:git(w.work, "config", "gpg.format", "ssh")
        w:git(w.work, "config", "user.signingKey", key .. ".pub")
        assert.is_true(w:body([[return repo:tag { "v1", sign = true }]]).created)
        assert.matches("BEGIN SSH SIGNATURE", w:git(w.work, "cat-file", "-p", "v1"), 1, true)
        w:git(w.work, "config", "user.signingKey", w.home .. "/no-such-key.pub")
        w:fails("sign", [[repo:tag { "v2", sign = true }]])
        assert.is_nil(w:body [[return repo:resolve "v2"]])
    end)
end)

describe("git.tag, signed by gpg", function()
    it("is what git verifies, and fails where the key is not there", function()
        w = G.world()
        local home = w.home .. "/gnupg"
        t.write(home .. "/gpg-agent.conf", "")
        assert(require("luv").fs_chmod(home, tonumber("700", 8)))
        t.finally(function() t.run { "gpgconf", "--kill", "gpg-agent", env = w.env } end)
        local made = t.run { "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key",
            "Dana Deploy <dana@example.com>", "ed25519", "sign", "never", env = w.env }
        assert(made.code == 0, made.err)
        assert.is_true(w:body([[return repo:tag { "v1", sign = true, message = "one" }]]).created)
        w:git(w.work, "verify-tag", "v1")
        assert.is_true(w:body([[return repo:tag { "v2", sign = "dana@example.com" }]]).created)
        w:fails("sign", [[repo:tag { "v3", sign = "nobody@example.com" }]])
        assert.equal("v1\nv2", w:git(w.work, "tag"))
    end)
end)

describe("git.push", function()
    before_each(function()
        w = G.world()
    end)

    it("pushes one branch and one tag, and says what was there before", function()
        local before = head()
        w:commit(w.work, "a", "1")
        w:git(w.work, "tag", "-a", "-m", "not asked for", "v9")
        local pushed = w:body [[
            repo:tag "v1"
            return { repo:push "main", repo:push "v1", repo:push "main" }]]
        assert.same({ ref = "refs/heads/main", object = head(), before = before, remote = "origin", created = true }, pushed[1])
        assert.same({ ref = "refs/tags/v1", object = head(nil, "refs/tags/v1"), remote = "origin", created = true }, pushed[2])
        assert.is_false(pushed[3].created)
        assert.equal(head(), head(w.origin, "main"))
        assert.equal("v1", w:git(w.origin, "tag"))
        assert.equal(head(), head(nil, "origin/main"))
    end)

    it("pushes under another name", function()
        w:body [[repo:push { "main", as = "release/1" } repo:push { "HEAD^", as = "refs/heads/old" }]]
        assert.equal(head(), head(w.origin, "refs/heads/release/1"))
        assert.equal(head(nil, "HEAD^"), head(w.origin, "refs/heads/old"))
    end)

    it("refuses a diverged branch before it pushes, known here or not", function()
        local other = w:other()
        local theirs = w:commit(other, "b", "theirs")
        w:git(other, "push", "--quiet", "origin", "main")
        w:commit(w.work, "a", "ours")
        local problem = w:fails("diverged", [[repo:push "main"]])
        assert.equal(theirs, problem.detail.remote)
        w:git(w.work, "fetch", "--quiet")
        w:fails("diverged", [[repo:push "main"]])
        assert.equal(theirs, head(w.origin, "main"))
    end)

    it("forces only what it saw, and never in a protected environment without a reason", function()
        w:git(w.work, "commit", "--quiet", "--amend", "-m", "rewritten")
        local problem = w:fails("destructive", [[repo:push { "main", force = true }]], { environment = "production" })
        assert.matches("git push --force", problem.message, 1, true)
        w:body([[repo:push { "main", force = true, destructive = "a wrong author" }]], { environment = "production" })
        assert.equal(head(), head(w.origin, "main"))
    end)

    it("refuses a tag that the remote has elsewhere", function()
        local other = w:other()
        w:git(other, "tag", "v1", "HEAD^")
        w:git(other, "push", "--quiet", "origin", "v1")
        local problem = w:fails("exists", [[repo:tag "v1" repo:push "v1"]])
        assert.matches("origin has a tag v1 already", problem.message, 1, true)
        assert.equal(head(other, "v1"), head(w.origin, "v1"))
    end)

    it("tells a hook of the remote's from a hook of ours", function()
        t.write(w.origin .. "/hooks/pre-receive", "#!/bin/sh\necho 'the branch is frozen' >&2\nexit 1\n", "755")
        w:commit(w.work, "a", "1")
        local problem = w:fails("declined", [[repo:push "main"]])
        assert.matches("the branch is frozen", problem.message, 1, true)
        t.write(w.work .. "/.git/hooks/pre-push", "#!/bin/sh\necho 'the tests are red' >&2\nexit 1\n", "755")
        problem = w:fails("hook", [[repo:push "main"]])
        assert.matches("the tests are red", problem.message, 1, true)
    end)

    it("knows a protected branch for one", function()
        w:git(w.origin, "config", "receive.denyNonFastForwards", "true")
        w:git(w.work, "commit", "--quiet", "--amend", "-m", "rewritten")
        w:fails("declined", [[repo:push { "main", force = true }]])
        t.write(w.origin .. "/hooks/update", '#!/bin/sh\ncase $3 in *[!0]*) exit 0;; esac\necho "tags stay"; exit 1', "755")
        assert.matches("tags stay", w:fails("declined", [[repo:tag "v1" repo:delete_tag(repo:push "v1")]]).message, 1, true)
    end)

    it("says that a name is neither branch nor tag, or both", function()
        w:fails("unknown_revision", [[repo:push "v7"]])
        w:git(w.work, "tag", "main")
        w:fails("ambiguous", [[repo:push "main"]])
        w:body [[repo:push "refs/heads/main"]]
    end)
end)

describe("git.delete_tag", function()
    before_each(function()
        w = G.world()
    end)

    it("takes back what this run made, here and on the remote", function()
        assert.same({ true, true }, w:body [[
            local tag = repo:tag "v1"
            local pushed = repo:push "v1"
            return { repo:delete_tag(pushed), repo:delete_tag(tag) }]])
        assert.equal("", w:git(w.origin, "tag"))
        assert.equal("", w:git(w.work, "tag"))
    end)

    it("leaves what was there before, and what somebody has moved", function()
        w:git(w.work, "tag", "-a", "-m", "x", "v1")
        w:git(w.work, "push", "--quiet", "origin", "v1")
        assert.same({ false, false, false }, w:body [[return { repo:delete_tag(repo:tag "v1"), repo:delete_tag(repo:push "v1"),
            repo:delete_tag(nil) }]])
        w:fails("moved", ([[
            local tag = repo:tag "v2"
            sh.run { "git", "-C", %q, "tag", "-f", "v2", "HEAD^" }
            repo:delete_tag(tag)]]):format(w.work))
        w:fails("moved", ([[
            repo:tag "v3"
            local pushed = repo:push "v3"
            sh.run { "git", "-C", %q, "update-ref", "refs/tags/v3", "refs/heads/main^" }
            repo:delete_tag(pushed)]]):format(w.origin))
        assert.equal("v1\nv3", w:git(w.origin, "tag"))
    end)

    it("is an undo: a later failure takes the release's tag back", function()
        local result = t.play(([[
            local git = require "rollout.git"
            playbook "spec" { environments = { "test" } }
            local repo = git.repo(%q)
            step("tag", { undo = function(tag) repo:delete_tag(tag) end }, function() return repo:tag "v1" end)
            step("publish", { undo = function(pushed) repo:delete_tag(pushed) end }, function() return repo:push "v1" end)
            gate("it works", function() return expect("errors", 1):equals(0) end)
        ]]):format(w.work), { env = w.env })
        assert.equal(3, result.code, result.out)
        assert.equal("", w:git(w.origin, "tag"))
        assert.equal("", w:git(w.work, "tag"))
    end)
end)
