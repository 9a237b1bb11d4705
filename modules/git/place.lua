-- Where a checkout stands: { sha, branch }, branch nil where HEAD is detached. What changes it is told by comparing that.
local _, rt, command = ...

local place = {}

function place.at(sha, branch)
    return { sha = sha, branch = branch }
end

--- What a change of place returns.
function place.moved(args)
    return { sha = args.sha, branch = args.branch, before = args.before }
end

--- Where the checkout stands.
function place.here(ctx, repo)
    return place.at(command.resolve(ctx, repo, "HEAD"), command.branch(ctx, repo))
end

--- For a person.
function place.told(at)
    return "HEAD is at " .. (at.sha and command.short(at.sha) or "no commit") .. (at.branch and " on " .. at.branch or "")
end

function place.same(a, b)
    return a.sha == b.sha and a.branch == b.branch
end

--- Done, undone or neither: by where HEAD is, and whether the files are those of it.
function place.probe(args, ctx)
    local now = place.here(ctx, args.repo)
    local status = command.status(ctx, args.repo, { limit = 5 })
    local clean = status.total == 0
    if (clean or args.dirty) and place.same(now, args) then
        return "done", place.moved(args)
    elseif clean and place.same(now, args.before) then
        return "undone"
    end
    return "unknown", place.told(now) .. (clean and "" or ", with changes that are not committed: " .. command.listed(status))
end

--- The result of a command that went to args.sha, or why it did not. Its exit code is also that of a hook that ran when all
--- was done.
function place.settle(ctx, args, result, doing)
    local now = place.here(ctx, args.repo)
    if result.code == 0 and place.same(now, args) then
        return place.moved(args)
    elseif result.code == 0 then
        rt.raise("moved", ("git: %s is at %s now and not at %s: somebody else has moved it meanwhile"):format(args.repo.path,
            command.short(now.sha), command.short(args.sha)))
    elseif place.same(now, args) then
        rt.raise("hook", ("git: %s was %s, but a hook (such as post-checkout) failed then, exit %s%s"):format(args.repo.path,
            doing, result.code, command.said(result)))
    end
    command.fail(ctx, args.repo, result, "git", ("%s was not %s"):format(args.repo.path, doing))
end

place.ANY = setmetatable({}, { __index = function() return true end })

return place
