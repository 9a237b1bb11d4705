-- node: a project's own scripts, run by its package manager.
local sh = require "rollout.sh"

local node = {}

local Project = {}
Project.__index = Project

--- A project: { manager = "pnpm", cwd = folder, env = { … } }. Nothing runs yet.
function node.project(options)
    return setmetatable({
        manager = options.manager or "pnpm",
        tools = sh.with { cwd = options.cwd, env = options.env },
    }, Project)
end

--- Runs a script of package.json; its failure is the step's.
function Project:run(script, options)
    return self.tools.run({ self.manager, script }, options)
end

--- A script that changes nothing, as an expectation: a non-zero exit fails the check.
function Project:check(script, options)
    return self.tools.check({ self.manager, script }, options)
end

return node
