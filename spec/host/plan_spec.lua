local play = require "spec.host.play"
local t = require "spec.helper"

local function plan(body, options)
    options = options or {}
    local path, folder = t.playbook(options.raw and body or play.text(body, options.more), "demo")
    local result = t.host { "plan", path, "--env", "staging", "--format", "json", cwd = folder,
        state = folder .. "/state", env = options.env }
    result.folder, result.lines = folder, require("dkjson").decode(result.out) or {}
    function result:find(kind, name)
        for _, line in ipairs(self.lines) do
            if line.kind == kind and (not name or line.name == name or line.effect == name) then return line end
        end
    end
    return result
end

describe("plan", function()
    it("says each effect, and touches nothing", function()
        local result = plan [[
            local sh, fs, http = require "rollout.sh", require "rollout.fs", require "rollout.http"
            local cfg = env.require { TOKEN = {}, PORT = { format = "integer" } }
            stage("Deploy", { only = "staging" }, function()
                approve("Go", {})
                gate("up", { within = "1m" }, function() return http.check "http://127.0.0.1:1/health" end)
                local made = step("make", { undo = function() sh.run { "rm", "made" } end }, function()
                    fs.write("made", "x")
                    return http.post("http://127.0.0.1:1/x", { bearer = cfg.TOKEN }).json
                end)
                rollback("back", function() step("revert", function() sh.run { "git", "revert" } end) end)
                step("use", function() sh.run { "echo", tostring(made.id .. "-" .. made.list[1].name) } end)
                for _, row in ipairs(made.rows) do error(row) end
                soak("rate", { duration = "1h", every = "1m" }, function() return expect("x", made.rate):below(1) end)
                wait "24h"
                confirm "looks good"
                checklist("items", { "a", "b" })
                notify "done"
                note "n"
                attach "made"
            end)
            stage("Elsewhere", { only = "production" }, function() error "never" end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_false(t.exists(result.folder .. "/made"))
        assert.equal("unsafe", result:find("effect", "http.post").class)
        assert.matches("git revert", result:find("effect", "sh.run").describe .. result.out)
        assert.matches("known after run", result.out)
        assert.equal("only in production", result:find("stage", "Elsewhere").skipped)
        for _, kind in ipairs { "approve", "gate", "step", "undo", "rollback", "soak", "wait", "confirm", "checklist", "notify",
            "note", "attach" } do
            assert.truthy(result:find(kind), kind)
        end
        assert.is_nil(result:find("problem"))
    end)
    it("says where it decided without knowing", function()
        local result = plan [[
            local fs = require "rollout.fs"
            local size = step("look", function() return { n = require("rollout.http").get("http://127.0.0.1:1/").json.n } end)
            if size.n < 5 then note "small" end
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("one of two ways", result:find("guess").text)
    end)
    it("sets apart what stands in a rollback and in a branch", function()
        local path, folder = t.playbook(play.text [[
            local sh = require "rollout.sh"
            rollback("back", function() step("revert", function() sh.run { "true" } end) end)
            parallel { north = function() step("deploy", function() sh.run { "true" } end) end }
        ]], "demo")
        local result = t.host { "plan", path, "--env", "staging", "--format", "md", cwd = folder, state = folder .. "/state" }
        assert.matches("^%- %[ %] rollback %*%*back%*%*\n    %- %[ %] step %*%*revert%*%*\n        %- `true`", result.out)
        assert.matches("\n%- %[ %] branch %*%*north%*%*\n    %- %[ %] step %*%*deploy", result.out)
    end)
    it("goes on behind a problem, and ends with exit 2", function()
        local result = plan [[
            stage("wrong", function() require("rollout.sh").run { "true" } end)
            stage("typo", function() gaet("x", function() end) end)
            step("fine", function() require("rollout.sh").run { "true" } end)
        ]]
        assert.equal(2, result.code)
        assert.matches("touches the world", result:find("problem").text)
        assert.truthy(result:find("step", "fine"))
    end)
    it("looks into checks: all that they read, and what is misspelt there", function()
        local result = plan [[
            local http = require "rollout.http"
            local function rows() return http.get("http://127.0.0.1:1/rows").json.n end
            local base = step("measure", function() return { n = rows() } end)
            soak("rows", { duration = "1h", every = "1m" }, function()
                return { expect("n", rows()):at_least(3 * base.n), expect("n", 5):between(base.n, 9),
                    expect("n", rows()):rises_at_most("5%", base.n), http.check("http://127.0.0.1:1/last") }
            end)
            gate("option", function() return http.check("http://127.0.0.1:1/", { statu = 200 }) end)
            gate("name", function() return htpp.check "http://127.0.0.1:1/" end)
            gate("function", function() return http.chek("http://127.0.0.1:1/") end)
            gate("limit", function() return expect("n", rows()):bellow(1) end)
            gate("no limit", function() return { http.check("http://127.0.0.1:1/"), { expect("n", rows()) } } end)
            gate("no return", function() http.check("http://127.0.0.1:1/") end)
            gate("and", function() return http.check("http://127.0.0.1:1/") and { http.check("http://127.0.0.1:1/b") } end)
            gate("and true", function() return http.check("http://127.0.0.1:1/") and true end)
            soak("later", { duration = "1h", every = "1m" }, function(at) return expect("n", at.previous.n):above(1) end)
        ]]
        assert.equal(2, result.code, result.out .. result.err)
        assert.truthy(result:find("effect", "http.check"), "what a check reads last")
        local problems = {}
        for _, line in ipairs(result.lines) do
            if line.kind == "problem" then problems[#problems + 1] = line.text end
        end
        assert.equal(5, #problems, table.concat(problems, "\n"))
        assert.matches('"statu": did you mean "status"', problems[1], 1, true)
        assert.matches('"htpp" is not defined', problems[2], 1, true)
        assert.matches('rollout.http has no "chek": did you mean "check"', problems[3], 1, true)
        assert.matches('"bellow": did you mean "below"', problems[4], 1, true)
        assert.matches("holds nothing: add its limit", problems[5], 1, true)
        assert.matches("check returns nothing here", result:find("guess").text)
        assert.matches("1 of 2 expectations are not returned here", result.out, 1, true)
        assert.matches("1 of 1 expectations are not returned here", result.out, 1, true)
        local _, guesses = result.out:gsub('"kind":"guess"', "")
        assert.equal(4, guesses, result.out)
        assert.matches("cannot follow this further: attempt to index a nil value (field 'previous')", result.out, 1, true)
    end)
    it("needs no variables: what stands in for them has a form that modules take", function()
        local result = plan [[
            local cfg = env.require { BUCKET = { public = true }, PROJECT_NAME = { public = true }, HOST = { public = true },
                OPS_MAIL = { public = true, format = "email" }, REPOSITORY = { public = true }, KEY = {} }
            local bucket = require("rollout.s3").bucket { bucket = cfg.BUCKET, access_key = cfg.KEY, secret_key = cfg.KEY }
            local app = require("rollout.docker").compose { project = cfg.PROJECT_NAME }
            local code = require("rollout.github").repository(cfg.REPOSITORY, { token = cfg.KEY })
            local web = require("rollout.ssh").host("deploy@" .. cfg.HOST)
            local mail = require("rollout.email").server { url = "smtps://" .. cfg.HOST, from = cfg.OPS_MAIL }
            gate("all", function() return { expect("files", bucket:list()):exists(), app:healthy(), code:merged(4) } end)
            step("tell", function() web:run { "true" } mail:send { to = cfg.OPS_MAIL, subject = "s", text = "t" } end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("unset%-project%-name", result.out)
    end)
end)
