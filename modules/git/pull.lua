-- What comes from a remote: fetch, and pull, which is a fetch and a move forward.
local _, rt, command, refs, place = ...

local pull = {}
local word, short, looker = command.word, command.short, refs.looker

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
        local result = command.remote(ctx, args.repo, args.remote, argv, { main = true, ok = { [1] = true } })
        if result.code ~= 0 then
            command.fail(ctx, args.repo, result, "diverged", ("not everything of %s was taken over into %s, where it is another"
                .. " one"):format(args.remote, args.repo.path))
        end
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
function pull.fetch(repo, ref, options)
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
        local before = place.here(ctx, repo)
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
    sample = function() return { before = place.at(rt.unknown "HEAD", rt.unknown "branch") } end,
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
        local counts = command.run(ctx, repo, { "rev-list", "--left-right", "--count", from .. "..." .. to },
            { ok = place.ANY })
        local ours, theirs = counts.out:match("(%d+)%s+(%d+)")
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
        return place.settle(ctx, args, command.run(ctx, args.repo, { "merge", "--ff-only", "--no-edit", args.sha },
            { main = true, ok = place.ANY }), "moved to " .. short(args.sha))
    end,
    probe = place.probe,
    sample = place.moved,
}

--- Fetches the branch's upstream and moves the branch to it, or fails: never a merge. { sha, branch, before }.
function pull.pull(repo, options)
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

return pull
