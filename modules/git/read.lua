-- What a repository says of itself, and of its remotes.
local _, rt, command = ...

local read = {}

local FILES, COMMITS = 100, 1000
local REMOTE_TIMEOUT = 30000
local word = command.word

local function reader(name, def)
    def.name = "git." .. name
    def.class = "read"
    local describe = def.describe
    def.describe = function(args)
        return describe(args) .. "  (in " .. args.repo.path .. ")"
    end
    return rt.effect(def)
end

-- Values of `width` NUL-terminated fields each, named by `names`.
local function records(text, names)
    local list, record, at = {}, {}, 0
    for value in text:gmatch("([^\0]*)\0") do
        at = at + 1
        record[names[at]] = value
        if at == #names then
            list[#list + 1], record, at = record, {}, 0
        end
    end
    return list
end

-- ---- the checkout ----

local STATUS = { untracked = "boolean", submodules = "boolean" }

local function status_args(where)
    return function(repo, options)
        local given = rt.options(options or {}, STATUS, where)
        return { repo = command.repo(repo, where), untracked = given.untracked ~= false,
            submodules = given.submodules ~= false }
    end
end

local function status(args, ctx)
    local found = command.status(ctx, args.repo, { limit = FILES, untracked = args.untracked, submodules = args.submodules })
    found.clean = found.total == 0
    found.detached = found.branch == nil
    found.files = rt.json.array(found.files)
    return found
end

local function sample_status()
    return { clean = true, detached = false, branch = rt.unknown "branch", commit = rt.unknown "commit",
        staged = 0, changed = 0, unmerged = 0, untracked = 0, total = 0, files = rt.json.array {} }
end

--- { clean, commit, branch, detached, upstream, ahead, behind, staged, changed, unmerged, untracked, total, files }.
read.status = reader("status", {
    args = status_args "git.status",
    describe = function() return "status" end,
    call = status,
    sample = sample_status,
})

local clean = reader("clean", {
    args = status_args "git.clean",
    describe = function() return "is the working tree clean" end,
    call = function(args, ctx)
        local found = status(args, ctx)
        return { total = found.total, listed = found.total > 0 and command.listed(found) or nil }
    end,
    sample = function() return { total = 0 } end,
})

--- An expectation: nothing is changed, staged, unmerged or untracked.
function read.clean(repo, options)
    local found = clean(repo, options)
    return rt.expectation {
        name = "changes in " .. repo.path, verdict = found.total == 0 and "pass" or "fail", measured = found.total, limit = 0,
        unit = "files", detail = found.listed,
        text = found.total == 0 and ("nothing is uncommitted in %s"):format(repo.path)
            or ("%s has changes that are not committed: %s"):format(repo.path, found.listed),
    }
end

--- Where the checkout stands: { sha, branch, tags }; what repo:back_to takes.
read.head = reader("head", {
    args = function(repo) return { repo = command.repo(repo, "git.head") } end,
    describe = function() return "where HEAD is" end,
    call = function(args, ctx)
        local sha = command.resolve(ctx, args.repo, "HEAD")
        local tags = {}
        if sha then
            local found = command.run(ctx, args.repo, { "for-each-ref", "--format=%(refname:strip=2)", "--points-at=" .. sha,
                "--sort=-version:refname", "refs/tags" })
            for name in found.out:gmatch("[^\n]+") do
                tags[#tags + 1] = name
            end
        end
        return { sha = sha, branch = command.branch(ctx, args.repo), tags = rt.json.array(tags) }
    end,
    sample = function()
        return { sha = rt.unknown "commit", branch = rt.unknown "branch", tags = rt.json.array {} }
    end,
})

--- The name of the branch that is checked out; nil where HEAD is detached.
read.branch = reader("branch", {
    args = function(repo) return { repo = command.repo(repo, "git.branch") } end,
    describe = function() return "which branch" end,
    call = function(args, ctx)
        local found = command.branch(ctx, args.repo)
        if not found then
            command.run(ctx, args.repo, { "rev-parse", "--git-dir" }) -- no repository is no detached head
        end
        return found
    end,
    sample = function() return rt.unknown "branch" end,
})

-- ---- history ----

--- The commit that a branch, tag or other revision names, or nil.
read.resolve = reader("resolve", {
    args = function(repo, revision)
        return { repo = command.repo(repo, "git.resolve"), revision = word(revision, "git.resolve", "the revision") }
    end,
    describe = function(args) return "which commit is " .. tostring(args.revision) end,
    call = function(args, ctx)
        command.refuse_ambiguous(ctx, args.repo, args.revision)
        return command.resolve(ctx, args.repo, args.revision)
    end,
    sample = function(args) return rt.unknown("commit of " .. tostring(args.revision)) end,
})

read.is_ancestor = reader("is_ancestor", {
    args = function(repo, ancestor, descendant)
        return { repo = command.repo(repo, "git.is_ancestor"), ancestor = word(ancestor, "git.is_ancestor", "the ancestor"),
            descendant = word(descendant or "HEAD", "git.is_ancestor", "the descendant") }
    end,
    describe = function(args) return ("is %s in %s"):format(tostring(args.ancestor), tostring(args.descendant)) end,
    call = function(args, ctx)
        return command.is_ancestor(ctx, args.repo, command.need(ctx, args.repo, args.ancestor),
            command.need(ctx, args.repo, args.descendant))
    end,
    sample = function() return true end,
})

local COMMIT = { "sha", "parents", "author", "email", "authored", "committed", "subject", "body" }
local COMMIT_FORMAT = "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%at%x00%ct%x00%s%x00%b"

local function commit_of(record)
    local parents = {}
    for sha in record.parents:gmatch("%x+") do
        parents[#parents + 1] = sha
    end
    record.parents = rt.json.array(parents)
    record.authored, record.committed = tonumber(record.authored) * 1000, tonumber(record.committed) * 1000
    record.body = record.body ~= "" and record.body:gsub("\n+$", "") or nil
    return record
end

--- Commits of `to` (HEAD) that are not in `from`, newest first: "the log between two tags".
read.log = reader("log", {
    args = function(repo, options)
        local given = rt.options(options or {}, { from = "string", to = "string", path = "string", limit = "integer",
            first_parent = "boolean", merges = "boolean" }, "git.log")
        if given.limit and (given.limit < 1 or given.limit > COMMITS) then
            rt.raise("usage", ("git.log: limit is between 1 and %d"):format(COMMITS))
        end
        return { repo = command.repo(repo, "git.log"), from = given.from and word(given.from, "git.log", "from"),
            to = word(given.to or "HEAD", "git.log", "to"), paths = given.path and word(given.path, "git.log", "path"),
            limit = given.limit or COMMITS, first_parent = given.first_parent, merges = given.merges }
    end,
    describe = function(args)
        return ("log %s%s"):format(args.from and tostring(args.from) .. ".." or "", tostring(args.to))
    end,
    call = function(args, ctx)
        local argv = { "log", "-z", "--encoding=UTF-8", "--no-color", "--max-count=" .. args.limit, COMMIT_FORMAT }
        if args.first_parent then
            argv[#argv + 1] = "--first-parent"
        end
        if args.merges ~= nil then
            argv[#argv + 1] = args.merges and "--merges" or "--no-merges"
        end
        argv[#argv + 1] = command.need(ctx, args.repo, args.to)
        if args.from then -- a child stands before its parents; not asked of a whole history, which would be walked for it
            argv[#argv + 1] = "^" .. command.need(ctx, args.repo, args.from)
            argv[#argv + 1] = "--date-order"
        end
        argv[#argv + 1] = "--"
        argv[#argv + 1] = args.paths
        local commits = records(command.run(ctx, args.repo, argv).out, COMMIT)
        for i, record in ipairs(commits) do
            commits[i] = commit_of(record)
        end
        return rt.json.array(commits)
    end,
    sample = function() return rt.unknown "commits" end,
})

local TAG = { "name", "type", "object", "sha", "at", "subject" }
local TAG_FORMAT = "--format=%(refname:strip=2)%00%(objecttype)%00%(objectname)%00%(*objectname)%00%(creatordate:unix)%00"
    .. "%(contents:subject)%00"

local function tags_of(ctx, repo, argv, pattern, limit)
    local found = command.run(ctx, repo, { "for-each-ref", TAG_FORMAT, "--sort=-version:refname",
        table.unpack(argv) })
    local list = {}
    for _, tag in ipairs(records((found.out:gsub("%z\n", "\0")), TAG)) do
        if not pattern or tag.name:find(pattern) then
            tag.annotated = tag.type == "tag"
            tag.sha = tag.annotated and tag.sha or tag.object
            tag.at = tonumber(tag.at) and tonumber(tag.at) * 1000
            tag.type = nil
            list[#list + 1] = tag
            if #list == limit then
                break
            end
        end
    end
    return list
end

local function check_pattern(pattern, where)
    if pattern ~= nil and not pcall(string.find, "", pattern) then
        rt.raise("usage", ("%s: match is a Lua pattern such as \"^v%%d+%%.%%d+%%.%%d+$\", and %q is none"):format(where, pattern))
    end
    return pattern
end

--- Tags, the highest version first: { name, sha (the commit), object, annotated, at, subject }.
read.tags = reader("tags", {
    args = function(repo, options)
        local given = rt.options(options or {}, { match = "string", merged = "string", limit = "integer" }, "git.tags")
        return { repo = command.repo(repo, "git.tags"), match = check_pattern(given.match, "git.tags"),
            merged = given.merged and word(given.merged, "git.tags", "merged"), limit = given.limit or COMMITS }
    end,
    describe = function() return "list tags" end,
    call = function(args, ctx)
        local argv = { "refs/tags" }
        if args.merged then
            table.insert(argv, 1, "--merged=" .. command.need(ctx, args.repo, args.merged))
        end
        return rt.json.array(tags_of(ctx, args.repo, argv, args.match, args.limit))
    end,
    sample = function() return rt.unknown "tags" end,
})

--- The release before `revision`: the highest tag that is in its history and not on it, or nil.
read.previous_tag = reader("previous_tag", {
    args = function(repo, revision, options)
        local given = rt.options(options or {}, { match = "string" }, "git.previous_tag")
        return { repo = command.repo(repo, "git.previous_tag"), match = check_pattern(given.match, "git.previous_tag"),
            revision = word(revision or "HEAD", "git.previous_tag", "the revision") }
    end,
    describe = function(args) return "the tag before " .. tostring(args.revision) end,
    call = function(args, ctx)
        local sha = command.need(ctx, args.repo, args.revision)
        for _, tag in ipairs(tags_of(ctx, args.repo, { "--merged=" .. sha, "refs/tags" }, args.match)) do
            if tag.sha ~= sha then
                return tag
            end
        end
        return nil
    end,
    sample = function(args)
        local label = "tag before " .. tostring(args.revision)
        return { name = rt.unknown(label), sha = rt.unknown(label), object = rt.unknown(label), annotated = true,
            at = rt.unknown(label), subject = rt.unknown(label) }
    end,
})

-- ---- remotes ----

--- What a remote has of one name: { ref, object, sha } (sha: the commit, of an annotated tag too), or nil.
function read.remote_ref_of(ctx, repo, remote, name)
    local wanted = name:find("^refs/") and { name } or name == "HEAD" and { "HEAD" }
        or { "refs/heads/" .. name, "refs/tags/" .. name }
    local argv = { "ls-remote", "--quiet", remote }
    for _, ref in ipairs(wanted) do
        argv[#argv + 1] = ref
        argv[#argv + 1] = ref .. "^{}"
    end
    local found = {}
    local listing = command.remote(ctx, repo, remote, argv, { timeout = repo.timeout or REMOTE_TIMEOUT })
    for object, ref in listing.out:gmatch("(%x+)\t([^\n]+)\n") do
        found[ref] = object
    end
    local result
    for _, ref in ipairs(wanted) do
        if found[ref] then
            if result then
                command.ambiguous(remote, name)
            end
            result = { ref = ref, object = found[ref], sha = found[ref .. "^{}"] or found[ref] }
        end
    end
    return result
end

read.remote_ref = reader("remote_ref", {
    args = function(repo, name, options)
        local given = rt.options(options or {}, { remote = "string" }, "git.remote_ref")
        return { repo = command.repo(repo, "git.remote_ref"), name = word(name, "git.remote_ref", "the name"),
            remote = word(given.remote or "origin", "git.remote_ref", "remote") }
    end,
    describe = function(args) return ("does %s have %s"):format(args.remote, tostring(args.name)) end,
    call = function(args, ctx)
        return read.remote_ref_of(ctx, args.repo, args.remote, args.name)
    end,
    sample = function(args)
        local label = tostring(args.name) .. " on " .. args.remote
        return { ref = rt.unknown(label), object = rt.unknown(label), sha = rt.unknown(label) }
    end,
})

-- ---- submodules ----

local STATE = { ["-"] = "missing", ["+"] = "other", ["U"] = "unmerged", [" "] = "current" }

--- { { path, sha, state }, … }: state is current, missing (not fetched), other (another commit than recorded) or unmerged.
read.submodules = reader("submodules", {
    args = function(repo) return { repo = command.repo(repo, "git.submodules") } end,
    describe = function() return "list submodules" end,
    call = function(args, ctx)
        local paths, list = {}, {}
        local config = command.run(ctx, args.repo, { "config", "-z", "--file", ".gitmodules", "--get-regexp",
            "^submodule\\..*\\.path$" }, { ok = { [1] = true } })
        for path in config.out:gmatch("[^\0\n]+\n([^\0]+)%z") do
            paths[#paths + 1] = path
        end
        table.sort(paths)
        for _, path in ipairs(paths) do
            local line = command.run(ctx, args.repo, { "submodule", "status", "--", path }).out
            local mark, sha = line:match("^([-+U ])(%x+)")
            list[#list + 1] = { path = path, sha = sha, state = STATE[mark] }
        end
        return rt.json.array(list)
    end,
    sample = function() return rt.unknown "submodules" end,
})

return read
