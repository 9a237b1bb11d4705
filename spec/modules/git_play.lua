-- For git's specs: a bare origin with a checkout, in folders whose names are awkward, and steps that work on them.
local t = require "spec.helper"

local G = {}

-- A folder with a git configuration of its own: nothing of the machine's user gets into a spec.
function G.home()
    local home = t.temp()
    t.write(home .. "/.gitconfig", [[
[user]
    name = Dana Deploy
    email = dana@example.com
[init]
    defaultBranch = main
[protocol "file"]
    allow = always
]])
    return home
end

function G.environment(home)
    return { HOME = home, GIT_CONFIG_NOSYSTEM = "1", GIT_CONFIG_GLOBAL = home .. "/.gitconfig", XDG_CONFIG_HOME = home,
        GNUPGHOME = home .. "/gnupg" }
end

local World = {}
World.__index = World

-- Runs git in a folder of the world and returns what it printed, without the last newline.
function World:git(folder, ...)
    local command = { "git", "-C", folder, env = self.env, timeout = 60 }
    local result = t.run(table.move({ ... }, 1, select("#", ...), 4, command))
    if result.code ~= 0 then
        error(("git %s: %s%s"):format(table.concat({ ... }, " "), result.out, result.err), 2)
    end
    return (result.out:gsub("\n$", ""))
end

-- Writes a file, commits it and returns the commit.
function World:commit(folder, name, text, message)
    t.write(folder .. "/" .. name, text)
    self:git(folder, "add", "--all")
    self:git(folder, "commit", "--quiet", "-m", message or "change " .. name)
    return self:git(folder, "rev-parse", "HEAD")
end

-- { home, env, folder, origin, work }: `work` is a checkout of main with two commits, pushed.
function G.world()
    local folder = t.temp()
    local home = G.home()
    local world = setmetatable({ home = home, env = G.environment(home), folder = folder, origin = folder .. "/the örigin.git",
        work = folder .. "/a chéckout" }, World)
    world:git(folder, "init", "--quiet", "--bare", world.origin)
    world:git(folder, "clone", "--quiet", world.origin, world.work)
    world:commit(world.work, "app.txt", "one\n")
    world:commit(world.work, "grüße aus.txt", "hello\n")
    world:git(world.work, "push", "--quiet", "origin", "main")
    return world
end

-- A second person's checkout.
function World:other()
    local path = self.folder .. "/other" .. #t.list(self.folder)
    self:git(self.folder, "clone", "--quiet", self.origin, path)
    return path
end

local BODY = [[
local git = require "rollout.git"
local sh, fs = require "rollout.sh", require "rollout.fs"
playbook "spec" { environments = { %q } }
local repo = git.repo(%q)
local value = step("it", { timeout = "30s" }, function()
%s
end)
return value
]]

-- The playbook whose one step has this body; `repo` is the checkout.
function World:playbook(text, environment)
    return BODY:format(environment or "test", self.work, text)
end

-- Runs Lua as the body of a step: what t.outcome returns.
function World:outcome(text, options)
    options = options or {}
    options.env = setmetatable(options.env or {}, nil)
    for name, value in pairs(self.env) do
        if options.env[name] == nil then
            options.env[name] = value
        end
    end
    return t.outcome(t.play(self:playbook(text, options.environment), options))
end

-- The same, where it must not fail.
function World:body(text, options)
    local value, problem, result = self:outcome(text, options)
    if problem then
        error(("failed with %s: %s"):format(problem.code, problem.message), 2)
    end
    return value, nil, result
end

-- The same, where it must fail with `code`; returns the error and the run.
function World:fails(code, text, options)
    local value, problem, result = self:outcome(text, options)
    if not problem then
        error("it did not fail, but returned " .. require("dkjson").encode(value), 2)
    elseif problem.code ~= code then
        error(("failed with %s, not %s: %s"):format(problem.code, code, problem.message), 2)
    end
    return problem, result
end

return G
