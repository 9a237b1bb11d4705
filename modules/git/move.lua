-- What moves the checkout: to a branch, tag or commit, and back.
local _, rt, command, refs, place = ...

local move = {}
local word, short, looker = command.word, command.short, refs.looker

-- ---- checkout ----

local look_checkout = looker("checkout", {
    args = function(args) return args end,
    describe = function(args) return ("where is HEAD, and what is %s"):format(tostring(args.target)) end,
    call = function(args, ctx)
        local repo, target = args.repo, args.target
        local before = place.here(ctx, repo)
        if not args.dirty then
            command.need_clean(ctx, repo, "checked out")
        end
        if args.create then
            if command.resolve(ctx, repo, "refs/heads/" .. target, "") then
                rt.raise("exists", ("git: %s has a branch %s already"):format(repo.path, target))
            end
            return { sha = command.need(ctx, repo, args.from), branch = target, create = true, before = before }
        end
        local branch = target:match("^refs/heads/(.+)$") or target
        local sha = command.resolve(ctx, repo, "refs/heads/" .. branch)
        local tagged = command.resolve(ctx, repo, "refs/tags/" .. target)
        if sha and tagged then
            command.ambiguous(repo.path, target)
        elseif sha then
            return { sha = sha, branch = branch, before = before }
        end
        sha = tagged or command.resolve(ctx, repo, target)
        local tracked = not sha and command.resolve(ctx, repo, "refs/remotes/" .. args.remote .. "/" .. target)
        if tracked then
            return { sha = tracked, branch = target, track = args.remote .. "/" .. target, before = before }
        end
        return { sha = sha or command.need(ctx, repo, target), before = before }
    end,
    sample = function(args)
        local label = tostring(args.target)
        return { sha = rt.unknown(label), before = place.at(rt.unknown "HEAD", rt.unknown "branch") }
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
        return place.settle(ctx, args, command.run(ctx, args.repo, argv, { main = true, ok = place.ANY }), "checked out")
    end,
    probe = place.probe,
    sample = place.moved,
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

-- ---- the way back ----

local look_back = looker("back_to", {
    args = function(args) return args end,
    describe = function(args) return "what has changed since " .. short(args.wanted.sha) end,
    call = function(args, ctx)
        local repo, wanted = args.repo, args.wanted
        local before = place.here(ctx, repo)
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
            same = place.same(before, wanted), tip = tip }
    end,
    sample = function()
        return { before = place.at(rt.unknown "HEAD", rt.unknown "branch"), rewind = false, same = false }
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
        local result = command.run(ctx, args.repo, { "reset", "--keep", args.sha }, { main = true, ok = place.ANY })
        return place.settle(ctx, args, result, "moved back to " .. short(args.sha))
    end,
    probe = place.probe,
    sample = place.moved,
}

--- Goes back to where repo:head() said that the checkout was, or to what was there before a checkout or pull.
function move.back_to(repo, wanted)
    local base = command.repo(repo, "git.back_to")
    if rt.is_unknown(wanted) then
        wanted = place.at(wanted, nil)
    elseif type(wanted) == "table" and wanted.before then
        wanted = wanted.before
    end
    if type(wanted) ~= "table" or wanted.sha == nil then
        rt.raise("usage", "git.back_to: expected what repo:head(), repo:checkout or repo:pull returned; a step that only looks"
            .. " (repo:head()) keeps where to go back to, whatever becomes of the next one")
    end
    wanted = place.at(wanted.sha, wanted.branch)
    local found = look_back { repo = base, wanted = wanted }
    if found.same then
        return { sha = wanted.sha, branch = wanted.branch, before = found.before }
    elseif found.rewind then
        return rewind { repo = base, sha = wanted.sha, branch = wanted.branch, before = found.before }
    end
    local target = { sha = wanted.sha, branch = wanted.branch, before = found.before }
    if found.tip and found.tip ~= wanted.sha then
        local there = checkout(base, { target = wanted.branch }, { sha = found.tip, branch = wanted.branch, before = found.before })
        return rewind { repo = base, sha = wanted.sha, branch = wanted.branch, before = place.at(there.sha, there.branch) }
    end
    return checkout(base, { target = wanted.branch or wanted.sha }, target)
end

return move
