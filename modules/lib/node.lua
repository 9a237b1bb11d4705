-- node: a project's own scripts and tools, run by its package manager.
local _, rt = ...
local fs, json, sh = require "rollout.fs", require "rollout.json", require "rollout.sh"

local node = {}

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end

local MANAGERS = {
    npm = { script = { "npm", "run" }, exec = { "npx", "--no", "--" }, install = { "npm", "ci" },
        audit = { "npm", "audit", "--json" }, production = "--omit=dev" },
    pnpm = { script = { "pnpm", "run" }, exec = { "pnpm", "exec" }, install = { "pnpm", "install", "--frozen-lockfile" },
        audit = { "pnpm", "audit", "--json" }, production = "--prod" },
    yarn = { script = { "yarn", "run" }, exec = { "yarn", "exec" }, install = { "yarn", "install", "--immutable" },
        classic = { "yarn", "install", "--frozen-lockfile" } },
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

--- Starts a script that goes on running (dev, start): until its stage ends, or server:stop().
function Project:start(script, options)
    return self.tools.start(words(self.manager.script, script), options)
end

--- The same as run, keeping what it printed in the file `log` and with the run, also where it fails (a pipe into tee would hide
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
    local argv = self.manager.install
    if self.manager.classic then -- yarn 1 knows no --immutable, and says nothing of it: it writes another lock file
        local version = self.tools.read({ "yarn", "--version" }, { timeout = "1m" }).out
        argv = not rt.is_unknown(version) and version:find "^1%." and self.manager.classic or argv
    end
    return self.tools.run(argv, given)
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
        local percent = total[name] and tonumber(total[name].pct) -- "Unknown" where there was nothing to cover
        checks[#checks + 1] = expect("coverage of " .. name, percent and percent / 100):at_least(limit)
    end
    return checks
end

-- An audit names every package on every way to it: only what is judged leaves the pipe.
local PICK = [[
let text = ""; process.stdin.on("data", (part) => text += part).on("end", () => {
    let told = {}; try { told = JSON.parse(text) } catch {}
    const packages = {}
    for (const [key, one] of Object.entries(told.vulnerabilities || told.advisories || {}))
        (packages[one.severity] ||= []).push(one.module_name || one.name || key)
    console.log(JSON.stringify({ packages, counts: told.metadata && told.metadata.vulnerabilities,
        problem: told.message || told.error && (told.error.message || told.error.summary) }))
})]]

-- From the worst on.
local SEVERITIES = { "critical", "high", "moderate", "low" }

-- Of that severity or worse: how many, and "critical: lodash; high: …".
local function vulnerable(told, level)
    local count, texts = 0, {}
    for _, severity in ipairs(SEVERITIES) do
        local number, names = told.counts[severity], told.packages[severity]
        count = count + number
        if number > 0 then
            texts[#texts + 1] = ("%s: %s"):format(severity, names and table.concat(names, ", ") or number)
        end
        if severity == level then
            return count, table.concat(texts, "; ")
        end
    end
end

--- An expectation: of the packages that the lock file names none has a known vulnerability of that severity ("critical", "high",
--- "moderate", "low") or a worse one. production = true leaves out what only development needs. Where the registry cannot be
--- asked it is `unknown`.
function Project:audit(level, options)
    local where = "project:audit"
    rt.options({ level = level }, { level = { "string", required = true, one_of = SEVERITIES } }, where)
    local given = rt.options(options or {}, { production = "boolean" }, where)
    if not self.manager.audit then
        rt.raise("usage", where .. ": npm's and pnpm's can be read; yarn's cannot")
    end
    local argv = given.production and words(self.manager.audit, self.manager.production) or self.manager.audit
    local name = ("vulnerabilities, %s%s"):format(level, level ~= "critical" and " or worse" or "")
    local ran = self.tools.read(words({ "bash", "--norc", "-c", [["$@" | node -e "$PICK"]], "bash" }, table.unpack(argv)),
        { env = { PICK = PICK } })
    local ok, told = pcall(json.decode, ran.out)
    -- npm and pnpm exit with 1 for what they found and for what they could not find out alike
    if not ok or type(told.counts) ~= "table" or math.type(told.counts[level]) ~= "integer" then
        return rt.expectation { name = name, verdict = "unknown", text = ("%s: `%s` does not tell: %s"):format(name,
            table.concat(argv, " "), ok and told.problem or rt.last_lines(ran.err, 4)) }
    end
    local count, which = vulnerable(told, level)
    return rt.expectation { name = name, verdict = count == 0 and "pass" or "fail", measured = count, limit = 0,
        text = ("%s: %s"):format(name, count == 0 and "none" or which) }
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
