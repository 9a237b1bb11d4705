-- ssh: a copy onto a folder's name was said to be there, and lay in the folder under another name; stdin got an empty line at its
-- end; a message was cut within a character, which makes bytes of it; and the command to try by hand was none that ssh takes.
local sshd = require "spec.world.sshd"
local t = require "spec.helper"

describe("ssh", function()
    local server, folder, config

    setup(function()
        server = sshd.start { home = t.temp() }
        folder = t.temp()
        config = server:config(folder .. "/config")
    end)

    after_each(function()
        sshd.disconnect(config)
    end)

    local function body(text, port)
        return t.body(('local ssh = require "rollout.ssh"\nlocal web = ssh.host("%s@127.0.0.1:%d", { config = %q })\n'):format(
            server.user, port or server.port, config) .. text, { folder = folder, state = t.temp() })
    end

    it("copies no file into a folder that has its name", function()
        t.write(folder .. "/file", "x")
        t.run { "mkdir", folder .. "/there" }
        local _, problem = body(('web:copy { from = "file", to = %q }'):format(folder .. "/there"))
        assert.equal("copy", problem.code)
        assert.matches("is a folder: name the file that is to be there", problem.message, 1, true)
        assert.same({}, t.list(folder .. "/there"))
        assert.equal(0, t.run({ "sh", "-c", "ls " .. folder .. "/*.partial | wc -l" }).out + 0)
    end)

    it("feeds what it is given", function()
        local seen = body [[
            local seen = {}
            for i, text in ipairs { "a\nb\n", "", "last" } do
                seen[i] = web:run({ "od", "-An", "-c" }, { stdin = text }).out:gsub("%s+", "")
            end
            return seen ]]
        assert.same({ [[a\nb\n]], "", [[last\n]] }, seen)
    end)

    it("says what was printed, in whole characters", function()
        for _, more in ipairs { "", "x" } do
            local _, problem = body(([[
                web:run("for i in $(seq 1 400); do printf é >&2; done; printf '%s' >&2; exit 3") ]]):format(more))
            assert.equal("string", type(problem.message))
            assert.matches("exited with 3:\n  ééé", problem.message, 1, true)
        end
    end)

    it("names a command that can be typed", function()
        local _, problem = body('web:run { "true" }', 1)
        assert.equal("connect", problem.code)
        local command = problem.message:match "Try `(.*)`$"
        assert.equal(("ssh -o BatchMode=yes -F %s -p 1 %s@127.0.0.1 true"):format(config, server.user), command)
        assert.matches("port 1: Connection refused", t.run({ "sh", "-c", command }).err, 1, true)
    end)
end)
