-- node: a project's own scripts, run by its package manager.
local fs, sh = require "rollout.fs", require "rollout.sh"

local node = {}

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end

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

--- The same, keeping what it printed in the file `log` and with the run, also where it fails (a pipe into tee would hide
--- the failure).
function Project:logged(script, log)
    local ran = self.tools.run({ self.manager, script }, { ok = ANY, capture = "16MiB" })
    fs.write(log, ran.out .. ran.err)
    attach(log)
    if ran.code ~= 0 then
        fail(("`%s %s` exited with %d; what it printed is in %s"):format(self.manager, script, ran.code, log))
    end
    return { log = log, ms = ran.ms }
end

--- A script that changes nothing, as an expectation: a non-zero exit fails the check.
function Project:check(script, options)
    return self.tools.check({ self.manager, script }, options)
end

return node
