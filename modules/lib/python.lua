-- python: a project's own checks, run by the interpreter that its packages are installed for. Results are read as pytest and
-- coverage write them for machines: JUnit's XML, JSON.
local _, rt = ...
local sh, json = require "rollout.sh", require "rollout.json"

local python = {}

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end

local Project = {}

local function command(self, ...)
    local argv = table.move(self.interpreter, 1, #self.interpreter, 1, {})
    for _, word in ipairs { ... } do
        argv[#argv + 1] = word
    end
    return argv
end

local function last_line(text)
    return text:match("([^\n]+)%s*$") or "it printed nothing"
end

--- An expectation: a module that checks and changes nothing ends with 0: project:check("mypy", "src"),
--- project:check("black", "--check", "."), project:check("flake8").
function Project:check(module, ...)
    return self.tools.check(command(self, "-m", module, ...))
end

--- Runs a module; its failure is the step's.
function Project:run(module, ...)
    return self.tools.run(command(self, "-m", module, ...))
end

local MEANING = { [2] = "it was interrupted", [3] = "it broke by itself", [4] = "it was called wrongly",
    [5] = "it found no test" }

-- What JUnit's XML counts, and the names of what failed.
local function counted(xml)
    local suite = xml:match("<testsuite (.-)>")
    if not suite then
        return nil
    end
    local function number(name)
        return math.tointeger(tonumber(suite:match("%f[%w]" .. name .. '="(%d+)"'))) or 0
    end
    local failing = {}
    for case, inside in xml:gmatch("<testcase (.-)>(%s*<%a+)") do
        if inside:find("<failure") or inside:find("<error") then
            failing[#failing + 1] = (case:match('classname="([^"]*)"') or "?") .. "." .. (case:match('%f[%w]name="([^"]*)"') or "?")
        end
    end
    return { tests = number "tests", failures = number "failures", errors = number "errors", skipped = number "skipped",
        failing = failing }
end

--- Expectations: all tests pass, and there is one: project:pytest("tests/integration", "-v"). Skipped ones are no passes.
function Project:pytest(...)
    local argv = command(self, "-m", "pytest", ...)
    argv[#argv + 1] = "--junitxml=/proc/self/fd/1"
    local ran = self.tools.read(argv, { ok = ANY, capture = "16MiB", timeout = self.timeout })
    local found = counted(ran.out)
    if not found or MEANING[ran.code] then
        return rt.expectation { name = "pytest", verdict = ran.code == 5 and "fail" or "unknown", measured = ran.code,
            unit = "exit code", text = ("pytest told no result, %s (exit %s): %s"):format(MEANING[ran.code] or "it did not run",
                ran.code or ran.signal, last_line(ran.err .. "\n" .. ran.out)) }
    end
    local failed = found.failures + found.errors
    local passed = found.tests - failed - found.skipped
    local pass = ran.code == 0 and failed == 0 and passed > 0
    return rt.expectation { name = "pytest", verdict = pass and "pass" or "fail",
        measured = { passed = passed, failed = failed, skipped = found.skipped }, limit = { failed = 0 },
        text = ("pytest: %d passed, %d failed, %d skipped%s"):format(passed, failed, found.skipped,
            failed > 0 and ": " .. table.concat(found.failing, ", ", 1, math.min(#found.failing, 20)) or "") }
end

--- An expectation: the least part of the lines that `coverage run` saw: project:coverage "80%".
function Project:coverage(least)
    local ran = self.tools.read(command(self, "-m", "coverage", "json", "-q", "-o", "-"),
        { ok = ANY, capture = "16MiB" })
    local ok, told = pcall(json.decode, ran.out)
    local percent = ok and type(told) == "table" and told.totals and told.totals.percent_covered
    if not percent then
        return rt.expectation { name = "coverage", verdict = "unknown", text = "coverage told nothing: "
            .. last_line(ran.err .. "\n" .. ran.out) }
    end
    return expect("coverage", percent / 100):at_least(least)
end

--- A migration by alembic with this project's interpreter, folder and variables; options as of rollout.migrate.
function Project:migrate(name, options)
    local given = { tool = "alembic", command = self.interpreter, cwd = self.cwd or nil, env = self.env or nil }
    for key, value in pairs(options) do
        given[key] = value
    end
    return require "rollout.migrate"(name, given)
end

local class = rt.class("python.project", Project)

--- A project: { interpreter = ".venv/bin/python" or { "docker", "compose", "exec", "-T", "backend", "python" }, cwd = folder,
--- env = { … }, timeout = "10m" }. Nothing runs yet.
function python.project(options)
    local given = rt.options(options or {}, { interpreter = { "string|table", default = "python3" }, cwd = "string",
        env = "table", timeout = { "duration", default = 600000 } }, "python.project")
    local words = type(given.interpreter) == "table" and given.interpreter or { given.interpreter }
    return setmetatable({
        interpreter = words, cwd = given.cwd or false, env = given.env or false, timeout = ("%dms"):format(given.timeout),
        tools = sh.with { cwd = given.cwd, env = given.env },
    }, class)
end

return python
