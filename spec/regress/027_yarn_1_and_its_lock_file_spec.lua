-- yarn 1 takes `install --immutable` without a word and installs what the lock file does not say: it has to be told otherwise.
local t = require "spec.helper"

it("a project with yarn is installed by its lock file, by yarn 1 as well", function()
    for version, words in pairs { ["1.22.22"] = "install --frozen-lockfile", ["4.1.0"] = "install --immutable" } do
        local folder = t.temp()
        t.write(folder .. "/bin/yarn", ('#!/bin/sh\n[ "$1" = --version ] && echo %s || echo "$*" >> asked\n'):format(version))
        t.run { "chmod", "+x", folder .. "/bin/yarn" }
        local ran, problem = t.body([[ return require "rollout.node".project { manager = "yarn" }:install().code ]],
            { folder = folder, env = { PATH = folder .. "/bin:" .. os.getenv "PATH" } })
        assert.equal(0, ran, problem and problem.message)
        assert.equal(words .. "\n", t.read(folder .. "/asked"))
    end
end)
