-- `pnpm deploy` and `yarn check` are commands of the managers' own: scripts of these names were never run.
local t = require "spec.helper"

it("a script is run, whatever commands its manager has", function()
    for _, manager in ipairs { "npm", "pnpm", "yarn" } do
        local folder = t.temp()
        t.write(folder .. "/bin/" .. manager, '#!/bin/sh\necho "$*" >> asked\n')
        t.run { "chmod", "+x", folder .. "/bin/" .. manager }
        local ran, problem = t.body(([[
            local app = require "rollout.node".project { manager = %q }
            app:run "deploy"
            return app:check "check".verdict
        ]]):format(manager), { folder = folder, env = { PATH = folder .. "/bin:" .. os.getenv "PATH" } })
        assert.equal("pass", ran, problem and problem.message)
        assert.equal("run deploy\nrun check\n", t.read(folder .. "/asked"), manager)
    end
end)
