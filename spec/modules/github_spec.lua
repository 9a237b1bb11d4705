local github = require "spec.world.github"
local t = require "spec.helper"

describe("github", function()
    local hub

    setup(function()
        hub = github.start()
    end)

    local GREEN = { name = "build", status = "completed", conclusion = "success" }

    before_each(function()
        for _, ref in ipairs { "main", "one", "two", "three" } do
            t.run { "git", "-C", hub.repository, "update-ref", "-d", "refs/heads/" .. ref }
        end
        hub.commit("main", "README", "shop")
        for _, name in ipairs { "one", "two", "three" } do
            hub.commit(name, name .. ".txt", name)
        end
        hub.control { pulls = { ["14"] = { head = "one", title = "Types" }, ["15"] = { head = "two" },
            ["17"] = { head = "three" } }, checks = { one = { GREEN }, two = { GREEN }, three = { GREEN } },
            statuses = {}, releases = {}, strict = false, faults = {}, log = {}, token = "ghs-spec-token" }
    end)

    local function play(body, url, options)
        options = options or {}
        options.env = { GITHUB_TOKEN = options.token or "ghs-spec-token" }
        return t.play(([[
            local github = require "rollout.github"
            playbook "spec" { environments = { "test" } }
            local shop = github.repository("acme/shop", { token = secret "GITHUB_TOKEN", url = %q })
            %s
        ]]):format(url or hub.url, body), options)
    end

    local function outcome(body, url, options)
        return t.outcome(play('step("it", { timeout = "50s" }, function() ' .. body .. " end)", url, options))
    end

    local function gate(check, url, options)
        local run = play(('gate("it", function() return %s end)'):format(check), url, options)
        local verdicts = {}
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                for i, one in ipairs(event.payload.expectations or {}) do
                    verdicts[i] = one.verdict
                end
                return #verdicts > 0 and table.concat(verdicts, " ") or event.payload.verdict, event.payload.text, run
            end
        end
        error(run.out .. run.err)
    end

    it("tells how pull requests stand", function()
        local pull = outcome "return shop:pull(14)"
        assert.equal("open", pull.state)
        assert.equal(hub.git("rev-parse", "one"), pull.head)
        assert.equal("fail fail", (gate "shop:merged(14, 15)"))
        local _, problem = outcome "return shop:pull(99)"
        assert.equal("not_found", problem.code)
        _, problem = outcome("return shop:pull(14)", nil, { token = "another-token" })
        assert.equal("access_denied", problem.code)
    end)

    it("takes a pull request for approved by the last word of each reviewer", function()
        local many = {}
        for i = 1, 101 do
            many[i] = { "dana", i == 101 and "APPROVED" or "COMMENTED" }
        end
        for _, set in ipairs {
            { "fail", {}, "pull request 14 (Types) is approved by nobody" },
            { "fail", { { "dana", "COMMENTED" } }, "by nobody" },
            { "pass", { { "dana", "CHANGES_REQUESTED" }, { "dana", "APPROVED" }, { "dana", "COMMENTED" } },
                "pull request 14 (Types) is approved by dana" },
            { "fail", { { "dana", "APPROVED" }, { "kim", "CHANGES_REQUESTED" } },
                "approved by dana; changes are requested by kim" },
            { "fail", { { "dana", "APPROVED" }, { "dana", "DISMISSED" } }, "by nobody" },
            { "pass", many, "by dana" },
        } do
            hub.control { pulls = { ["14"] = { head = "one", title = "Types", reviews = set[2] } } }
            local verdict, text = gate "shop:approved(14)"
            assert.equal(set[1], verdict, set[3])
            assert.matches(set[3], text, 1, true)
        end
        hub.control { pulls = { ["14"] = { head = "one", reviews = { { "dana", "APPROVED" } } }, ["15"] = { head = "two" } } }
        assert.equal("pass fail", (gate "shop:approved(14, 15)"))
        assert.equal("fail", (gate "shop:approved(14, { count = 2 })"))
        assert.equal("unknown", (gate "shop:approved(99)"))
    end)

    it("takes checks for green only when all are, and there are some", function()
        assert.equal("pass", (gate 'shop:checks("one", { required = { "build" } })'))
        local sets = {
            { "unknown", {} },
            { "unknown", { GREEN, { name = "test", status = "in_progress", conclusion = require("dkjson").null } } },
            { "fail", { GREEN, { name = "test", status = "completed", conclusion = "timed_out" } } },
            { "pass", { GREEN, { name = "docs", status = "completed", conclusion = "skipped" } } },
        }
        for _, set in ipairs(sets) do
            hub.control { checks = { one = set[2] } }
            assert.equal(set[1], (gate 'shop:checks "one"'))
        end
        assert.equal("unknown", (gate 'shop:checks("one", { required = { "e2e" } })'))
        hub.control { statuses = { one = { { context = "ci/old", state = "failure" } } } }
        local verdict, text = gate 'shop:checks "one"'
        assert.equal("fail", verdict)
        assert.matches("1 of 3 failed: ci/old", text, 1, true)
    end)

    it("reads all pages of checks", function()
        local many = {}
        for i = 1, 230 do
            many[i] = { name = "check " .. i, status = "completed", conclusion = i == 229 and "failure" or "success" }
        end
        hub.control { checks = { one = many } }
        local verdict, text = gate 'shop:checks "one"'
        assert.equal("fail", verdict)
        assert.matches("1 of 230 failed: check 229", text, 1, true)
    end)

    it("merges what was looked at, once", function()
        local made = outcome 'return shop:merge(14, { method = "squash", delete_branch = true })'
        assert.equal(hub.git("rev-parse", "main"), made.commit)
        assert.equal("one", hub.git("show", "main:one.txt"))
        assert.equal("", t.run({ "git", "-C", hub.repository, "rev-parse", "-q", "--verify", "refs/heads/one" }).out)
        assert.equal("pass fail", (gate "shop:merged(14, 15)"))
        assert.equal(made.commit, outcome("return shop:merge(14)").commit)
    end)

    it("does not merge a conflict, a draft, what is blocked, closed or red", function()
        local function refused(settings, code, pattern)
            hub.control(settings)
            local _, problem = outcome 'return shop:merge(14, { within = "3s" })'
            assert.equal(code, problem.code, problem.message)
            assert.matches(pattern, problem.message)
        end
        refused({ pulls = { ["14"] = { head = "one", draft = true } } }, "not_mergeable", "draft")
        refused({ pulls = { ["14"] = { head = "one", blocked = true } } }, "not_mergeable", "approval")
        refused({ pulls = { ["14"] = { head = "one", closed = true } } }, "closed", "closed")
        refused({ pulls = { ["14"] = { head = "one" } }, checks = { one = { { name = "build", status = "completed",
            conclusion = "failure" } } } }, "checks", "1 of 1 failed: build")
        refused({ checks = { one = {} } }, "checks", "no check has run")
        hub.commit("main", "one.txt", "another")
        refused({ checks = { one = { GREEN } } }, "not_mergeable", "conflicts")
        assert.equal("another", hub.git("show", "main:one.txt"))
    end)

    it("brings a branch up to date where it is asked to", function()
        hub.control { strict = true }
        hub.commit("main", "more.txt", "more")
        local _, problem = outcome "return shop:merge(14)"
        assert.matches("update = true", problem.message)
        local made = outcome 'return shop:merge(14, { update = true })'
        assert.equal(hub.git("rev-parse", "main"), made.commit)
    end)

    it("merges in the given order, each after what it depends on", function()
        local _, problem = outcome "return shop:merge_in_order { { 17, after = { 14 } }, 14 }"
        assert.matches("17 depends on 14, which comes after it", problem.message)
        _, problem = outcome "return shop:merge_in_order { 15, { 17, after = { 14 } } }"
        assert.equal("dependency", problem.code)
        assert.matches("it depends on 14, which is open", problem.message)
        local made = outcome 'return shop:merge_in_order({ 14, 15, { 17, after = { 14 } } }, { method = "squash" })'
        assert.same({ 14, 15, 17 }, { made[1].number, made[2].number, made[3].number })
        assert.equal("squash three\nsquash two\nsquash one\nREADME", hub.git("log", "--format=%s", "main"))
    end)

    it("releases once, and takes back only what it made", function()
        local _, problem = outcome 'return shop:release { tag = "v1.0.0" }'
        assert.equal("no_tag", problem.code)
        hub.git("update-ref", "refs/tags/v1.0.0", "main")
        local made = outcome 'return shop:release { tag = "v1.0.0", notes = "First", generate_notes = true }'
        assert.equal("v1.0.0", made.tag)
        assert.is_true(made.created)
        _, problem = outcome 'return shop:release { tag = "v1.0.0" }'
        assert.equal("exists", problem.code)
        local gone = outcome [[
            local there = shop:release_of "v1.0.0"
            local kept = shop:delete_release(there)
            there.created = true
            return { kept, shop:delete_release(there), shop:release_of "v1.0.0" == nil }]]
        assert.same({ false, true, true }, gone)
    end)

    it("finds out what became of a merge and a release whose answer was lost", function()
        hub.control { faults = { { match = "PUT .*/14/merge", after = true } } }
        local made = outcome("return shop:merge(14)", hub.direct)
        assert.equal(hub.git("rev-parse", "main"), made.commit)
        hub.git("update-ref", "refs/tags/v2.0.0", "main")
        hub.control { faults = { { match = "POST .*/releases", after = true } } }
        assert.equal("v2.0.0", outcome('return shop:release { tag = "v2.0.0" }', hub.direct).tag)
        local posted = 0
        for _, line in ipairs(hub.log()) do
            posted = posted + (line:find "^POST" and 1 or 0)
        end
        assert.equal(1, posted)
    end)

    it("is in doubt where nobody answers any more", function()
        hub.control { faults = { { match = "PUT .*/14/merge", after = true },
            { match = "/pulls/14", from = "PUT .*/14/merge", status = 502, times = 99 } } }
        local run = play([[step("it", { timeout = "30s" }, function() return shop:merge(14).commit end)]], hub.direct)
        assert.equal(7, run.code, run.out)
        assert.matches("whether it is merged cannot be told", run.out)
        hub.control { faults = {} }
        local resumed = t.digest_events(t.host { "resume", "--output", "json", state = run.state, cwd = run.folder,
            env = { GITHUB_TOKEN = "ghs-spec-token" } })
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal(hub.git("rev-parse", "main"), resumed.ended.it.value)
        hub.control { faults = { { match = "PUT .*/15/merge", status = 502, times = 9 } }, log = {} }
        local _, problem = outcome("return shop:merge(15)", hub.direct)
        assert.equal("unavailable", problem.code)
    end)

    it("takes 429, 500 and garbage for unknown, never for a pass", function()
        for _, fault in ipairs {
            { match = "check-runs", status = 429, headers = { ["Retry-After"] = "3600" }, times = 9 },
            { match = "check-runs", status = 500, times = 9 },
            { match = "check-runs", status = 200, body = "<html>", times = 9 },
            { match = "check-runs", status = 200, body = { message = "hm" }, times = 9 },
            { match = "check-runs", status = 200, body = { total_count = 2, check_runs = {} }, times = 9 },
            { match = "check-runs", status = 403, body = { message = "API rate limit exceeded" }, times = 9 },
        } do
            hub.control { faults = { fault } }
            assert.equal("unknown", (gate('shop:checks "one"', hub.direct)), fault.status)
        end
    end)

    it("keeps the token out of everything", function()
        local _, _, run = gate("shop:merged(14)")
        assert.equal("", t.run({ "grep", "-rlF", "ghs-spec-token", run.state }).out)
        assert.is_nil((run.out .. run.err):find("ghs-spec-token", 1, true))
    end)
end)
