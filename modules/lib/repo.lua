-- repo: what must not be in a repository. It looks at the files that git tracks, and says where something is, never what: a
-- credential that was found would otherwise stand in the log of the run as well.
local _, rt = ...
local sh = require "rollout.sh"

local repo = {}

-- What a calling git leaves in the environment would name another repository.
local ENV = { GIT_DIR = false, GIT_WORK_TREE = false, GIT_INDEX_FILE = false, LC_ALL = "C" }
local SHOWN = 10

-- Extended regular expressions of credentials that are known by their form.
local KINDS = {
    { "a private key", "-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----" },
    { "an AWS access key", "(^|[^A-Z0-9])(AKIA|ASIA)[A-Z0-9]{16}([^A-Z0-9]|$)" },
    { "a GitHub token", "(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})" },
    { "a GitLab token", "glpat-[A-Za-z0-9_-]{20}" },
    { "a Slack token or webhook",
        "(xox[abeoprs]-[A-Za-z0-9-]{10}|hooks\\.slack\\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20})" },
    { "a Stripe key", "[rs]k_live_[A-Za-z0-9]{20}" },
    { "a Google key", "AIza[A-Za-z0-9_-]{35}" },
    { "an npm token", "npm_[A-Za-z0-9]{36}" },
    { "a SendGrid key", "SG\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}" },
    { "an API key", "(^|[^A-Za-z0-9])sk-(ant-|proj-)?[A-Za-z0-9_-]{32}" },
    { "a signed token", "eyJ[A-Za-z0-9_-]{16,}\\.eyJ[A-Za-z0-9_-]{16,}\\.[A-Za-z0-9_-]{16,}" },
    { "a password in a URL", "[a-z0-9+]+://[^][ /:@\"'`<>{}$%*]+:[^][ /:@\"'`<>{}$%*]{6,}@[^ \"']", "example" },
    { "a password or key that is assigned",
        "(secret|passw(or)?d|token|api_?key|private_?key|access_?key)[A-Za-z0-9_]*[\"']?[ \t]*[:=]+[ \t]*"
        .. "([\"'][^\"' $<{(]{12,}[\"']|[A-Za-z0-9/+_=-]{24,}[ \t]*$)", "names" },
}
-- What nobody takes for a real one.
local PLACEHOLDER = "example|change.?me|change.?this|placeholder|your[_-]|dummy|sample|xxxx|\\*\\*\\*\\*|0000|1234567|replace|"
    .. "to.?do|fix.?me|localhost|127\\.0\\.0\\.1|insert|redacted|process\\.env|getenv|environ|secrets\\."

local FILES = { "(^|/)\\.env(\\.[a-z]+)*$", "(^|/)id_(rsa|dsa|ecdsa|ed25519)$", "\\.(p12|pfx|kdbx|jks|keystore)$",
    "(^|/)(\\.pgpass|\\.netrc|\\.npmrc\\.local|credentials\\.json|service-account[^/]*\\.json)$" }

local Tree = {}

local function options_of(given, more, call)
    local spec = { files = "table", except = "table", at = "string" }
    for name, kind in pairs(more or {}) do
        spec[name] = kind
    end
    return rt.options(given or {}, spec, call)
end

-- Paths as git's own patterns: "src/*.ts" goes into subfolders, except = { "*.test.ts" } leaves out.
local function paths(given)
    local list = { "--" }
    for _, path in ipairs(given.files or { "." }) do
        list[#list + 1] = path
    end
    for _, path in ipairs(given.except or {}) do
        list[#list + 1] = ":(exclude)" .. path
    end
    return list
end

local function joined(...)
    local argv = {}
    for _, list in ipairs { ... } do
        table.move(list, 1, #list, #argv + 1, argv)
    end
    return argv
end

-- The tracked files that are looked at: none of them is no pass.
local function listed(self, given)
    local command = { "git", "ls-files", "-z" }
    if given.at then -- ls-tree takes plain paths only: what the empty tree has not
        local empty = sh.read({ "git", "hash-object", "-t", "tree", "--stdin" }, { cwd = self.path, env = ENV }).out
        command = { "git", "diff-tree", "-r", "-z", "--name-only", (empty:gsub("%s", "")), given.at }
    end
    local out = sh.read(joined(command, paths(given)), { cwd = self.path, env = ENV, capture = "16MiB" }).out
    local names = {}
    for name in out:gmatch("[^\0]+") do
        names[#names + 1] = name
    end
    return names
end

local function with_sought(sought)
    local env = { SOUGHT = sought or "" }
    for name, value in pairs(ENV) do
        env[name] = value
    end
    return env
end

-- { "path:line", … } of the lines that match, without their text: it is cut off before anything is kept.
local function found(self, given, flags, patterns, sought)
    local grep = joined({ "git", "grep", "-n", "-z", "-I", "--full-name" }, flags, patterns,
        given.at and { given.at } or {}, paths(given))
    local out = sh.read(joined({ "bash", "--norc", "-o", "pipefail", "-c",
        [[printf %s "$SOUGHT" | "$@" | sed -n 's/\x00\([0-9]*\)[\x00:].*$/:\1/p']], "bash" }, grep),
        { cwd = self.path, env = with_sought(sought), ok = { 0, 1 }, capture = "4MiB" }).out
    local places = {}
    for place in out:gmatch("[^\n]+") do
        places[#places + 1] = given.at and place:sub(1, #given.at + 1) == given.at .. ":" and place:sub(#given.at + 2) or place
    end
    return places
end

local function shown(places)
    return table.concat(places, ", ", 1, math.min(#places, SHOWN)) .. (#places > SHOWN and (" and %d more"):format(#places - SHOWN)
        or "")
end

local function verdict(name, places, files, good)
    if files == 0 then
        return rt.expectation { name = name, verdict = "unknown", measured = 0, unit = "files",
            text = name .. ": git tracks no such file, so nothing was looked at" }
    end
    return rt.expectation { name = name, verdict = #places == 0 and "pass" or "fail", measured = #places, limit = 0,
        unit = "places", text = ("%s: %s"):format(name, #places == 0 and good or ("%d: %s"):format(#places, shown(places))) }
end

--- An expectation: no tracked line has `text` (a list of texts): tree:lacks("console.log", { files = { "src/*.ts" }, except =
--- { "*.test.ts" } }). Other options: regex = true (extended, as grep -E), ignore_case, word, at = revision (else the
--- working tree).
function Tree:lacks(text, options)
    local given = options_of(options, { regex = "boolean", ignore_case = "boolean", word = "boolean" }, "tree:lacks")
    local texts = type(text) == "table" and text or { text }
    local flags = { given.regex and "-E" or "-F" }
    if given.ignore_case then flags[#flags + 1] = "-i" end
    if given.word then flags[#flags + 1] = "-w" end
    for _, one in ipairs(texts) do
        if type(one) ~= "string" or one == "" then
            rt.raise("usage", "tree:lacks: expects a text such as \"console.log\", or a list of them")
        end
    end
    local name = ("no %s"):format(table.concat(texts, ", "))
    local files = #listed(self, given)
    -- by a variable: what is looked for may be a command or a statement that is refused here
    local places = files > 0 and found(self, given, flags, { "-f", "/dev/stdin" }, table.concat(texts, "\n")) or {}
    return verdict(name, places, files, ("in none of %d files"):format(files))
end

-- Files that are credentials by their name.
local function credential_files(self, names)
    local list = {}
    if #names == 0 then
        return list
    end
    local patterns = {}
    for _, pattern in ipairs(FILES) do
        table.move({ "-e", pattern }, 1, 2, #patterns + 1, patterns)
    end
    local out = sh.read(joined({ "grep", "-zE" }, patterns), { cwd = self.path, ok = { 0, 1 },
        stdin = table.concat(names, "\0") .. "\0", env = ENV }).out
    local fine = { "example", "sample", "template", "dist", "default", "defaults", "test" }
    for name in out:gmatch("[^\0]+") do
        local ok = false
        for _, ending in ipairs(fine) do
            ok = ok or name:sub(-#ending - 1) == "." .. ending
        end
        list[#list + 1] = not ok and name or nil
    end
    return list
end

--- Expectations: no tracked file has a credential that is known by its form, or is one by its name (.env, id_rsa, …). Places are
--- named, their text is not. except = { "spec/fixtures/*" } leaves out what is meant to be there.
function Tree:no_secrets(options)
    local given = options_of(options, {}, "tree:no_secrets")
    local names = listed(self, given)
    local checks, total = {}, 0
    for _, kind in ipairs(KINDS) do
        local patterns = { "-e", kind[2] }
        if kind[3] then
            patterns = { "(", "-e", kind[2], ")", "--and", "--not", "-e", PLACEHOLDER }
        end
        local places = #names > 0 and found(self, given, kind[3] and { "-E", "-i" } or { "-E" }, patterns) or {}
        total = total + #places
        if #places > 0 then
            checks[#checks + 1] = verdict(kind[1], places, #names)
        end
    end
    local files = credential_files(self, names)
    if #files > 0 then
        checks[#checks + 1] = verdict("files that are credentials", files, #names)
    end
    return #checks > 0 and checks or verdict("no secrets", {}, #names, ("none known by its form in %d files"):format(#names))
end

--- Expectations: these files are ignored by git, and not tracked: tree:ignores(".env", ".env.production").
function Tree:ignores(...)
    local checks = {}
    for i, name in ipairs { ... } do
        local tracked = #listed(self, { files = { name } }) > 0
        local ignored = sh.read({ "git", "check-ignore", "-q", "--no-index", "--", name }, { cwd = self.path, env = ENV,
            ok = { 0, 1 } }).code == 0
        checks[i] = rt.expectation { name = name, verdict = ignored and not tracked and "pass" or "fail",
            measured = tracked and "tracked" or ignored and "ignored" or "not ignored", limit = "ignored",
            text = tracked and ("%s is tracked: `git rm --cached %s`, and rotate what is in it"):format(name, name)
                or ignored and name .. " is ignored" or ("%s is not ignored: add it to .gitignore"):format(name) }
    end
    return checks
end

local class = rt.class("repo.tree", Tree, function(self) return "the repository in " .. self.path end)

--- The repository at `path` (where the run started). Nothing runs yet.
function repo.tree(path)
    return setmetatable({ path = path or "." }, class)
end

return repo
