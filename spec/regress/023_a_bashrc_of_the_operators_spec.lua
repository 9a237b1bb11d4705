-- Debian's bash reads bashrc where it seems to be begun by ssh: with -e and -u what stands there is told as the command's own
-- error, or ends it.
local sshd = require "spec.world.sshd"
local t = require "spec.helper"

describe("a text for bash", function()
    it("runs without the operator's bashrc", function()
        local home = t.temp()
        t.write(home .. "/.bashrc", "echo from bashrc; echo $NO_SUCH_NAME; exit 9\n")
        local ran = t.body([[ return sh.run "echo hi" ]], { env = { HOME = home, SSH_CLIENT = "127.0.0.1 1 22", SHLVL = "0" } })
        assert.equal("hi\n", ran.out)
        assert.equal("", ran.err)
    end)

    it("runs without it over there", function()
        local server, folder = sshd.start { home = t.temp() }, t.temp()
        local ran = t.body(([[
            local web = require "rollout.ssh".host("%s@127.0.0.1:%d", { config = %q })
            return web:run "echo hi" ]]):format(server.user, server.port, server:config(folder .. "/config")))
        assert.equal("hi\n", ran.out)
        assert.equal("", ran.err)
    end)
end)
