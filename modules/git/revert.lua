-- Commits that undo others.
local _, rt, command, refs, place = ...

local word, short, looker = command.word, command.short, refs.looker

-- What is under way there, or nil.
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
        local before = place.here(ctx, repo)
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
        return { before = place.at(rt.unknown "HEAD", rt.unknown "branch"), commits = rt.unknown "commits", merges = false }
    end,
})

local function reverted(args, ctx)
    local now = place.here(ctx, args.repo)
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
        if not ctx.adopting and command.resolve(ctx, repo, "HEAD") ~= args.before.sha then
            rt.raise("moved", ("git: %s is not at %s any more, so nothing was reverted"):format(repo.path,
                short(args.before.sha)))
        end
        local argv = { "revert", "--no-edit" }
        if args.mainline then
            table.move({ "--mainline", tostring(args.mainline) }, 1, 2, 3, argv)
        end
        table.move(args.commits, 1, #args.commits, #argv + 1, argv)
        local result = command.run(ctx, repo, argv, { main = true, ok = place.ANY })
        if result.code == 0 then
            return reverted(args, ctx)
        end
        local status = command.status(ctx, repo, { limit = 20 })
        local stopped = command.resolve(ctx, repo, "REVERT_HEAD", "")
        command.run(ctx, repo, { "revert", "--abort" }, { ok = place.ANY }) -- of several, the first ones may have been committed
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
        local doing = busy(ctx, args.repo)
        local now = place.here(ctx, args.repo)
        if doing then
            return "unknown", args.repo.path .. " is in the middle of it (" .. doing .. ")"
        elseif now.branch ~= args.before.branch then
            return "unknown", place.told(now)
        elseif now.sha == args.before.sha then
            return "undone"
        end
        local count = command.run(ctx, args.repo, { "rev-list", "--count", "--first-parent", now.sha, "^" .. args.before.sha })
        if tonumber(count.out) == #args.commits and command.is_ancestor(ctx, args.repo, args.before.sha, now.sha) then
            return "done", reverted(args, ctx)
        end
        return "unknown", place.told(now)
    end,
    sample = function(args)
        return { sha = rt.unknown "commit", branch = args.before.branch, before = args.before, reverted = args.commits }
    end,
}

--- Commits the opposite of a commit, or of all commits in from..to: { sha, branch, before, reverted }.
local function revert(repo, commit, options)
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

return revert
