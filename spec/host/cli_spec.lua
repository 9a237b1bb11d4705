-- The command line as a user types it: options, suggestions, messages, exit codes.
local t = require "spec.helper"

local COMMANDS = {
    "run", "plan", "resume", "pause", "rollback", "abort", "approve", "reject", "confirm", "decide", "runs", "status",
    "show", "log", "lock", "unlock", "doctor", "lua", "help", "version",
}

local EMPTY = [[playbook "empty" { environments = { "test", { "production", protected = true } } }]]

local function fails(command, code, pattern)
    command.state = command.state or t.temp()
    local result = t.host(command)
    local text = table.concat(command, " ")
    assert.equal(code, result.code, text .. "\n" .. result.out .. result.err)
    assert.matches("^rollouthost: [^\n]+\n$", result.err, 1, text)
    assert.truthy(result.err:find(pattern, 1, true), ("%s: no %q in %s"):format(text, pattern, result.err))
    assert.equal("", result.out)
end

describe("help", function()
    it("lists every command", function()
        local result = t.host { "--help" }
        assert.equal(0, result.code)
        for _, name in ipairs(COMMANDS) do
            assert.matches("\n  " .. name .. " +%w", result.out)
        end
        assert.equal(result.out, t.host({ "help" }).out)
        assert.equal(result.out, t.host({ "-h" }).out)
    end)
    it("without a command is an error", function()
        assert.equal(2, t.host({}).code)
    end)
    for _, name in ipairs(COMMANDS) do
        it("of " .. name .. " says how it is used", function()
            local result = t.host { name, "--help" }
            assert.equal(0, result.code, result.err)
            assert.truthy(result.out:find("rollouthost " .. name .. ": ", 1, true))
            assert.truthy(result.out:find("\nUsage:  rollouthost " .. name, 1, true))
            assert.equal("", result.err)
            assert.equal(result.out, t.host({ "help", name }).out)
            for line in result.out:gmatch("[^\n]+") do
                assert.is_true(utf8.len(line) <= 110, line)
            end
        end)
    end
    it("tells the version", function()
        assert.matches("^rollouthost %d+%.%d+%.%d+\n$", t.host({ "--version" }).out)
    end)
    it("lists every option of a run", function()
        local out = t.host({ "run", "--help" }).out
        for _, name in ipairs { "env", "set", "at", "env-file", "roles", "emergency", "wait", "yes", "output", "state" } do
            assert.truthy(out:find("--" .. name, 1, true), name)
        end
    end)
end)

describe("a mistyped command line", function()
    local path
    lazy_setup(function()
        path = t.playbook(EMPTY, "empty")
    end)
    it("gets a suggestion for a command", function()
        fails({ "aprove" }, 2, 'did you mean "approve"?')
        fails({ "unlcok", "x", "y" }, 2, 'did you mean "unlock"?')
        fails({ "xyzzy" }, 2, "See `rollouthost --help`")
        fails({ "help", "xyzzy" }, 2, "no command")
    end)
    it("gets a suggestion for an option", function()
        fails({ path, "--evn", "test" }, 2, "did you mean --env?")
        fails({ "runs", "--lats=3" }, 2, "did you mean --last?")
        fails({ path, "--xyzzy" }, 2, "See `rollouthost run --help`")
        fails({ path, "-x" }, 2, "unknown option -x")
        fails({ path, "-env", "test" }, 2, "two dashes")
    end)
    it("gets a suggestion for a playbook", function()
        fails({ (path:gsub("empty%.lua$", "emtpy.lua")) }, 2, "did you mean " .. path .. "?")
        fails({ "no/such/folder/x.lua" }, 2, "there is no folder no/such/folder/")
        fails({ "plan", "nothing.lua", cwd = t.temp() }, 2, "no such playbook")
    end)
    it("is told what is missing or too much", function()
        fails({ "run" }, 2, "rollouthost run PLAYBOOK")
        fails({ path, "more" }, 2, 'unexpected "more"')
        fails({ path, "--env" }, 2, "--env needs a value")
        fails({ path, "--env", "--yes" }, 2, "--env needs a value")
        fails({ path, "--env=" }, 2, "--env needs a value")
        fails({ path, "--yes=1" }, 2, "--yes takes no value")
        fails({ path, "--env", "a", "--env", "b" }, 2, "given twice")
        fails({ path, "--set", "version" }, 2, "NAME=VALUE")
        fails({ path, "--output", "xml" }, 2, "auto, plain or json")
        fails({ "plan", path, "--format", "xml" }, 2, "text, md or json")
        fails({ "runs", "--last", "many" }, 2, "a number of runs")
    end)
    it("is told of the playbook's environments and inputs", function()
        fails({ path, "--env", "tset" }, 2, "test")
        fails({ path, "--env", "test", "--set", "versoin=1" }, 2, "versoin")
    end)
    it("of an answer never reaches a run", function()
        fails({ "approve" }, 2, "rollouthost approve RUN [NAME]")
        fails({ "reject", "x" }, 2, "--reason WHY")
        fails({ "confirm", "x" }, 2, "--pass, --fail or --na")
        fails({ "confirm", "x", "--pass", "--fail" }, 2, "exclude each other")
        fails({ "confirm", "x", "--na" }, 2, "needs a reason")
        fails({ "decide", "x" }, 2, "--done, --retry, --rollback, --stop or --skip")
        fails({ "decide", "x", "--done", "--retry" }, 2, "exclude each other")
        fails({ "decide", "x", "--skip" }, 2, "--reason WHY")
        fails({ "decide", "x", "--retry", "--result", "1" }, 2, "--done alone")
        fails({ "lock", path, "test" }, 2, "--reason WHY")
    end)
    it("may have its options before the playbook", function()
        local result = t.host { "--env", "test", path, state = t.temp() }
        assert.equal(0, result.code, result.err)
    end)
    it("takes what follows -- as it is", function()
        fails({ "--", "--strange.lua", cwd = t.temp() }, 2, "--strange.lua: no such playbook")
    end)
end)

describe("without any run", function()
    it("the lists are empty", function()
        local home = { HOME = t.temp(), XDG_STATE_HOME = false, ROLLOUTHOST_STATE = false }
        for _, command in ipairs { { state = t.temp() }, { env = home } } do
            local function host(words)
                return t.host(table.move(words, 1, #words, 1, { state = command.state, env = command.env }))
            end
            local result = host { "runs" }
            assert.equal(0, result.code, result.err)
            assert.matches("^no runs in ", result.out)
            assert.equal("", host({ "runs", "--output", "json" }).out)
            result = host { "status" }
            assert.equal(0, result.code, result.err)
            assert.matches("no unfinished runs", result.out)
            assert.matches("no locked environments", result.out)
        end
    end)
    it("a run cannot be named", function()
        local state = t.temp()
        for _, name in ipairs { "show", "log", "resume", "pause", "rollback", "abort" } do
            fails({ name, state = state }, 2, "no run")
            fails({ name, "terp", state = state }, 2, '"terp"')
        end
    end)
    it("a state folder that is not there is no empty one", function()
        local state = t.temp() .. "/tpyo"
        fails({ "runs", "--state", state }, 2, "tpyo")
        fails({ "show", "--state", state }, 2, "tpyo")
        assert.is_falsy(t.exists(state))
    end)
end)

describe("lock", function()
    it("keeps runs out until unlock, and says why", function()
        local path, folder = t.playbook(EMPTY, "empty")
        local state = folder .. "/state"
        local result = t.host { "lock", path, "production", "--reason", "audit until noon", state = state }
        assert.equal(0, result.code, result.err)
        result = t.host { path, "--env", "production", state = state }
        assert.equal(6, result.code, result.out .. result.err)
        assert.matches("audit until noon", result.err)
        assert.matches("empty@production +held .*audit until noon", t.host({ "status", state = state }).out)
        assert.equal(0, t.host({ path, "--env", "test", state = state }).code)
        -- By now its name is known.
        fails({ "lock", "emtpy", "test", "--reason", "x", state = state }, 2, 'did you mean "empty"?')
        assert.equal(0, t.host({ "unlock", "empty", "production", state = state }).code)
        assert.equal(0, t.host({ path, "--env", "production", state = state }).code)
        fails({ "unlock", path, "production", state = state }, 1, "not locked")
    end)
end)

describe("doctor", function()
    it("looks at everything a run needs", function()
        local result = t.host { "doctor", state = t.temp() }
        assert.equal(0, result.code, result.out .. result.err)
        for _, what in ipairs { "rollouthost", "guardian", "modules", "state", "disk", "durability", "clock", "cgroup" } do
            assert.truthy(result.out:find(" " .. what .. " ", 1, true), what .. "\n" .. result.out)
        end
        for _, name in ipairs { "http", "sh", "fs", "json", "time", "mysql" } do
            assert.matches("modules [^\n]*" .. name, result.out)
        end
    end)
    it("names what is missing, and fails", function()
        local result = t.host { "doctor", state = t.temp(),
            env = { PATH = t.temp(), ROLLOUTHOST_GUARDIAN = "/nowhere/guardian" } }
        assert.equal(1, result.code)
        assert.matches("✘ guardian", result.out)
        assert.matches("✘ tool +bash is not in PATH", result.out)
    end)
    it("refuses a state folder that is a file", function()
        local path = t.playbook(EMPTY, "empty")
        local result = t.host { "doctor", "--state", path }
        assert.equal(1, result.code)
        assert.matches("✘ state", result.out)
    end)
end)

describe("lua", function()
    it("hands over what follows the file", function()
        local path = t.write(t.temp() .. "/x.lua", "print(...) os.exit(#arg == 2 and arg[1] == '--env' and 7 or 1)")
        local result = t.host { "lua", path, "--env", "x" }
        assert.equal(7, result.code, result.err)
        assert.equal("--env\tx\n", result.out)
    end)
end)
