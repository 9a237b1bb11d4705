-- github: pull requests, their checks, and releases of a repository on GitHub or GitHub Enterprise, by its REST API.
local _, rt = ...
local service = require "rollout.service"

local github = {}

local API = "https://api.github.com"
local HEADERS = { Accept = "application/vnd.github+json", ["X-GitHub-Api-Version"] = "2022-11-28" }
local HINTS = {
    access_denied = "the token is missing or expired, may not do that, or its hourly allowance is used up",
    not_found = "there is no such thing, or the token may not see the repository",
}
-- GitHub's allowance is some requests a second; what it finds out in the background takes about one.
local LONGEST_POLL_MS = 10000
local FINE = { success = true, neutral = true, skipped = true }
local SHOWN = 10

-- ---- asking ----

local function named(where)
    return where.owner .. "/" .. where.name
end

local function ask(where, what, method, path, more)
    local request = { what = what, where = where, method = method, path = "/repos/" .. named(where) .. path, bearer = where.token,
        headers = HEADERS, hints = HINTS }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    return service.ask(request)
end

local function pull_of(where, number, what)
    local told = ask(where, what, "GET", "/pulls/" .. number)
    if math.type(told.number) ~= "integer" or type(told.head) ~= "table" or type(told.merged) ~= "boolean" then
        rt.raise("protocol", what .. ": the answer is no pull request; is the url GitHub's API (https://HOST/api/v3)?")
    end
    local function given(value)
        return value ~= rt.json.null and value or nil
    end
    return { number = told.number, title = told.title, state = told.merged and "merged" or told.state, merged = told.merged,
        draft = told.draft == true, head = told.head.sha, branch = told.head.ref, base = told.base.ref,
        mergeable = told.mergeable ~= rt.json.null and told.mergeable, mergeable_known = told.mergeable ~= rt.json.null,
        mergeable_state = given(told.mergeable_state), merge_commit = told.merged and given(told.merge_commit_sha) or nil,
        merged_at = given(told.merged_at), url = told.html_url }
end

-- All pages of a list that stands in `field`; a total that is not reached is an error, never a shorter list.
local function pages(where, what, path, field)
    local list, page = {}, 1
    repeat
        local told = ask(where, what, "GET", path, { query = { per_page = 100, page = page } })
        local part, total = told[field], told.total_count
        if type(part) ~= "table" or math.type(total) ~= "integer" then
            rt.raise("protocol", ("%s: the answer has no %s"):format(what, field))
        end
        table.move(part, 1, #part, #list + 1, list)
        page = page + 1
        if #part == 0 and #list < total then
            rt.raise("protocol", ("%s: %d were announced, and %d came"):format(what, total, #list))
        end
    until #list >= total
    return list
end

-- Check runs (Actions and apps) and statuses (older integrations) of a commit, by name the worst.
local function checks_of(where, ref, what)
    local found = { passed = rt.json.array {}, failed = rt.json.array {}, pending = rt.json.array {} }
    local path = "/commits/" .. service.encoded(ref)
    local function note(name, state)
        table.insert(found[state], name)
    end
    for _, run in ipairs(pages(where, what, path .. "/check-runs", "check_runs")) do
        note(run.name, run.status ~= "completed" and "pending" or FINE[run.conclusion] and "passed" or "failed")
    end
    for _, status in ipairs(pages(where, what, path .. "/status", "statuses")) do
        note(status.context, status.state == "success" and "passed" or status.state == "pending" and "pending" or "failed")
    end
    found.total = #found.passed + #found.failed + #found.pending
    return found
end

local function list_of(names)
    return table.concat(names, ", ", 1, math.min(#names, SHOWN))
        .. (#names > SHOWN and (" and %d more"):format(#names - SHOWN) or "")
end

-- "pass", "fail" or "unknown", and why. `required`: names that must be among those that passed.
local function judged(found, required)
    local passed, missing = {}, {}
    for _, name in ipairs(found.passed) do passed[name] = true end
    for _, name in ipairs(required or {}) do
        if not passed[name] then missing[#missing + 1] = name end
    end
    if #found.failed > 0 then
        return "fail", ("%d of %d failed: %s"):format(#found.failed, found.total, list_of(found.failed))
    elseif #found.pending > 0 then
        return "unknown", ("%d of %d are not finished: %s"):format(#found.pending, found.total, list_of(found.pending))
    elseif found.total == 0 then
        return "unknown", "no check has run on it"
    elseif #missing > 0 then
        return "unknown", "not run on it: " .. list_of(missing)
    end
    return "pass", ("%d passed"):format(found.total)
end

-- ---- reading ----

local Repository = {}
local class = rt.class("github.repository", Repository, function(self) return named(self.where) end)

local function number_of(value, call)
    if rt.is_unknown(value) or math.type(value) == "integer" and value > 0 then
        return value
    end
    rt.raise("usage", ("%s: expects the number of a pull request"):format(call))
end

local pull_read = rt.effect {
    name = "github.pull", class = "read",
    args = function(self, number) return { where = self.where, number = number_of(number, "repository:pull") } end,
    describe = function(args) return ("look at pull request %s of %s"):format(args.number, named(args.where)) end,
    call = function(args)
        return pull_of(args.where, args.number, ("pull request %s of %s"):format(args.number, named(args.where)))
    end,
    sample = function(args)
        return { number = args.number, title = "", state = "open", merged = false, draft = false, head = rt.unknown "head",
            branch = rt.unknown "branch", base = "main", mergeable = true, mergeable_known = true }
    end,
}

--- repository:pull(14) → { number, title, state = "open" | "closed" | "merged", merged, draft, head, branch, base, mergeable,
--- mergeable_state, merge_commit, merged_at, url }.
Repository.pull = pull_read

--- Expectations: these pull requests are merged: repository:merged(14, 17).
function Repository:merged(...)
    local list = {}
    for i, number in ipairs { ... } do
        local pull = pull_read(self, number)
        list[i] = rt.expectation { name = ("pull request %d"):format(number), verdict = pull.merged and "pass" or "fail",
            measured = pull.state, limit = "merged", text = ("pull request %d (%s) is %s%s"):format(number, pull.title, pull.state,
                pull.draft and ", a draft" or "") }
    end
    if #list == 0 then
        rt.raise("usage", "repository:merged: expects numbers of pull requests")
    end
    return list
end

-- The last word of each reviewer; a comment is none.
local WORDS = { APPROVED = "approved", CHANGES_REQUESTED = "refused", DISMISSED = "nothing" }

local reviews_read = rt.effect {
    name = "github.reviews", class = "read",
    args = function(self, number) return { where = self.where, number = number_of(number, "repository:approved") } end,
    describe = function(args) return ("look who approved pull request %s of %s"):format(args.number, named(args.where)) end,
    call = function(args)
        local what = ("reviews of pull request %s of %s"):format(args.number, named(args.where))
        local last, page, part = {}, 0
        repeat
            page = page + 1
            part = service.list(ask(args.where, what, "GET", ("/pulls/%d/reviews"):format(args.number),
                { query = { per_page = 100, page = page } }), what, "GitHub")
            for _, review in ipairs(part) do
                local who = type(review.user) == "table" and review.user.login or "ghost" -- an account that is gone
                last[who] = WORDS[review.state] or last[who]
            end
        until #part < 100
        local found = { approved = rt.json.array {}, refused = rt.json.array {} }
        for who, word in pairs(last) do
            table.insert(found[word] or {}, who)
        end
        return found
    end,
    sample = function() return { approved = {}, refused = {} } end,
}

--- Expectations: these pull requests are approved, and nobody asks for changes: repository:approved(14, 17, { count = 2 }) wants
--- so many people; 1.
function Repository:approved(...)
    local numbers = { ... }
    local options = type(numbers[#numbers]) == "table" and not rt.is_unknown(numbers[#numbers]) and table.remove(numbers) or {}
    local given = rt.options(options, { count = { "integer", default = 1 } }, "repository:approved")
    local list = {}
    for i, number in ipairs(numbers) do
        local pull, found = pull_read(self, number), reviews_read(self, number)
        local enough = #found.approved >= given.count and #found.refused == 0
        list[i] = rt.expectation { name = ("approvals of pull request %s"):format(number), verdict = enough and "pass" or "fail",
            measured = #found.approved, limit = given.count,
            text = ("pull request %s (%s) is approved by %s%s%s"):format(number, tostring(pull.title),
                #found.approved > 0 and list_of(found.approved) or "nobody",
                #found.approved < given.count and given.count > 1 and ", and by too few" or "",
                #found.refused > 0 and "; changes are requested by " .. list_of(found.refused) or "") }
    end
    if #list == 0 then
        rt.raise("usage", "repository:approved: expects numbers of pull requests")
    end
    return list
end

local checks_read = rt.effect {
    name = "github.checks", class = "read",
    args = function(self, ref) return { where = self.where, ref = ref } end,
    describe = function(args) return ("look at the checks of %s in %s"):format(tostring(args.ref), named(args.where)) end,
    call = function(args)
        return checks_of(args.where, args.ref, ("checks of %s in %s"):format(args.ref, named(args.where)))
    end,
    sample = function() return { passed = {}, failed = {}, pending = {}, total = 0 } end,
}

--- An expectation: all checks of a commit, branch or tag are green, and there is one; { required = { "build", "test" } } names
--- those that must be among them. Unfinished ones and none are `unknown`: give the gate `within`.
function Repository:checks(ref, options)
    local given = rt.options(options or {}, { required = "table" }, "repository:checks")
    if type(ref) ~= "string" and not rt.is_unknown(ref) then
        rt.raise("usage", "repository:checks: expects a commit, a branch or a tag")
    end
    local found = checks_read(self, ref)
    local verdict, why = judged(found, given.required)
    return rt.expectation { name = "checks of " .. tostring(ref), verdict = verdict, measured = { passed = #found.passed,
        failed = #found.failed, pending = #found.pending }, limit = { failed = 0, pending = 0 },
        text = ("checks of %s: %s"):format(tostring(ref), why) }
end

-- ---- merging ----

local MERGE = { method = { "string", default = "merge", one_of = { "merge", "squash", "rebase" } },
    checks = { "boolean", default = true }, required = "table", update = { "boolean", default = false },
    within = { "duration", default = 30 * 60 * 1000 }, delete_branch = { "boolean", default = false } }

local BLOCKED = {
    dirty = "it conflicts with its base: resolve that on its branch",
    blocked = "a rule of the branch forbids it: an approval or a required check is missing",
    behind = "its branch is behind its base: update = true brings it up to date",
    draft = "it is a draft: mark it as ready",
}

local function result_of(pull)
    return { number = pull.number, commit = pull.merge_commit, head = pull.head, merged_at = pull.merged_at }
end

local function known_mergeable(where, number, what, deadline)
    return rt.poll(math.min(deadline, rt.now() + 60000), LONGEST_POLL_MS, function()
        local pull = pull_of(where, number, what)
        return (pull.mergeable_known or pull.state ~= "open") and pull
    end, function()
        rt.raise("not_mergeable", what .. ": GitHub has not found out within a minute whether it can be merged; try again")
    end)
end

local function green(args, pull, what, deadline)
    rt.poll(deadline, LONGEST_POLL_MS, function()
        local verdict, why = judged(checks_of(args.where, pull.head, what), args.required)
        if verdict == "fail" then
            rt.raise("checks", ("%s: its checks are not green: %s"):format(what, why))
        end
        return verdict == "pass", why
    end, function(why)
        rt.raise("checks", ("%s: its checks were not green within %s: %s"):format(what, rt.show_duration(args.within), why))
    end)
end

local function brought_up_to_date(args, pull, what, deadline)
    ask(args.where, what, "PUT", ("/pulls/%d/update-branch"):format(pull.number), { json = { expected_head_sha = pull.head } })
    return rt.poll(deadline, LONGEST_POLL_MS, function()
        local now = pull_of(args.where, pull.number, what)
        return now.head ~= pull.head and known_mergeable(args.where, pull.number, what, deadline)
    end, function()
        rt.raise("not_mergeable", what .. ": its branch was not brought up to date in time")
    end)
end

-- The answer may be lost, or tell of a merge that the request before it made: what counts is how the pull request stands.
local function merged_after(args, pull, what)
    local ok, told = pcall(ask, args.where, what, "PUT", ("/pulls/%d/merge"):format(pull.number),
        { json = { sha = pull.head, merge_method = args.method } })
    if ok and told.merged ~= true then
        ok, told = false, { code = "refused", message = what .. ": GitHub says that it is not merged" }
    end
    local asked, now = pcall(pull_of, args.where, pull.number, what)
    if asked and now.merged then
        return result_of(now)
    elseif not asked then
        rt.doubt("unavailable", ("%s: whether it is merged cannot be told: %s"):format(what, now.message))
    elseif ok then
        rt.raise("protocol", what .. ": GitHub took the merge, and the pull request is still open")
    end
    rt.raise(told.code or "refused", (told.message or tostring(told)) .. (told.detail and told.detail.status == 409
        and ": its branch has got other commits meanwhile" or ""), told.detail)
end

local function merge(args, number)
    local what = ("merge pull request %s of %s"):format(number, named(args.where))
    local deadline = rt.now() + args.within
    local pull = known_mergeable(args.where, number, what, deadline)
    if pull.merged then
        return result_of(pull)
    elseif pull.state ~= "open" then
        rt.raise("closed", what .. ": it is closed, and was not merged")
    end
    if args.update and pull.mergeable_state == "behind" then
        pull = brought_up_to_date(args, pull, what, deadline)
    end
    if pull.draft or not pull.mergeable or pull.mergeable_state == "dirty" then
        rt.raise("not_mergeable", ("%s: %s"):format(what, BLOCKED[pull.draft and "draft" or pull.mergeable_state]
            or BLOCKED.dirty))
    end
    if args.checks then
        green(args, pull, what, deadline)
        pull = known_mergeable(args.where, number, what, deadline)
    end
    if not pull.merged and (pull.mergeable_state == "blocked" or pull.mergeable_state == "behind") then
        rt.raise("not_mergeable", ("%s: %s"):format(what, BLOCKED[pull.mergeable_state]))
    end
    local result = merged_after(args, pull, what)
    if args.delete_branch then
        ask(args.where, what, "DELETE", "/git/refs/" .. service.encoded("heads/" .. pull.branch),
            { accept = { 404, 422 }, plain = true })
    end
    return result
end

local function with_where(self, given)
    given.where = self.where
    return given
end

local function merge_sample(number)
    return { number = number, commit = rt.unknown("merge commit of " .. tostring(number)), head = rt.unknown "head",
        merged_at = rt.unknown "time" }
end

--- repository:merge(14, { method = "merge" | "squash" | "rebase", checks = true, required, update = false, within = "30m",
--- delete_branch = false }) → { number, commit, head, merged_at }: what was looked at is merged, or nothing. With `checks` it
--- waits until they are green. One that is merged already is taken as it is.
Repository.merge = rt.effect {
    name = "github.merge", class = "probed",
    args = function(self, number, options)
        local args = with_where(self, rt.options(options or {}, MERGE, "repository:merge"))
        args.number = number_of(number, "repository:merge")
        return args
    end,
    describe = function(args)
        return ("merge pull request %s of %s (%s)"):format(args.number, named(args.where), args.method)
    end,
    call = function(args) return merge(args, args.number) end,
    probe = function(args)
        local pull = pull_of(args.where, args.number, "merged or not")
        if pull.merged then
            return "done", result_of(pull)
        end
        return "undone"
    end,
    sample = function(args) return merge_sample(args.number) end,
}

-- { 14, { 17, after = { 14 } } } → { { number, after }, … }; an order against its own dependencies is refused at once.
local function plan_of(given)
    local place, list = {}, {}
    for i, entry in ipairs(given) do
        local number = type(entry) == "table" and not rt.is_unknown(entry) and entry[1] or entry
        list[i] = { number = number_of(number, "repository:merge_in_order"),
            after = rt.json.array(type(entry) == "table" and not rt.is_unknown(entry) and entry.after or {}) }
        place[number] = i
    end
    if #list == 0 then
        rt.raise("usage", "repository:merge_in_order: expects numbers: { 14, 15, { 17, after = { 14 } } }")
    end
    for i, entry in ipairs(list) do
        for _, other in ipairs(entry.after) do
            if place[other] and place[other] >= i then
                rt.raise("usage", ("repository:merge_in_order: %d depends on %d, which comes after it"):format(entry.number,
                    other))
            end
        end
    end
    return list
end

local function merge_all(args, ctx)
    local results, listed = rt.json.array {}, {}
    for _, entry in ipairs(args.pulls) do
        for _, other in ipairs(entry.after) do -- those of the list are merged when it is their dependents' turn
            local before = listed[other] or pull_of(args.where, other, ("pull request %s of %s"):format(other, named(args.where)))
            if not before.merged then
                rt.raise("dependency", ("merge pull request %d of %s: it depends on %d, which is %s, so none was merged"):format(
                    entry.number, named(args.where), other, before.state))
            end
        end
        listed[entry.number] = { merged = true }
    end
    for _, entry in ipairs(args.pulls) do
        results[#results + 1] = merge(args, entry.number)
        ctx.progress(#results, #args.pulls, "pull requests")
    end
    return results
end

--- repository:merge_in_order({ 14, 15, { 17, after = { 14 } }, … }, options as of merge) → a list of what merge returns. In the
--- order given. Where one depends on another that is neither merged nor in the list before it, none is merged. What is merged
--- already is passed over, so that it can be done again.
Repository.merge_in_order = rt.effect {
    name = "github.merge_in_order", class = "idempotent",
    args = function(self, pulls, options)
        local args = with_where(self, rt.options(options or {}, MERGE, "repository:merge_in_order"))
        args.pulls = plan_of(pulls)
        return args
    end,
    describe = function(args)
        local numbers = {}
        for i, entry in ipairs(args.pulls) do
            numbers[i] = tostring(entry.number)
        end
        return ("merge pull requests %s of %s, in this order (%s)"):format(table.concat(numbers, ", "), named(args.where),
            args.method)
    end,
    call = merge_all,
    sample = function(args)
        local list = {}
        for i, entry in ipairs(args.pulls) do
            list[i] = merge_sample(entry.number)
        end
        return list
    end,
}

-- ---- releases ----

local function release_of(where, tag, what)
    local told, answer = ask(where, what, "GET", "/releases/tags/" .. service.encoded(tag), { accept = { 404 } })
    if answer.status == 404 then
        return nil
    end
    return { id = told.id, tag = told.tag_name, name = told.name ~= rt.json.null and told.name or nil, url = told.html_url,
        prerelease = told.prerelease, published_at = told.published_at ~= rt.json.null and told.published_at or nil }
end

--- repository:release_of "v1.4.0" → { id, tag, name, url, prerelease, published_at }, or nil.
Repository.release_of = rt.effect {
    name = "github.release_of", class = "read",
    args = function(self, tag) return { where = self.where, tag = tag } end,
    describe = function(args) return ("look at release %s of %s"):format(tostring(args.tag), named(args.where)) end,
    call = function(args)
        return release_of(args.where, args.tag, ("release %s of %s"):format(args.tag, named(args.where)))
    end,
    sample = function(args) return { id = rt.unknown "id", tag = args.tag, prerelease = false } end,
}

local function release(args)
    local what = ("release %s of %s"):format(args.tag, named(args.where))
    local ok, told = pcall(ask, args.where, what, "POST", "/releases", { json = { tag_name = args.tag,
        name = args.title or args.tag, target_commitish = args.target, body = args.notes,
        generate_release_notes = args.generate_notes, prerelease = args.prerelease, make_latest = args.latest and "true" or nil } })
    local asked, made = pcall(release_of, args.where, args.tag, what)
    if asked and made then
        made.created = true
        return made
    elseif not asked then
        rt.doubt("unavailable", ("%s: whether it is there cannot be told: %s"):format(what, made.message))
    end
    rt.raise(ok and "protocol" or told.code, ok and what .. ": GitHub took it, and it is not there" or told.message)
end

-- Before: what is there is not taken for what this run makes.
local before_release = rt.effect {
    name = "github.before_release", class = "read",
    args = function(self, tag) return { where = self.where, tag = tag } end,
    describe = function(args) return ("look whether %s of %s is released"):format(tostring(args.tag), named(args.where)) end,
    call = function(args)
        local what = ("release %s of %s"):format(args.tag, named(args.where))
        local there = release_of(args.where, args.tag, what)
        local _, tagged = ask(args.where, what, "GET", "/git/ref/" .. service.encoded("tags/" .. args.tag), { accept = { 404 } })
        return { url = there and (there.url or "there"), tagged = tagged.status ~= 404 }
    end,
    sample = function() return { tagged = true } end,
}

local make_release = rt.effect {
    name = "github.release", class = "probed",
    args = with_where,
    describe = function(args) return ("release %s of %s"):format(tostring(args.tag), named(args.where)) end,
    call = release,
    probe = function(args)
        local made = release_of(args.where, args.tag, "released or not")
        if not made then
            return "undone"
        end
        made.created = true
        return "done", made
    end,
    sample = function(args)
        return { id = rt.unknown "id", tag = args.tag, url = rt.unknown "url", prerelease = args.prerelease, created = true }
    end,
}

--- repository:release { tag = "v1.4.0", title, notes, generate_notes = false, prerelease = false, latest, target } → { id, tag,
--- name, url, prerelease, published_at, created }. The tag is one that is there, unless `target` says where it is to be made.
function Repository:release(options)
    local given = rt.options(options, { tag = { "string", required = true }, title = "string", notes = "string",
        generate_notes = { "boolean", default = false }, prerelease = { "boolean", default = false }, latest = "boolean",
        target = "string" }, "repository:release")
    local before = before_release(self, given.tag)
    local what = ("release %s of %s"):format(tostring(given.tag), named(self.where))
    if before.url then
        rt.raise("exists", ("%s: there is one already: %s"):format(what, tostring(before.url)))
    elseif not before.tagged and not given.target then
        rt.raise("no_tag", what .. ": there is no such tag on GitHub: push it first, or give target = a branch or commit")
    end
    return make_release(self, given)
end

--- An undo for release: repository:delete_release(made) takes back what it returned; false where this run made
--- nothing. The tag stays.
Repository.delete_release = rt.effect {
    name = "github.delete_release", class = "idempotent",
    args = function(self, made) return { where = self.where, made = made or false } end,
    describe = function(args)
        return ("delete release %s of %s"):format(args.made and tostring(args.made.tag) or "that was made", named(args.where))
    end,
    call = function(args)
        if not args.made or not args.made.created then
            return false
        end
        local what = ("delete release %s of %s"):format(args.made.tag, named(args.where))
        ask(args.where, what, "DELETE", "/releases/" .. args.made.id, { accept = { 404 }, plain = true })
        return true
    end,
    sample = function() return true end,
}

--- A repository: github.repository("acme/shop", { token = secret "GITHUB_TOKEN" }); GitHub Enterprise by url =
--- "https://HOST/api/v3". Nothing is asked yet.
function github.repository(name, options)
    local where = service.options(options, { token = "text" }, "github.repository")
    where.owner, where.name = tostring(name):match("^([%w%-_%.]+)/([%w%-_%.]+)$")
    if not where.owner and rt.mode() == "plan" and tostring(name):find("^unset%-") then -- a variable that is not set
        where.owner, where.name = "unset", name
    elseif not where.owner then
        rt.raise("usage", ("github.repository: %q is not \"owner/name\""):format(tostring(name)))
    end
    where.url = where.url or API
    return setmetatable({ where = where }, class)
end

return github
