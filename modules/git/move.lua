-- What moves the checkout: checkout, pull, revert, and the way back.
local _, rt, command, _, refs = ...

local move = {}
local word, short, looker = command.word, command.short, refs.looker

local function place(sha, branch)
    return { sha = sha, branch = branch }
end

local function moved(args)
    return { sha = args.sha, branch = args.branch, before = args.before }
end

local function here(ctx, repo)
    return place(command.resolve(ctx, repo, "HEAD"), command.branch(ctx, repo))
end

local function same_place(a, b)
    return a.sha == b.sha and a.branch == b.branch
end

-- Done, undone or neither: by where HEAD is, and whether the files are those of it.
local function probe_place(args, ctx)
    local now = here(ctx, args.repo)
    local clean = command.status(ctx, args.repo, { limit = 1 }).total == 0
    if (clean or args.dirty) and same_place(now, args) then
        return "done", moved(args)
    elseif clean and same_place(now, args.before) then
        return "undone"
    end
    return "unknown"
end

-- Git's exit code is also that of a hook that ran when all was done.
local function settle(ctx, args, result, doing)
    if result.code == 0 then
        return moved(args)
    end
    if same_place(here(ctx, args.repo), args) then
        rt.raise("hook", ("git: %s was %s, but a hook (such as post-checkout) failed then, exit %s%s"):format(args.repo.path,
            doing, result.code, command.said(result)))
    end
    command.fail(ctx, args.repo, result, "git", ("%s was not %s"):format(args.repo.path, doing))
end

local ANY = setmetatable({}, { __index = function() return true end })

-- ---- checkout ----

local look_checkout = looker("checkout", {
    args = function(args) return args end,
    describe = function(args) return ("where is HEAD, and what is %s"):format(tostring(args.target)) end,
    call = function(args, ctx)
        local repo, target = args.repo, args.target
        local before = here(ctx, repo)
        if not args.dirty then
            command.need_clean(ctx, repo, "checked out")
        end
        if args.create then
            if command.resolve(ctx, repo, "refs/heads/" .. target, "") then
                rt.raise("exists", ("git: %s has a branch %s already"):format(repo.path, target))
            end
            return { sha = command.need(ctx, repo, args.from), branch = target, create = true, before = before }
        end
        local sha = command.resolve(ctx, repo, "refs/heads/" .. target)
        if sha then
            return { sha = sha, branch = target, before = before }
        end
        sha = command.resolve(ctx, repo, "refs/tags/" .. target) or command.resolve(ctx, repo, target)
        local tracked = not sha and command.resolve(ctx, repo, "refs/remotes/" .. args.remote .. "/" .. target)
        if tracked then
            return { sha = tracked, branch = target, track = args.remote .. "/" .. target, before = before }
        end
        return { sha = sha or command.need(ctx, repo, target), before = before }
    end,
    sample = function(args)
        local label = tostring(args.target)
        return { sha = rt.unknown(label), before = place(rt.unknown "HEAD", rt.unknown "branch") }
    end,
})

local do_checkout = rt.effect {
    name = "git.checkout",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("check out %s (%s)  (in %s)"):format(tostring(args.target), short(args.sha), args.repo.path)
    end,
    call = function(args, ctx)
        local argv
        if args.create then
            argv = { "checkout", "--no-track", "-b", args.branch, args.sha, "--" }
        elseif args.track then
            argv = { "checkout", "--track", "-b", args.branch, args.track, "--" }
        elseif args.branch then
            argv = { "checkout", "--no-guess", args.branch, "--" }
        else
            argv = { "checkout", "--detach", args.sha, "--" }
        end
        return settle(ctx, args, command.run(ctx, args.repo, argv, { main = true, ok = ANY }), "checked out")
    end,
    probe = probe_place,
    sample = moved,
}

local function checkout(base, args, found)
    for _, field in ipairs { "sha", "branch", "create", "track", "before" } do
        args[field] = found[field]
    end
    args.repo = base
    return do_checkout(args)
end

--- Checks out a branch, a tag or a commit: { sha, branch, before = { sha, branch } }.
function move.checkout(repo, target, options)
    local given
    target, given = command.named("git.checkout", target, options, { create = "boolean", from = "string", dirty = "boolean",
        remote = "string" })
    word(target, "git.checkout", "the branch, tag or commit")
    local base = command.repo(repo, "git.checkout")
    if given.from and not given.create then
        rt.raise("usage", "git.checkout: from says where a new branch begins: create = true")
    end
    local found = look_checkout { repo = base, target = target, create = given.create, dirty = given.dirty,
        from = given.create and word(given.from or "HEAD", "git.checkout", "from") or nil,
        remote = word(given.remote or "origin", "git.checkout", "remote") }
    return checkout(base, { target = target, dirty = given.dirty }, found)
end

-- ---- pull ----

local fetch = rt.effect {
    name = "git.fetch",
    class = "idempotent",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("fetch %s%s  (in %s)"):format(args.remote, args.ref and " " .. tostring(args.ref) or "", args.repo.path)
    end,
    call = function(args, ctx)
        local argv = { "fetch", "--no-write-fetch-head", "--no-recurse-submodules" }
        local private = args.ref and "refs/rollouthost/fetched/" .. rt.sha256(ctx.key):sub(1, 16)
        local function add(word_or_nil)
            argv[#argv + 1] = word_or_nil
        end
        add(args.prune and "--prune" or nil)
        add(args.tags and "--tags" or nil)
        add(args.unshallow and "--unshallow" or nil)
        add(args.depth and "--depth=" .. args.depth or nil)
        add("--")
        add(args.remote)
        add(private and "+" .. args.ref .. ":" .. private or nil)
        command.remote(ctx, args.repo, args.remote, argv, { main = true })
        if not private then
            return { remote = args.remote }
        end
        if ctx.adopting and not command.resolve(ctx, args.repo, private) then -- the host died after it had taken the ref away
            command.remote(ctx, args.repo, args.remote, argv)
        end
        local object = command.need(ctx, args.repo, private)
        command.run(ctx, args.repo, { "update-ref", "-d", private })
        return { remote = args.remote, ref = args.ref, sha = object }
    end,
    sample = function(args)
        return { remote = args.remote, ref = args.ref, sha = args.ref and rt.unknown(tostring(args.ref)) or nil }
    end,
}

--- Fetches from a remote: { remote }; of one branch or tag, { remote, ref, sha }.
function move.fetch(repo, ref, options)
    local given
    if type(ref) == "table" and ref[1] == nil and options == nil and not rt.is_unknown(ref) then
        ref, options = nil, ref
    end
    ref, given = command.named("git.fetch", ref, options, { remote = "string", prune = "boolean", tags = "boolean",
        unshallow = "boolean", depth = "integer" })
    if ref ~= nil then
        word(ref, "git.fetch", "the branch or tag")
    end
    if given.depth and (given.depth < 1 or given.unshallow) then
        rt.raise("usage", "git.fetch: depth is a number of commits, and goes not with unshallow")
    end
    return fetch { repo = command.repo(repo, "git.fetch"), remote = word(given.remote or "origin", "git.fetch", "remote"),
        ref = ref, prune = given.prune, tags = given.tags, unshallow = given.unshallow, depth = given.depth }
end

local look_pull = looker("pull", {
    args = function(args) return args end,
    describe = function() return "where is HEAD" end,
    call = function(args, ctx)
        local repo = args.repo
        local before = here(ctx, repo)
        if not before.branch then
            command.need(ctx, repo, "HEAD")
            rt.raise("detached", ("git: %s has no branch checked out (HEAD is detached at %s), so there is nothing to pull"
                .. " into: check one out first"):format(repo.path, short(before.sha)))
        end
        command.need_clean(ctx, repo, "pulled")
        local upstream = command.run(ctx, repo, { "for-each-ref", "--format=%(upstream:remotename)%00%(upstream:remoteref)",
            "refs/heads/" .. before.branch }).out
        local remote, ref = upstream:match("^([^%z]*)%z([^\n]*)")
        return { before = before, remote = remote ~= "" and remote or nil, ref = ref ~= "" and ref or nil }
    end,
    sample = function() return { before = place(rt.unknown "HEAD", rt.unknown "branch") } end,
})

local look_forward = looker("pull", {
    args = function(args) return args end,
    describe = function(args) return ("does %s follow %s"):format(short(args.sha), short(args.before.sha)) end,
    call = function(args, ctx)
        local repo, from, to = args.repo, args.before.sha, args.sha
        if not from or command.is_ancestor(ctx, repo, from, to) then
            return { forward = from ~= to }
        elseif command.is_ancestor(ctx, repo, to, from) then
            return { forward = false }
        end
        local counts = command.run(ctx, repo, { "rev-list", "--left-right", "--count", from .. "..." .. to }, { ok = ANY }).out
        local ours, theirs = counts:match("(%d+)%s+(%d+)")
        rt.raise("diverged", ("git: %s in %s has diverged: %s commits are only here, %s only on the remote; nothing was merged")
            :format(args.before.branch, repo.path, ours or "?", theirs or "?"), { here = tonumber(ours), there = tonumber(theirs) })
    end,
    sample = function() return { forward = true } end,
})

local fast_forward = rt.effect {
    name = "git.fast_forward",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("move %s from %s to %s  (in %s)"):format(tostring(args.branch), short(args.before.sha), short(args.sha),
            args.repo.path)
    end,
    call = function(args, ctx)
        return settle(ctx, args, command.run(ctx, args.repo, { "merge", "--ff-only", "--no-edit", args.sha },
            { main = true, ok = ANY }), "moved to " .. short(args.sha))
    end,
    probe = probe_place,
    sample = moved,
}

--- Fetches the branch's upstream and moves the branch to it, or fails: never a merge. { sha, branch, before }.
function move.pull(repo, options)
    local given = rt.options(options or {}, { remote = "string", branch = "string" }, "git.pull")
    local base = command.repo(repo, "git.pull")
    local found = look_pull { repo = base }
    local remote = given.remote and word(given.remote, "git.pull", "remote") or found.remote or "origin"
    local ref = given.branch and "refs/heads/" .. word(given.branch, "git.pull", "branch") or found.ref
        or "refs/heads/" .. found.before.branch
    local fetched = fetch { repo = base, remote = remote, ref = ref }
    local args = { repo = base, sha = fetched.sha, branch = found.before.branch, before = found.before }
    if not look_forward { repo = base, sha = fetched.sha, before = found.before }.forward then
        return { sha = found.before.sha, branch = found.before.branch, before = found.before }
    end
    return fast_forward(args)
end

-- ---- revert ----

local function busy(ctx, repo)
    for _, name in ipairs { "REVERT_HEAD", "CHERRY_PICK_HEAD", "MERGE_HEAD" } do
        if command.resolve(ctx, repo, name, "") then
            return name
        end
    end
end

local look_revert = looker("revert", {
    args = function(args) return args end,
    describe = function(args)
        return ("which commits are %s%s"):format(args.from and tostring(args.from) .. ".." or "", tostring(args.to))
    end,
    call = function(args, ctx)
        local repo = args.repo
        local before = here(ctx, repo)
        command.need(ctx, repo, "HEAD")
        local doing = busy(ctx, repo)
        if doing then
            rt.raise("busy", ("git: %s is in the middle of something else (%s): finish or abort that first"):format(repo.path,
                doing))
        end
        command.need_clean(ctx, repo, "reverted")
        if command.run(ctx, repo, { "var", "GIT_COMMITTER_IDENT" }, { ok = { [128] = true } }).code ~= 0 then
            rt.raise("identity", "git: nobody is known who could commit: set user.name and user.email (git config), or"
                .. " GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL")
        end
        local to = command.need(ctx, repo, args.to)
        if not command.is_ancestor(ctx, repo, to, before.sha) then
            rt.raise("unknown_revision", ("git: %s is not part of what is checked out in %s"):format(args.to, repo.path))
        end
        local argv = { "rev-list", "--parents", "--first-parent", "--max-count=" .. (args.from and 1001 or 1), to }
        if args.from then
            argv[#argv + 1] = "^" .. command.need(ctx, repo, args.from)
        end
        local commits, merges = {}, false
        for line in command.run(ctx, repo, argv).out:gmatch("[^\n]+") do
            commits[#commits + 1] = line:match("^%x+")
            merges = merges or select(2, line:gsub("%x+", "")) > 2
        end
        if #commits == 0 or #commits > 1000 then
            rt.raise("usage", ("git.revert: there are %s commits in %s..%s"):format(#commits == 0 and "no" or "more than 1000",
                args.from, args.to))
        end
        return { before = before, commits = rt.json.array(commits), merges = merges }
    end,
    sample = function()
        return { before = place(rt.unknown "HEAD", rt.unknown "branch"), commits = rt.unknown "commits", merges = false }
    end,
})

local function reverted(args, ctx)
    local now = here(ctx, args.repo)
    return { sha = now.sha, branch = now.branch, before = args.before, reverted = rt.json.array(args.commits) }
end

local do_revert = rt.effect {
    name = "git.revert",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("revert %s (%s commits)  (in %s)"):format(args.what,
            rt.is_unknown(args.commits) and tostring(args.commits) or #args.commits, args.repo.path)
    end,
    call = function(args, ctx)
        local repo = args.repo
        local argv = { "revert", "--no-edit" }
        if args.mainline then
            table.move({ "--mainline", tostring(args.mainline) }, 1, 2, 3, argv)
        end
        table.move(args.commits, 1, #args.commits, #argv + 1, argv)
        local result = command.run(ctx, repo, argv, { main = true, ok = ANY })
        if result.code == 0 then
            return reverted(args, ctx)
        end
        local status = command.status(ctx, repo, { limit = 20 })
        local stopped = command.resolve(ctx, repo, "REVERT_HEAD", "")
        command.run(ctx, repo, { "revert", "--abort" }, { ok = ANY }) -- of several, the first ones may have been committed
        if command.resolve(ctx, repo, "HEAD") ~= args.before.sha then
            rt.raise("busy", ("git: %s is in the middle of a revert that could not be taken back: look at `git status` there%s")
                :format(repo.path, command.said(result)))
        end
        if status.unmerged > 0 then
            rt.raise("conflict", ("git: reverting %s in %s conflicts with what came later, in %s; the checkout is as it was")
                :format(short(stopped or args.commits[1]), repo.path, command.listed(status)), { files = status.files })
        elseif result.code == 1 and status.total == 0 then
            rt.raise("empty", ("git: %s is reverted already, so there is nothing to do; the checkout is as it was"):format(
                short(stopped or args.commits[1])))
        end
        command.fail(ctx, repo, result, "git", ("nothing was reverted in %s"):format(repo.path))
    end,
    probe = function(args, ctx)
        if busy(ctx, args.repo) then
            return "unknown"
        end
        local now = here(ctx, args.repo)
        if now.branch ~= args.before.branch then
            return "unknown"
        elseif now.sha == args.before.sha then
            return "undone"
        end
        local count = command.run(ctx, args.repo, { "rev-list", "--count", "--first-parent", now.sha, "^" .. args.before.sha })
        if tonumber(count.out) == #args.commits and command.is_ancestor(ctx, args.repo, args.before.sha, now.sha) then
            return "done", reverted(args, ctx)
        end
        return "unknown"
    end,
    sample = function(args)
        return { sha = rt.unknown "commit", branch = args.before.branch, before = args.before, reverted = args.commits }
    end,
}

--- Commits the opposite of a commit, or of all commits in from..to: { sha, branch, before, reverted }.
function move.revert(repo, commit, options)
    local given
    commit, given = command.named("git.revert", commit, options, { from = "string", to = "string", mainline = "integer" })
    if (commit == nil) == (given.from == nil) then
        rt.raise("usage", 'git.revert: expected a commit, repo:revert "HEAD", or a range, repo:revert { from = …, to = … }')
    end
    local base = command.repo(repo, "git.revert")
    local found = look_revert { repo = base, from = given.from and word(given.from, "git.revert", "from"),
        to = word(commit or given.to or "HEAD", "git.revert", "the commit") }
    local what = given.from and tostring(given.from) .. ".." .. tostring(given.to or "HEAD") or tostring(commit)
    return do_revert { repo = base, what = what, before = found.before, commits = found.commits,
        mainline = given.mainline or (found.merges and 1 or nil) }
end

-- ---- the way back ----

local look_back = looker("back_to", {
    args = function(args) return args end,
    describe = function(args) return "what has changed since " .. short(args.place.sha) end,
    call = function(args, ctx)
        local repo, wanted = args.repo, args.place
        local before = here(ctx, repo)
        command.need_clean(ctx, repo, "brought back")
        command.need(ctx, repo, wanted.sha)
        local tip = wanted.branch and command.resolve(ctx, repo, "refs/heads/" .. wanted.branch)
        if wanted.branch and tip ~= wanted.sha then
            if not tip or not command.is_ancestor(ctx, repo, wanted.sha, tip) then
                rt.raise("moved", ("git: the branch %s in %s does not come from %s any more: somebody has moved it"):format(
                    wanted.branch, repo.path, short(wanted.sha)))
            end
            local own = command.run(ctx, repo, { "rev-list", "--count", tip, "^" .. wanted.sha, "--not", "--remotes" }).out
            if tonumber(own) > 0 then
                rt.raise("unpushed", ("git: going back to %s would lose %d commits of %s that no remote has: push them, or use"
                    .. " repo:revert"):format(short(wanted.sha), tonumber(own), wanted.branch))
            end
        end
        return { before = before, rewind = wanted.branch and tip ~= wanted.sha and before.branch == wanted.branch,
            same = same_place(before, wanted), tip = tip }
    end,
    sample = function()
        return { before = place(rt.unknown "HEAD", rt.unknown "branch"), rewind = false, same = false }
    end,
})

-- --keep gives up where a file would be lost, and so does update-ref where the branch has moved.
local rewind = rt.effect {
    name = "git.rewind",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("move %s back to %s  (in %s)"):format(tostring(args.branch), short(args.sha), args.repo.path)
    end,
    call = function(args, ctx)
        return settle(ctx, args, command.run(ctx, args.repo, { "reset", "--keep", args.sha }, { main = true, ok = ANY }),
            "moved back to " .. short(args.sha))
    end,
    probe = probe_place,
    sample = moved,
}

--- Goes back to where repo:head() said that the checkout was, or to what was there before a checkout or pull.
function move.back_to(repo, wanted)
    local base = command.repo(repo, "git.back_to")
    if rt.is_unknown(wanted) then
        wanted = place(wanted, nil)
    elseif type(wanted) == "table" and wanted.before then
        wanted = wanted.before
    end
    if type(wanted) ~= "table" or wanted.sha == nil then
        rt.raise("usage", "git.back_to: expected what repo:head(), repo:checkout or repo:pull returned; a step that only looks"
            .. " (repo:head()) keeps where to go back to, whatever becomes of the next one")
    end
    wanted = place(wanted.sha, wanted.branch)
    local found = look_back { repo = base, place = wanted }
    if found.same then
        return { sha = wanted.sha, branch = wanted.branch, before = found.before }
    elseif found.rewind then
        return rewind { repo = base, sha = wanted.sha, branch = wanted.branch, before = found.before }
    end
    local target = { sha = wanted.sha, branch = wanted.branch, before = found.before }
    if found.tip and found.tip ~= wanted.sha then
        local there = checkout(base, { target = wanted.branch }, { sha = found.tip, branch = wanted.branch, before = found.before })
        return rewind { repo = base, sha = wanted.sha, branch = wanted.branch, before = place(there.sha, there.branch) }
    end
    return checkout(base, { target = wanted.branch or wanted.sha }, target)
end

return move
