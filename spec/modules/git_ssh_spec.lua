local G = require "spec.modules.git_play"
local sshd = require "spec.world.sshd"
local t = require "spec.helper"

describe("git over ssh", function()
    local server, w

    setup(function()
        server = sshd.start()
    end)

    before_each(function()
        w = G.world()
        w:git(w.work, "remote", "set-url", "origin", server:url(w.origin))
        w.env.GIT_SSH_COMMAND = server.command
    end)

    it("pushes, fetches, pulls and clones with the user's key", function()
        local head = w:commit(w.work, "a", "1")
        local value = w:body(([[
            repo:tag "v1"
            repo:push "main"
            repo:push "v1"
            local copy = git.clone(%q, "copy", { ref = "v1" })
            return { repo:remote_ref "v1", copy, repo:fetch(), repo:pull() }]]):format(server:url(w.origin)))
        assert.equal(head, value[1].sha)
        assert.equal(head, value[2].sha)
        assert.equal(head, w:git(w.origin, "rev-parse", "main"))
        assert.equal(head, value[4].sha)
    end)

    it("sees that a push arrived whose connection broke", function()
        local hook = w.origin .. "/hooks/reference-transaction"
        t.write(hook, "#!/bin/sh\ntest \"$1\" != committed || kill -9 $PPID\n", "755")
        w:body [[
            repo:tag "v1"
            repo:push "v1"]]
        assert.equal("v1", w:git(w.origin, "tag"))
        os.remove(hook)
        t.write(w.origin .. "/hooks/pre-receive", "#!/bin/sh\nkill -9 $PPID\n", "755")
        w:fails("remote", [[repo:tag "v2" repo:push "v2"]])
        assert.equal("v1", w:git(w.origin, "tag"))
    end)

    it("asks nothing: an unknown host, a key that is not accepted, a passphrase", function()
        local stranger, locked = sshd.key(w.home .. "/other"), w.home .. "/locked"
        t.run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", locked }
        local unknown = t.write(w.home .. "/known", "")
        for _, other in ipairs { { key = stranger }, { key = locked }, { known_hosts = unknown } } do
            local command = server:ssh(other)
            local problem = w:fails("remote", [[repo:push "main"]], { env = { GIT_SSH_COMMAND = command } })
            assert.equal("origin", problem.detail.remote)
        end
    end)

    it("says that the host's key is another one", function()
        local known = t.write(w.home .. "/known", server:known_as(sshd.key(w.home .. "/impostor")))
        local problem = w:fails("remote", [[repo:remote_ref "main"]],
            { env = { GIT_SSH_COMMAND = server:ssh { known_hosts = known } } })
        assert.matches("Host key verification failed", problem.message, 1, true)
    end)

    it("tells ssh not to ask, unless the user says how ssh is to be run", function()
        t.write(w.home .. "/bin/ssh", ("#!/bin/sh\necho \"$@\" >> %q\nexec %s \"$@\"\n"):format(w.home .. "/said",
            server.command:gsub("^ssh", "/usr/bin/ssh")), "755")
        local env = { GIT_SSH_COMMAND = false, PATH = w.home .. "/bin:" .. os.getenv "PATH" }
        w:body([[return repo:remote_ref "main"]], { env = env })
        assert.matches("-o BatchMode=yes", t.read(w.home .. "/said"), 1, true)
        os.remove(w.home .. "/said")
        w:git(w.work, "config", "core.sshCommand", "ssh -o ServerAliveInterval=7")
        w:body([[return repo:remote_ref "main"]], { env = env })
        assert.matches("ServerAliveInterval=7", t.read(w.home .. "/said"), 1, true)
        assert.not_matches("BatchMode", t.read(w.home .. "/said"), 1, true)
    end)

    it("takes variables and secrets of its own", function()
        local value, _, result = w:body([[
            local other = git.repo(repo.path, { env = { GIT_SSH_COMMAND = secret "SSH" } })
            return other:remote_ref "main"]], { env = { SSH = server.command, GIT_SSH_COMMAND = "false" } })
        assert.equal("refs/heads/main", value.ref)
        local found = t.run { "grep", "-rlF", server.key, result.state .. "/runs" }
        assert.equal("", found.out)
    end)

    it("is a remote that cannot be reached while nobody listens", function()
        w:git(w.work, "remote", "set-url", "origin", ("ssh://x@127.0.0.1:%d/x.git"):format(t.free_port()))
        local problem = w:fails("remote", [[repo:fetch()]])
        assert.matches("origin cannot be reached", problem.message, 1, true)
    end)

    it("ends with its step's time, ssh and all", function()
        local port = t.serve(function() end)
        w:git(w.work, "remote", "set-url", "origin", ("ssh://nobody@127.0.0.1:%d/x.git"):format(port))
        local result = t.play(([[
            local git = require "rollout.git"
            playbook "spec" { environments = { "test" } }
            step("it", { timeout = "1s" }, function() git.repo(%q):fetch() end)
        ]]):format(w.work), { env = w.env })
        assert.equal(1, result.code)
        assert.matches("1s", result.ended.it.error.message, 1, true)
        assert.equal("", t.run({ "pgrep", "-f", "nobody@127[.]0[.]0[.]1" }).out)
    end)

    it("gives a remote that does not answer its time", function()
        local port = t.serve(function() end)
        w:git(w.work, "remote", "set-url", "origin", ("ssh://x@127.0.0.1:%d/x.git"):format(port))
        local problem = w:fails("timeout", [[git.repo(repo.path, { timeout = "1s" }):remote_ref "main"]])
        assert.matches("1s", problem.message, 1, true)
    end)
end)
