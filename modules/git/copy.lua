-- Copies of a repository: clones, working trees beside the checkout, and submodules.
local native, rt, command, refs = ...

local copy = {}
local word, short, looker = command.word, command.short, refs.looker

local function work(verb, path, more)
    local request = { verb = verb, path = path }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    return rt.native("fs").work(request)
end

-- ---- clone ----

-- What a clone is known by: the run and the effect that made it.
local function mark_of(ctx)
    return rt.sha256((ctx.dir or "") .. "\0" .. ctx.key:gsub("@%d+%.(%d+)", "@%1")):sub(1, 16)
end

local function cloned(args, ctx, repo)
    return { path = args.path, sha = command.resolve(ctx, repo, "HEAD"), branch = command.branch(ctx, repo) }
end

local clone = rt.effect {
    name = "git.clone",
    class = "probed",
    command = true,
    args = function(url, path, options)
        local given = rt.options(options or {}, { ref = "string", depth = "integer", bare = "boolean", submodules = "boolean",
            env = "table", timeout = "duration" }, "git.clone")
        word(url, "git.clone", "the URL")
        if given.depth and given.depth < 1 then
            rt.raise("usage", "git.clone: depth is a number of commits")
        end
        return { url = url, path = word(path, "git.clone", "the folder"), depth = given.depth, bare = given.bare,
            ref = given.ref and word(given.ref, "git.clone", "ref"), submodules = given.submodules,
            env = command.env(given.env, "git.clone"), timeout = given.timeout }
    end,
    describe = function(args) return ("clone %s to %s"):format(tostring(args.url), tostring(args.path)) end,
    call = function(args, ctx)
        local repo = { path = args.path, env = args.env, timeout = args.timeout }
        local found = work("stat", args.path)
        if found and not (found.type == "directory" and #work("list", args.path) == 0) and not ctx.adopting then
            rt.raise("exists", ("git: %s is there already, and is not empty"):format(args.path))
        end
        local argv = { "clone", "--config", "rollouthost.made=" .. mark_of(ctx) }
        local function add(text)
            argv[#argv + 1] = text
        end
        add(args.ref and "--branch=" .. args.ref or nil)
        add(args.depth and "--depth=" .. args.depth or nil)
        add(args.bare and "--bare" or nil)
        add(args.submodules and "--recurse-submodules" or nil)
        add("--")
        add(args.url)
        add(args.path)
        command.remote(ctx, repo, args.url, argv, { main = true, folder = "." })
        return cloned(args, ctx, repo)
    end,
    probe = function(args, ctx)
        local repo = { path = args.path, env = args.env }
        local found = work("stat", args.path)
        if not found then
            return "undone"
        elseif #work("list", args.path) == 0 then
            return "undone"
        end
        local ok, made = pcall(command.run, ctx, repo, { "config", "--get", "rollouthost.made" })
        if ok and made.out == mark_of(ctx) .. "\n" and command.resolve(ctx, repo, "HEAD")
            and (args.bare or command.status(ctx, repo, { limit = 1 }).total == 0) then
            return "done", cloned(args, ctx, repo)
        end
        return "unknown", args.path .. " is there, and is no whole clone that this run made"
    end,
    sample = function(args)
        return { path = args.path, sha = rt.unknown("HEAD of " .. tostring(args.url)), branch = rt.unknown "branch" }
    end,
    exact = { "path", "url" },
}

copy.clone = clone

-- ---- working trees beside the checkout ----

local function worktree_of(ctx, repo, path)
    local current
    for line in command.run(ctx, repo, { "worktree", "list", "--porcelain", "-z" }).out:gmatch("([^%z]*)%z") do
        current = line:match("^worktree (.*)") or current
        local sha = line:match("^HEAD (%x+)")
        if sha and current == path then
            return sha
        end
    end
end

-- Git names a working tree by its real path.
local function real(ctx, repo, path)
    local found = command.run(ctx, repo, { "-C", path, "rev-parse", "--show-toplevel" }, { ok = { [128] = true } })
    return found.code == 0 and found.out:gsub("\n$", "") or path
end

local look_worktree = looker("worktree", {
    args = function(args) return args end,
    describe = function(args) return ("what is %s, and is %s free"):format(tostring(args.ref), tostring(args.path)) end,
    call = function(args, ctx)
        local sha = command.need(ctx, args.repo, args.ref)
        local path = native.absolute(args.path)
        if work("stat", path) then
            rt.raise("exists", ("git: %s is there already"):format(path))
        end
        return { sha = sha, path = path }
    end,
    sample = function(args)
        return { sha = rt.unknown("commit of " .. tostring(args.ref)), path = args.path }
    end,
    exact = { "path" },
})

local add_worktree = rt.effect {
    name = "git.worktree",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("make a working tree of %s at %s  (from %s)"):format(short(args.sha), tostring(args.path), args.repo.path)
    end,
    call = function(args, ctx)
        -- What a folder that was removed by hand has left in the list would be in the way.
        command.run(ctx, args.repo, { "worktree", "prune" })
        command.run(ctx, args.repo, { "worktree", "add", "--detach", "--", args.path, args.sha }, { main = true })
        return { path = args.path, sha = args.sha }
    end,
    probe = function(args, ctx)
        if not work("stat", args.path) then
            return "undone"
        elseif worktree_of(ctx, args.repo, real(ctx, args.repo, args.path)) == args.sha
            and command.status(ctx, { path = args.path, env = args.repo.env }, { limit = 1 }).total == 0 then
            return "done", { path = args.path, sha = args.sha }
        end
        return "unknown", args.path .. " is there, and is no whole working tree of that commit"
    end,
    sample = function(args) return { path = args.path, sha = args.sha } end,
    exact = { "path" },
}

--- Makes a working tree of a commit, tag or branch in a folder that does not exist, beside the checkout: { path, sha }.
function copy.worktree(repo, path, ref, options)
    rt.options(options or {}, {}, "git.worktree")
    local base = command.repo(repo, "git.worktree")
    local found = look_worktree { repo = base, path = word(path, "git.worktree", "the folder"),
        ref = word(ref or "HEAD", "git.worktree", "the commit") }
    return add_worktree { repo = base, path = found.path, sha = found.sha }
end

--- Removes a working tree that repo:worktree made; what was built in it goes with it only with `built = true`.
copy.remove_worktree = rt.effect {
    name = "git.remove_worktree",
    class = "idempotent",
    command = true,
    args = function(repo, path, options)
        local given = rt.options(options or {}, { built = "boolean" }, "git.remove_worktree")
        path = type(path) == "table" and not rt.is_unknown(path) and path.path or path
        return { repo = command.repo(repo, "git.remove_worktree"),
            path = word(path, "git.remove_worktree", "the folder"), built = given.built }
    end,
    describe = function(args) return "remove the working tree " .. tostring(args.path) end,
    call = function(args, ctx)
        local path = native.absolute(args.path)
        if not work("stat", path) then
            command.run(ctx, args.repo, { "worktree", "prune" })
            return true
        elseif not worktree_of(ctx, args.repo, real(ctx, args.repo, path)) then
            rt.raise("no_worktree", ("git: %s is no working tree of %s"):format(path, args.repo.path))
        end
        local argv = { "worktree", "remove", "--", path }
        if args.built then
            table.insert(argv, 3, "--force")
        end
        local result = command.run(ctx, args.repo, argv, { main = true, ok = { [128] = true } })
        if result.code ~= 0 then
            command.fail(ctx, args.repo, result, "dirty", ("%s holds files that are not committed; built = true removes them"
                .. " too"):format(path))
        end
        return true
    end,
    sample = function() return true end,
    exact = { "path" },
}

-- ---- submodules ----

--- Brings every submodule to the commit that is recorded for it.
copy.update_submodules = rt.effect {
    name = "git.update_submodules",
    class = "idempotent",
    command = true,
    args = function(repo, options)
        local given = rt.options(options or {}, { recursive = "boolean", depth = "integer" }, "git.update_submodules")
        return { repo = command.repo(repo, "git.update_submodules"), recursive = given.recursive ~= false, depth = given.depth }
    end,
    describe = function(args) return "update submodules  (in " .. args.repo.path .. ")" end,
    call = function(args, ctx)
        local argv = { "submodule", "update", "--init" }
        if args.recursive then
            argv[#argv + 1] = "--recursive"
        end
        if args.depth then
            argv[#argv + 1] = "--depth=" .. args.depth
        end
        command.remote(ctx, args.repo, nil, argv, { main = true })
        return true
    end,
    sample = function() return true end,
}

return copy
