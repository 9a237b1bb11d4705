-- How git is run: by the process engine, in machine formats, with the environment of the user's git but for what would
-- point it elsewhere or make it ask.
local native, rt = ...

local command = {}

local LISTED = 64 << 20 -- bytes of a listing that are read

-- What a git that calls a hook, an alias or a rebase's `exec` leaves to its children: it would lead git to that repository.
local FOREIGN = { "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
    "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS", "GIT_QUARANTINE_PATH",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_REFLOG_ACTION", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
    "GIT_ATTR_SOURCE", "GIT_TRACE", "GIT_TRACE_CURL", "GIT_TRACE_PACKET", "GIT_TRACE_SETUP", "GIT_CURL_VERBOSE",
    "LANGUAGE" }

local SSH = "ssh -o BatchMode=yes"
local ssh_of = {} -- by repository: the ssh command that its configuration names, or false

local function environment(repo)
    local env = {
        LC_ALL = "C", GIT_TERMINAL_PROMPT = "0", GIT_PAGER = "cat", GIT_EDITOR = ":", GIT_SEQUENCE_EDITOR = ":",
        GIT_MERGE_AUTOEDIT = "no", SSH_ASKPASS = false, SSH_ASKPASS_REQUIRE = "never",
    }
    for _, name in ipairs(FOREIGN) do
        env[name] = false
    end
    for name, value in pairs(repo.env or {}) do
        env[name] = value
    end
    return env
end

--- A path or revision as it may stand in an argument: no secret, nothing that git would take for an option.
function command.word(value, where, what)
    if rt.is_unknown(value) then
        return value
    elseif rt.is_secret(value) then
        rt.raise("usage", where .. ": " .. what .. " is a secret, and every user of the machine can read a command's"
            .. " arguments (ps); git gets its credentials from its own helpers, or from env = { … } of git.repo")
    elseif type(value) ~= "string" or value == "" then
        rt.raise("usage", ("%s: %s is %s; expected a text"):format(where, what,
            value == nil and "missing" or value == "" and "empty" or "a " .. type(value)))
    elseif value:find("^%-") or value:find("%c") then
        rt.raise("usage", ("%s: %s %q cannot be: it begins with - or holds a control character"):format(where, what, value))
    elseif value:find("^%a[%w+.-]*://[^/@]*:[^/@]*@") then
        rt.raise("usage", ("%s: %s holds a password, and every user of the machine can read a command's arguments (ps); leave it"
            .. " to git's credential helper, or give env = { … }"):format(where, what))
    end
    return value
end

--- What is journaled of a handle.
function command.repo(repo, where)
    if type(repo) ~= "table" or type(rawget(repo, "path")) ~= "string" then
        rt.raise("usage", where .. ": call it with a colon on what git.repo returned: repo:" .. where:match("[^.]+$") .. "(…)")
    end
    return { path = repo.path, env = repo.env or nil, timeout = repo.timeout or nil }
end

--- Variables for a command's environment: { NAME = text | secret | false }.
function command.env(env, where)
    for name, value in pairs(env or {}) do
        if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
            rt.raise("usage", ("%s: env has %q, which is no name of a variable"):format(where, tostring(name)))
        elseif value ~= false and type(value) ~= "string" and not rt.is_secret(value) then
            rt.raise("usage", ("%s: env.%s is a %s; expected a text, a secret or false"):format(where, name, type(value)))
        end
    end
    return env
end

--- Of `repo:verb("v1", { … })` or `repo:verb { "v1", … }`: the value and the checked options.
function command.named(where, value, options, spec)
    if type(value) == "table" and not rt.is_unknown(value) and not rt.is_secret(value) and getmetatable(value) == nil then
        if options ~= nil then
            rt.raise("usage", where .. ": options stand in the first table or in a second one, not in both")
        end
        options = {}
        for key, one in pairs(value) do
            if key ~= 1 then
                options[key] = one
            end
        end
        value = value[1]
    end
    return value, rt.options(options or {}, spec, where)
end

local function fresh_id(sh, ctx)
    local n = 0
    local id
    repeat
        n = n + 1
        id = ctx.id .. ".g" .. n
    until sh.state(id) == "never"
    return id
end

--- The last lines of what git said, for a person. Never read by the program.
function command.said(result)
    local said = rt.last_said(result, 8, "^hint: ")
    return said ~= "" and "; git said:\n  " .. said or ""
end

-- opts: main (the command that the effect is about: after a crash it is found again, and its output is in the step's log),
-- ok (exit codes besides 0), input, timeout, bare (git's options before the repository: nothing exists yet), folder.
local function execute(ctx, repo, argv, opts)
    local sh = rt.native("sh")
    local words = { "git", "-c", "core.quotePath=false", "-c", "log.showSignature=false" }
    local env = environment(repo)
    if not opts.main then
        env.GIT_OPTIONAL_LOCKS = "0"
    end
    if opts.ssh then
        env.GIT_SSH_COMMAND = opts.ssh
    end
    local ok, result = pcall(sh.run, {
        id = opts.main and ctx.id or fresh_id(sh, ctx),
        argv = table.move(argv, 1, #argv, #words + 1, words),
        cwd = opts.folder or repo.path,
        env = env,
        input = opts.input,
        timeout = opts.timeout,
        log = opts.main and ctx.log or nil,
        capture = not opts.main and LISTED or nil,
    })
    if not ok then
        if type(result) == "table" and result.code == "cwd" then
            rt.raise("no_repository", ("git: there is no folder %s"):format(repo.path))
        elseif type(result) == "table" and result.code == "command_not_found" then
            rt.raise("command_not_found", "git: the git command is not installed here, or not in PATH")
        end
        error(result, 0)
    elseif result.timed_out then
        rt.raise("timeout", ("git: `git %s` in %s was still running after %s and was ended%s"):format(argv[1], repo.path,
            rt.show_duration(opts.timeout), command.said(result)))
    elseif result.truncated and not opts.main then
        rt.raise("too_large", ("git: `git %s` in %s printed more than %d MiB"):format(argv[1], repo.path, LISTED >> 20))
    end
    return result
end

local LOCKS = { "index.lock", "HEAD.lock", "packed-refs.lock", "shallow.lock", "config.lock" }

local function refuse_locked(ctx, repo, result)
    local argv = { "rev-parse" }
    for _, name in ipairs(LOCKS) do
        table.move({ "--git-path", name }, 1, 2, #argv + 1, argv)
    end
    for lock in execute(ctx, repo, argv, {}).out:gmatch("[^\n]+") do
        local path = lock:find("^/") and lock or repo.path .. "/" .. lock
        local found = rt.native("fs").work { verb = "stat", path = path }
        if found then
            local age = math.max(0, rt.now() - found.modified) // 1000 * 1000
            rt.raise("locked", ("git: %s is locked: %s has been there for %s. If no git command is at work there, one was"
                .. " killed: remove the file%s"):format(repo.path, path, rt.show_duration(age), command.said(result)),
                { lock = path })
        end
    end
end

-- Tried, not read: what keeps git from working here at all.
local function diagnose(ctx, repo, result)
    local folder = execute(ctx, repo, { "rev-parse", "--absolute-git-dir" }, {})
    if folder.code ~= 0 then
        rt.raise("no_repository", ("git: %s is no repository that git may use%s"):format(repo.path, command.said(folder)))
    elseif result then
        refuse_locked(ctx, repo, result)
    end
end

--- Fails with what is found out, or else with code `code`.
function command.fail(ctx, repo, result, code, message, detail)
    diagnose(ctx, repo, result)
    rt.raise(code, ("git: %s%s"):format(message, command.said(result)), detail)
end

--- Runs git and returns { code, out, err }; an exit code that is neither 0 nor in `ok` is an error.
function command.run(ctx, repo, argv, opts)
    opts = opts or {}
    local result = execute(ctx, repo, argv, opts)
    if result.code ~= 0 and not (opts.ok and opts.ok[result.code]) then
        command.fail(ctx, repo, result, opts.code or "git", ("`git %s` in %s failed (%s)"):format(argv[1], repo.path,
            result.signal or "exit " .. result.code))
    end
    return result
end

local function configured_ssh(ctx, repo)
    if ssh_of[repo.path] == nil then
        local found = execute(ctx, repo, { "config", "--get", "core.sshCommand" }, {})
        ssh_of[repo.path] = found.code == 0
    end
    return ssh_of[repo.path]
end

local function has_name(env, name)
    return env and env[name] ~= nil
end

--- The same for what talks to a remote: ssh is told to ask nothing, unless the user has said how ssh is to be run. `remote` is
--- its name, a URL (opts.folder: no repository is there yet), or nil: several. opts.arrived(): whether what failed came about
--- nevertheless.
function command.remote(ctx, repo, remote, argv, opts)
    opts = opts or {}
    opts.timeout = opts.timeout or repo.timeout
    local own = native.has_ssh_command() or has_name(repo.env, "GIT_SSH_COMMAND") or has_name(repo.env, "GIT_SSH")
        or (not opts.folder and configured_ssh(ctx, repo))
    opts.ssh = not own and SSH or nil
    local result = execute(ctx, repo, argv, opts)
    if result.code ~= 0 and not (opts.ok and opts.ok[result.code]) then
        if opts.arrived then
            local ok, arrived = pcall(opts.arrived)
            if ok and arrived then
                return result
            end
        end
        if not opts.folder then
            diagnose(ctx, repo, result)
        end
        if remote and not opts.folder then
            command.need_remote(ctx, repo, remote)
        end
        rt.raise("remote", ("git: `git %s` failed: %s cannot be reached, is no repository, or refuses us%s"):format(argv[1],
            remote and "the remote " .. remote or "a remote", command.said(result)), { remote = remote })
    end
    return result
end

--- Fails where `remote` is a name that the repository does not know.
function command.need_remote(ctx, repo, remote)
    if remote:find("[/:\\]") then
        return
    end
    local names = {}
    for name in execute(ctx, repo, { "remote" }, {}).out:gmatch("[^\n]+") do
        if name == remote then
            return
        end
        names[#names + 1] = name
    end
    local hint = rt.suggest(remote, names)
    rt.raise("no_remote", ("git: %s has no remote %q%s"):format(repo.path, remote, hint and ": " .. hint
        or #names > 0 and "; it has " .. table.concat(names, ", ") or "; it has none"))
end

--- The commit (or, with kind "", the object) that a revision names, or nil.
function command.resolve(ctx, repo, revision, kind)
    local found = execute(ctx, repo, { "rev-parse", "--verify", "--quiet", revision .. (kind or "^{commit}") }, {})
    if found.code ~= 0 then
        diagnose(ctx, repo)
        return nil
    end
    return (found.out:gsub("%s+$", ""))
end

function command.ambiguous(where, name)
    rt.raise("ambiguous", ("git: %s has a branch and a tag %q: say refs/heads/%s or refs/tags/%s"):format(where, name, name,
        name))
end

--- Refuses a name that is a branch and a tag: git would take the tag, and mention it in passing.
function command.refuse_ambiguous(ctx, repo, revision)
    if revision:find("^refs/") or revision == "HEAD" or revision:find("[%^~@:{]") or revision:find("^%x+$") then
        return
    end
    local found = execute(ctx, repo, { "for-each-ref", "--format=%(refname)", "refs/heads/" .. revision,
        "refs/tags/" .. revision }, {})
    local lines = "\n" .. found.out -- a name is also a prefix of others
    if lines:find("\nrefs/heads/" .. revision .. "\n", 1, true) and lines:find("\nrefs/tags/" .. revision .. "\n", 1, true) then
        command.ambiguous(repo.path, revision)
    end
end

--- The same, or an error, code "unknown_revision".
function command.need(ctx, repo, revision, kind)
    command.refuse_ambiguous(ctx, repo, revision)
    return command.resolve(ctx, repo, revision, kind) or rt.raise("unknown_revision",
        ("git: %s has no commit %q; if it exists elsewhere, fetch first"):format(repo.path, revision))
end

--- The branch that is checked out, or nil.
function command.branch(ctx, repo)
    local found = execute(ctx, repo, { "symbolic-ref", "--quiet", "HEAD" }, {})
    return found.code == 0 and found.out:match("^refs/heads/(.-)\n$") or nil
end

--- Whether `a` is an ancestor of `b`, or the same; both are commits that are here.
function command.is_ancestor(ctx, repo, a, b)
    return command.run(ctx, repo, { "merge-base", "--is-ancestor", a, b }, { ok = { [1] = true } }).code == 0
end

--- What git's status says: see native.status.
function command.status(ctx, repo, opts)
    local result = command.run(ctx, repo, { "status", "--porcelain=v2", "--branch", "-z",
        "--untracked-files=" .. (opts.untracked and "normal" or "no"),
        "--ignore-submodules=" .. (opts.submodules and "none" or "all") })
    return native.status(result.out, opts.limit)
end

--- "a.txt (M), b.txt (?) and 3 more"
function command.listed(status)
    local names = {}
    for i = 1, math.min(#status.files, 5) do
        names[i] = ("%s (%s)"):format(rt.readable(status.files[i].path), (status.files[i].state:gsub("%.", ""):gsub("%?%?", "?")))
    end
    return table.concat(names, ", ") .. (status.total > #names and (" and %d more"):format(status.total - #names) or "")
end

--- Refuses to go on over changes that nobody committed.
function command.need_clean(ctx, repo, doing)
    local status = command.status(ctx, repo, { limit = 5 })
    if status.total > 0 then
        rt.raise("dirty", ("git: %s has changes that are not committed, so nothing was %s: %s"):format(repo.path, doing,
            command.listed(status)), { files = status.files })
    end
end

function command.short(sha)
    return rt.is_unknown(sha) and tostring(sha) or sha:sub(1, 10)
end

return command
