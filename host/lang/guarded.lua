-- Commands and statements that destroy data: refused in a protected environment unless the playbook says
-- why. A false alarm costs one `destructive = "why"`; a miss costs a database. So each pattern is wide, and
-- comments and quotes of the shell are not understood on purpose.
local guarded = {}

-- Texts are compared in lower case, with quotes and backslashes removed and white space squeezed.
local PATTERNS = {
    { "db:reset", "db:reset" },
    { "prisma migrate reset", "%f[%w]prisma migrate reset%f[^%w]" },
    { "prisma migrate dev", "%f[%w]prisma migrate dev%f[^%w]" },
    { "DROP DATABASE", "%f[%w]drop database%f[^%w_]" },
    { "DROP TABLE", "%f[%w]drop table%f[^%w_]" },
    { "DROP SCHEMA", "%f[%w]drop schema%f[^%w_]" },
    { "mysqladmin drop", "%f[%w]mysqladmin .-%f[%w]drop%f[^%w]" },
    { "dropdb", "%f[%w]dropdb%f[^%w]" },
    { "TRUNCATE", "%f[%w]truncate%f[^%w_]%s*[^(%s]" }, -- not the function TRUNCATE(x, 2)
}

local function words(text)
    local list = {}
    for word in text:gmatch("%S+") do list[#list + 1] = word end
    return list
end

-- One command of a line ("a && b; c | d"), as words.
local function commands(text)
    local list = {}
    for part in (text:gsub("[;|&()\n]+", "\n") .. "\n"):gmatch("(.-)\n") do
        local found = words(part)
        if #found > 0 then list[#list + 1] = found end
    end
    return list
end

local function after(list, ...)
    local names = { ... }
    for i = 1, #list do
        local name = list[i]:match("([^/]+)$") or list[i]
        for _, wanted in ipairs(names) do
            if name == wanted then return i end
        end
    end
end

local function has(list, from, test)
    for i = from, #list do
        if test(list[i]) then return i end
    end
end

local function compose_down(list)
    local at = after(list, "docker-compose")
    if not at then
        local docker = after(list, "docker")
        at = docker and has(list, docker, function(word) return word == "compose" end)
    end
    local down = at and has(list, at, function(word) return word == "down" end)
    return down and has(list, down, function(word)
        return word == "--volumes" or word:match("^%-%-volumes=t") or word:match("^%-%a*v%a*$")
    end) and "docker compose down -v"
end

-- Volumes, named or a container's own, that are removed by docker's other commands.
local function docker_volumes(list)
    local docker = after(list, "docker")
    local function has_word(from, name) return has(list, from, function(word) return word == name end) end
    local volume = docker and has_word(docker, "volume")
    if volume and (has_word(volume, "rm") or has_word(volume, "remove") or has_word(volume, "prune")) then
        return "docker volume rm"
    elseif docker and has_word(docker, "prune") and has(list, docker, function(word) return word:match("^%-%-volumes") end) then
        return "docker system prune --volumes"
    end
    local rm = docker and not has_word(docker, "run") and not has_word(docker, "exec") and has_word(docker, "rm")
    return rm and has(list, rm, function(word)
        return word:match("^%-%-volumes") or word:match("^%-%a*v%a*$")
    end) and "docker rm -v"
end

-- Of the git commands that lose what nobody has a second copy of: the subcommand, and the words that make it one.
local GIT = {
    { "git push --force", "push", function(word)
        return word:match("^%-%-force") or word:match("^%-%a*f%a*$") or word:match("^%+%S") or word == "--mirror"
    end },
    { "git reset --hard", "reset", function(word) return word == "--hard" end },
    { "git clean -f", "clean", function(word) return word:match("^%-%-f") or word:match("^%-%a*f%a*$") end },
}

local function git_loss(list)
    local git = after(list, "git")
    for _, pattern in ipairs(git and GIT or {}) do
        local verb = has(list, git, function(word) return word == pattern[2] end)
        if verb and has(list, verb, pattern[3]) then return pattern[1] end
    end
end

-- The root, its direct folders, the home, and everything of the current folder.
local ROOTS = { ["/"] = true, ["/*"] = true, ["~"] = true, ["~/"] = true, ["~/*"] = true, ["*"] = true,
    ["$home"] = true, ["${home}"] = true, ["$home/"] = true, ["."] = true, ["./"] = true, ["./*"] = true }

local function remove_root(list)
    local rm = after(list, "rm")
    if not rm then return end
    local recursive = has(list, rm + 1, function(word)
        return word == "--recursive" or word:match("^%-%a*r%a*$")
    end)
    return recursive and has(list, rm + 1, function(word)
        if word == "--no-preserve-root" then return true end
        local path = word:gsub("/+", "/"):gsub("/%./", "/"):gsub("/%.$", "/")
        return ROOTS[path] or path:match("^/[%w*]+/?%*?$")
    end) and "rm -rf /"
end

-- → the name of the first pattern that `text` (a shell line, a joined argv, an SQL text) matches, or nil.
-- `extra` is the header's `deny`: plain texts.
function guarded.match(text, extra)
    local plain = text:gsub("\\\n", " "):gsub("[\"'`\\]", ""):lower()
    local squeezed = " " .. plain:gsub("/%*.-%*/", " "):gsub("%-%-[^\n%w][^\n]*", " "):gsub("%s+", " ") .. " "
    -- Once with SQL's comments taken out, once as it stands: a shell's `--` ends nothing.
    for _, form in ipairs { squeezed, " " .. plain:gsub("%s+", " ") .. " " } do
        for _, pattern in ipairs(PATTERNS) do
            if form:find(pattern[2]) then return pattern[1] end
        end
        for _, denied in ipairs(extra or {}) do
            if form:find((denied:lower():gsub("%s+", " ")), 1, true) then return denied end
        end
    end
    for _, list in ipairs(commands(plain)) do
        local found = compose_down(list) or docker_volumes(list) or git_loss(list) or remove_root(list)
        if found then return found end
    end
end

return guarded
