-- node: a project's own scripts and tools, run by its package manager.
local _, rt = ...
local fs, json, sh = require "rollout.fs", require "rollout.json", require "rollout.sh"

local node = {}

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end

local MANAGERS = {
    npm = { script = { "npm", "run" }, exec = { "npx", "--no", "--" }, install = { "npm", "ci" } },
    pnpm = { script = { "pnpm" }, exec = { "pnpm", "exec" }, install = { "pnpm", "install", "--frozen-lockfile" } },
    yarn = { script = { "yarn" }, exec = { "yarn", "exec" }, install = { "yarn", "install", "--immutable" } },
}

local Project = {}

local function words(first, ...)
    local argv = table.move(first, 1, #first, 1, {})
    for _, word in ipairs { ... } do
        argv[#argv + 1] = word
    end
    return argv
end

--- Runs a script of package.json; its failure is the step's.
function Project:run(script, options)
    return self.tools.run(words(self.manager.script, script), options)
end

--- The same, keeping what it printed in the file `log` and with the run, also where it fails (a pipe into tee would hide
--- the failure).
function Project:logged(script, log)
    local argv = words(self.manager.script, script)
    local ran = self.tools.run(argv, { ok = ANY, capture = "16MiB" })
    fs.write(log, ran.out .. ran.err)
    attach(log)
    if ran.code ~= 0 then
        fail(("`%s` exited with %d; what it printed is in %s"):format(table.concat(argv, " "), ran.code, log))
    end
    return { log = log, ms = ran.ms }
end

--- A script that changes nothing (lint, typecheck, format:check, test), as an expectation: a non-zero exit fails the check.
function Project:check(script, options)
    return self.tools.check(words(self.manager.script, script), options)
end

--- Installs what the lock file says, and nothing else; twice is the same as once.
function Project:install(options)
    local given = { idempotent = true }
    for key, value in pairs(options or {}) do
        given[key] = value
    end
    return self.tools.run(self.manager.install, given)
end

--- Runs a tool that the project has installed, and fetches none: project:exec { "prisma", "generate" }.
function Project:exec(argv, options)
    return self.tools.run(words(self.manager.exec, table.unpack(argv)), options)
end

--- Expectations: the least parts that the tests covered, as { lines = "80%", branches = "70%" } (statements and functions too):
--- read from what Jest, Vitest and nyc write with the reporter "json-summary".
function Project:coverage(least, file)
    local path = file or "coverage/coverage-summary.json"
    path = path:sub(1, 1) == "/" and path or (self.cwd or ".") .. "/" .. path
    local checks = {}
    if not fs.exists(path) then
        return rt.expectation { name = "coverage", verdict = "unknown", text = "there is no " .. path
            .. ": run the tests with the coverage reporter \"json-summary\"" }
    end
    local total = json.decode(fs.read(path)).total or {}
    for name, limit in pairs(least) do
        checks[#checks + 1] = expect("coverage of " .. name, total[name] and total[name].pct / 100):at_least(limit)
    end
    return checks
end

local class = rt.class("node.project", Project)

--- A project: { manager = "pnpm", "npm" or "yarn", cwd = folder, env = { … } }. Nothing runs yet.
function node.project(options)
    local given = rt.options(options or {}, { manager = { "string", default = "pnpm", one_of = { "npm", "pnpm", "yarn" } },
        cwd = "string", env = "table" }, "node.project")
    return setmetatable({ manager = MANAGERS[given.manager], cwd = given.cwd or false,
        tools = sh.with { cwd = given.cwd, env = given.env } }, class)
end

return node
