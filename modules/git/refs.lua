-- Tags and pushes. Each verb first looks, which is a read that the journal keeps, and then acts on what it saw: so a
-- resumed run knows what was there before, and its probe can tell whether the change came about.
local _, rt, command, read = ...

local refs = {}
local word, short = command.word, command.short

local function looker(verb, def)
    def.name = "git." .. verb .. ".look"
    def.class = "read"
    return rt.effect(def)
end
refs.looker = looker

-- ---- tag ----

local look_tag = looker("tag", {
    args = function(repo, name, at, annotate)
        return { repo = repo, name = name, at = at, annotate = annotate }
    end,
    describe = function(args) return ("is there a tag %s already, and what is %s"):format(args.name, args.at) end,
    call = function(args, ctx)
        local repo, name = args.repo, args.name
        if command.run(ctx, repo, { "check-ref-format", "refs/tags/" .. name }, { ok = { [1] = true } }).code ~= 0 then
            rt.raise("usage", ("git.tag: %q cannot be a tag's name"):format(name))
        end
        local sha = command.need(ctx, repo, args.at)
        local object = command.resolve(ctx, repo, "refs/tags/" .. name, "")
        local there = object and command.resolve(ctx, repo, "refs/tags/" .. name)
        if object and there ~= sha then
            rt.raise("exists", ("git: there is a tag %s already, at %s, and %s is %s: a released name is not moved"):format(name,
                there and short(there) or "no commit", args.at, short(sha)), { sha = there, object = object })
        end
        if not object and args.annotate
            and command.run(ctx, repo, { "var", "GIT_COMMITTER_IDENT" }, { ok = { [128] = true } }).code ~= 0 then
            rt.raise("identity", "git: nobody is known who could make the tag: set user.name and user.email (git config), or"
                .. " GIT_COMMITTER_NAME and GIT_COMMITTER_EMAIL")
        end
        return { sha = sha, object = object, exists = object ~= nil }
    end,
    sample = function(args) return { sha = rt.unknown("commit of " .. tostring(args.at)), exists = false } end,
})

local function made_tag(args, object)
    return { name = args.name, ref = "refs/tags/" .. args.name, sha = args.sha, object = object, created = true }
end

-- git 2.39 makes a tag without a signature, and calls that a success, where an SSH key cannot be read.
local function need_signature(args, ctx, object, result)
    local ref = "refs/tags/" .. args.name
    if args.sign and not command.run(ctx, args.repo, { "for-each-ref", "--format=%(contents:signature)", ref }).out:find("%S") then
        command.run(ctx, args.repo, { "update-ref", "-d", ref, object })
        command.fail(ctx, args.repo, result, "sign", ("the tag %s was made without a signature, and taken away again")
            :format(args.name))
    end
end

local make_tag = rt.effect {
    name = "git.tag",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("%s %s at %s  (in %s)"):format(args.sign and "sign tag" or "tag", tostring(args.name), short(args.sha),
            args.repo.path)
    end,
    call = function(args, ctx)
        if not ctx.adopting and command.resolve(ctx, args.repo, "refs/tags/" .. args.name) == args.sha then
            return made_tag(args, command.need(ctx, args.repo, "refs/tags/" .. args.name, "")) -- there was none, so it is ours
        end
        local argv = { "tag" }
        if args.annotate then
            table.move({ args.sign and "--sign" or "--annotate", "--file=-" }, 1, 2, 2, argv)
            if args.key then
                argv[#argv + 1] = "--local-user=" .. args.key
            end
        end
        table.move({ "--", args.name, args.sha }, 1, 3, #argv + 1, argv)
        local result = command.run(ctx, args.repo, argv, { main = true, input = args.annotate and args.message or nil,
            ok = { [1] = true, [128] = true } })
        if result.code ~= 0 then
            command.fail(ctx, args.repo, result, args.sign and "sign" or "git",
                ("no tag %s was made in %s"):format(args.name, args.repo.path))
        end
        local object = command.need(ctx, args.repo, "refs/tags/" .. args.name, "")
        need_signature(args, ctx, object, result)
        return made_tag(args, object)
    end,
    probe = function(args, ctx)
        local object = command.resolve(ctx, args.repo, "refs/tags/" .. args.name, "")
        if not object then
            return "undone"
        elseif command.resolve(ctx, args.repo, object) == args.sha then
            return "done", made_tag(args, object)
        end
        return "unknown", "there is a tag of that name at another commit"
    end,
    sample = function(args) return made_tag(args, rt.unknown "tag") end,
}

--- Makes a tag: { name, ref, sha, object, created }. created is false where the same commit had it already.
function refs.tag(repo, name, options)
    local given
    name, given = command.named("git.tag", name, options, { at = "string", message = "string", annotate = "boolean",
        sign = "boolean|string" })
    word(name, "git.tag", "the tag's name")
    if given.annotate == false and (given.sign or given.message) then
        rt.raise("usage", "git.tag: only an annotated tag has a message or a signature")
    end
    local base = command.repo(repo, "git.tag")
    local annotate = given.annotate ~= false
    local found = look_tag(base, name, word(given.at or "HEAD", "git.tag", "at"), annotate)
    if found.exists then
        local tag = made_tag({ name = name, sha = found.sha }, found.object)
        tag.created = false
        return tag
    end
    local key = type(given.sign) == "string" and word(given.sign, "git.tag", "sign") or nil
    return make_tag { repo = base, name = name, sha = found.sha, annotate = annotate, sign = given.sign and true or nil,
        key = key, message = annotate and (given.message or name) or nil }
end

-- ---- push ----

-- The full name of what is here under that name: one branch or one tag.
local function local_ref(ctx, repo, name)
    local found
    for _, ref in ipairs(name:find("^refs/") and { name } or { "refs/heads/" .. name, "refs/tags/" .. name }) do
        local object = command.resolve(ctx, repo, ref, "")
        if object and found then
            command.ambiguous(repo.path, name)
        end
        found = object and { ref = ref, object = object } or found
    end
    return found
end

local function refuse_diverged(ctx, repo, args, object, old)
    local here = command.resolve(ctx, repo, old.object)
    if not here or not command.is_ancestor(ctx, repo, here, object) then
        rt.raise("diverged", ("git: %s on %s is at %s, which is not part of what would be pushed (%s): fetch it and look"
            .. " what others have done there; nothing was pushed"):format(old.ref, args.remote, short(old.object), short(object)),
            { remote = old.object, here = object })
    end
end

local look_push = looker("push", {
    args = function(args) return args end,
    describe = function(args) return ("what are %s here and on %s"):format(args.name, args.remote) end,
    call = function(args, ctx)
        local repo = args.repo
        command.need_remote(ctx, repo, args.remote)
        local found = local_ref(ctx, repo, args.name)
        if not found and args.as then
            found = { object = command.resolve(ctx, repo, args.name) }
        end
        if not found or not found.object then
            rt.raise("unknown_revision", ("git: %s has no branch and no tag %q"):format(repo.path, args.name))
        end
        local ref = args.as or found.ref
        local old = read.remote_ref_of(ctx, repo, args.remote, ref)
        if old and old.object ~= found.object and not args.force then
            if ref:find("^refs/tags/") then
                rt.raise("exists", ("git: %s has a tag %s already, at %s, and the one here is %s: a released name is not moved")
                    :format(args.remote, ref:sub(11), short(old.object), short(found.object)),
                    { remote = old.object, here = found.object })
            end
            refuse_diverged(ctx, repo, args, found.object, old)
        end
        return { ref = ref, object = found.object, before = old and old.object, same = old ~= nil and old.object == found.object }
    end,
    sample = function(args)
        local label = tostring(args.name) .. " here and on " .. args.remote
        return { ref = rt.unknown(label), object = rt.unknown(label), before = rt.unknown(label), same = false }
    end,
})

local function pushed(args)
    return { ref = args.ref, object = args.object, before = args.before, remote = args.remote, created = true }
end

-- A line of `push --porcelain`: flag, from:to, summary, separated by tabs.
local function refusal(out)
    local summary = out:match("!\t[^\t\n]*\t([^\n]*)")
    return summary, summary and summary:find("^%[remote rejected%]") and "declined" or summary and "rejected"
end

local do_push = rt.effect {
    name = "git.push",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("%s %s to %s (%s..%s)"):format(args.force and "force-push" or "push", args.name, args.remote,
            args.before and short(args.before) or "new", short(args.object))
    end,
    call = function(args, ctx)
        local argv = { "push", "--porcelain", "--no-follow-tags" }
        if args.force then
            argv[#argv + 1] = ("--force-with-lease=%s:%s"):format(args.ref, args.before or "")
        end
        table.move({ args.remote, args.object .. ":" .. args.ref }, 1, 2, #argv + 1, argv)
        -- A connection that broke after the remote had it all is no failure: nobody would take the tag back.
        local function arrived()
            local now = read.remote_ref_of(ctx, args.repo, args.remote, args.ref)
            return now ~= nil and now.object == args.object
        end
        local result = command.remote(ctx, args.repo, args.remote, argv, { main = true, ok = { [1] = true }, arrived = arrived })
        local summary, code = refusal(result.out)
        if result.code ~= 1 or (not code and arrived()) then
            return pushed(args)
        end
        if code == "declined" then
            rt.raise("declined", ("git: %s refused %s: %s%s"):format(args.remote, args.ref, summary, command.said(result)),
                { summary = summary })
        elseif code then
            rt.raise("diverged", ("git: %s was not pushed to %s, where somebody else was faster: %s"):format(args.ref,
                args.remote, summary), { summary = summary })
        end
        rt.raise("hook", ("git: nothing was pushed to %s: a hook here (pre-push) refused%s"):format(args.remote,
            command.said(result)))
    end,
    probe = function(args, ctx)
        local now = read.remote_ref_of(ctx, args.repo, args.remote, args.ref)
        local object = now and now.object
        if object == args.object then
            return "done", pushed(args)
        elseif object == args.before then
            return "undone"
        end
        return "unknown", ("%s has %s there now"):format(args.remote, object and short(object) or "nothing")
    end,
    sample = pushed,
    destructive = function(args)
        return args.force and "git push --force " .. args.remote .. " " .. tostring(args.ref) or nil
    end,
}

--- Pushes one branch or tag: { ref, object, before, remote, created }. created is false where the remote had it already.
function refs.push(repo, name, options)
    local given
    name, given = command.named("git.push", name, options, { remote = "string", as = "string", force = "boolean",
        destructive = "string" })
    word(name, "git.push", "the branch or tag")
    local base = command.repo(repo, "git.push")
    local as = given.as and word(given.as, "git.push", "as")
    if as and not as:find("^refs/") then
        as = "refs/heads/" .. as
    end
    local remote = word(given.remote or "origin", "git.push", "remote")
    local found = look_push { repo = base, name = name, remote = remote, as = as, force = given.force }
    local args = { repo = base, name = tostring(name), ref = found.ref, object = found.object, before = found.before,
        remote = remote, force = given.force, destructive = given.destructive }
    if found.same then
        local result = pushed(args)
        result.created = false
        return result
    end
    return do_push(args)
end

-- ---- the way back of a tag ----

local drop_tag = rt.effect {
    name = "git.delete_tag",
    class = "probed",
    command = true,
    args = function(args) return args end,
    describe = function(args)
        return ("delete %s%s, if it still is %s"):format(tostring(args.ref), args.remote and " on " .. args.remote or "",
            short(args.object))
    end,
    call = function(args, ctx)
        local repo = args.repo
        if args.remote then
            local result = command.remote(ctx, repo, args.remote, { "push", "--porcelain", "--no-follow-tags",
                ("--force-with-lease=%s:%s"):format(args.ref, args.object), args.remote, ":" .. args.ref },
                { main = true, ok = { [1] = true } })
            if result.code ~= 0 then
                local now = read.remote_ref_of(ctx, repo, args.remote, args.ref)
                if now and now.object == args.object then
                    rt.raise("declined", ("git: %s refused to delete %s%s"):format(args.remote, args.ref, command.said(result)))
                elseif now then
                    rt.raise("moved", ("git: %s on %s is %s now, and this run pushed %s: it is not deleted"):format(args.ref,
                        args.remote, short(now.object), short(args.object)))
                end
            end
            return true
        end
        local now = command.resolve(ctx, repo, args.ref, "")
        if now and now ~= args.object then
            rt.raise("moved", ("git: %s in %s is %s now, and this run made %s: it is not deleted"):format(args.ref,
                repo.path, short(now), short(args.object)))
        elseif now then
            command.run(ctx, repo, { "update-ref", "-d", args.ref, args.object }, { main = true })
        end
        return true
    end,
    probe = function(args, ctx)
        local now
        if args.remote then
            local found = read.remote_ref_of(ctx, args.repo, args.remote, args.ref)
            now = found and found.object
        else
            now = command.resolve(ctx, args.repo, args.ref, "")
        end
        if not now then
            return "done", true
        end
        return "undone" -- what has moved since is found by doing it again
    end,
    sample = function() return true end,
}

--- Deletes the tag that repo:tag made, or repo:push pushed, if it still is what was made. Returns whether it did: false where
--- this run made none (nil, or `created` is false).
function refs.delete_tag(repo, made, options)
    local given = rt.options(options or {}, { remote = "string" }, "git.delete_tag")
    local base = command.repo(repo, "git.delete_tag")
    if made == nil then
        return false
    elseif not rt.is_unknown(made) and (type(made) ~= "table" or made.ref == nil or made.object == nil) then
        rt.raise("usage", "git.delete_tag: expected what repo:tag or repo:push returned: it says what this run made")
    elseif not rt.is_unknown(made) and type(made.ref) == "string" and not made.ref:find("^refs/tags/") then
        rt.raise("usage", ("git.delete_tag: %s is no tag; a branch is taken back by repo:revert and a push"):format(made.ref))
    elseif made.created == false then
        return false
    end
    local remote = given.remote or made.remote
    return drop_tag { repo = base, ref = made.ref, object = made.object,
        remote = remote and word(remote, "git.delete_tag", "remote") or nil }
end

return refs
