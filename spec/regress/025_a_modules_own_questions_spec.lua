-- What modules asked programs for themselves was shown as if it were the run's words, and of no step: "OUT | # branch.oid 8ee48b…"
-- of git status, "OUT | docker: unknown command: docker compose" of a machine with docker-compose.
local t = require "spec.helper"

describe("what a module asks a program for itself", function()
    it("is shown to nobody, and what a step's command prints is", function()
        local folder = t.temp()
        t.run { "git", "init", "-q", folder }
        local path = t.playbook([[
            local git, sh = require "rollout.git", require "rollout.sh"
            playbook "demo" { environments = { "staging" } }
            gate("clean", function() return git.repo(".tree"):clean { untracked = false } end)
            step("status", function() return git.repo(".tree"):status().total end)
            step("words", function() sh.run "echo said" end)
        ]], "demo", folder)
        t.run { "git", "init", "-q", folder .. "/.tree" }
        local result = t.host { path, cwd = folder, state = t.temp() }
        assert.equal(0, result.code, result.out .. result.err)
        local said = {}
        for line in result.out:gmatch "OUT%s+([^\n]*)" do
            said[#said + 1] = line
        end
        assert.same({ "words | said" }, said)
    end)
end)
