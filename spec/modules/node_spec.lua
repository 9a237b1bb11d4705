local t = require "spec.helper"
local npm = require "spec.world.npm"

describe("node", function()
    local folder

    before_each(function()
        npm.here()
        folder = t.temp()
        t.write(folder .. "/app/package.json", [[{ "name": "app", "version": "1.0.0", "scripts": {
            "lint": "echo fine", "test": "node -e 'process.exit(3)'", "build": "echo built > built",
            "loud": "node -e 'console.log(process.env.WORD); process.exit(2)'" } }]])
    end)

    local function play(body, options)
        options = options or {}
        options.folder, options.state = folder, t.temp()
        return t.play(([[
            local node, sh = require "rollout.node", require "rollout.sh"
            playbook "spec" { environments = { "test" } }
            local app = node.project { manager = "npm", cwd = "app", env = { WORD = "heard", npm_config_offline = "true" } }
            %s
        ]]):format(body), options)
    end

    local function gate(check)
        local run = play(('gate("it", function() return %s end)'):format(check))
        for _, event in ipairs(run.events) do
            if event.type == "check" then
                return event.payload.expectations[1].verdict, event.payload.text
            end
        end
        error(run.out .. run.err)
    end

    it("runs scripts, and sees their failures", function()
        local run = play 'step("it", function() return app:run("build").code end)'
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("built\n", t.read(folder .. "/app/built"))
        local _, problem = t.outcome(play 'step("it", function() app:run "test" end)')
        assert.equal(3, problem.detail.code)
        assert.equal("pass", (gate 'app:check "lint"'))
        assert.equal("fail", (gate 'app:check "test"'))
        assert.equal("fail", (gate 'app:check "nothing"'))
    end)

    it("keeps what a script printed, also where it failed", function()
        local run = play 'step("it", function() return app:logged("loud", "loud.log") end)'
        local _, problem = t.outcome(run)
        assert.matches("`npm run loud` exited with 2; what it printed is in loud.log", problem.message)
        assert.matches("heard", t.read(folder .. "/loud.log"))
    end)

    it("runs the project's own tools, and fetches none", function()
        t.write(folder .. "/app/node_modules/.bin/tool", "#!/bin/sh\necho \"tool $1\" >told\n", "755")
        assert.equal(0, play('step("it", function() app:exec { "tool", "generate" } end)').code)
        assert.equal("tool generate\n", t.read(folder .. "/app/told"))
        local _, problem = t.outcome(play 'step("it", function() app:exec { "tool-that-is-not-there" } end)')
        assert.matches("exited with 1", problem.message)
    end)

    it("installs what the lock file says, or not at all", function()
        local _, problem = t.outcome(play 'step("it", function() app:install() end)')
        assert.matches("`npm ci  %(in app%)` exited with 1", problem.message)
        t.write(folder .. "/app/package-lock.json", [[{ "name": "app", "version": "1.0.0", "lockfileVersion": 3,
            "requires": true, "packages": { "": { "name": "app", "version": "1.0.0" } } }]])
        local run = play 'step("it", function() app:install() end)'
        assert.equal(0, run.code, run.out .. run.err)
    end)

    it("holds coverage against limits", function()
        local verdict, text = gate "app:coverage { lines = '80%' }"
        assert.equal("unknown", verdict)
        assert.matches("json%-summary", text)
        t.write(folder .. "/app/coverage/coverage-summary.json",
            [[{ "total": { "lines": { "total": 10, "pct": 85.5 }, "branches": { "total": 10, "pct": 60 } } }]])
        assert.equal("pass", (gate "app:coverage { lines = '80%' }"))
        verdict, text = gate "app:coverage { branches = '70%', lines = '80%' }"
        assert.equal("fail", verdict)
        assert.matches("coverage of branches is 60%%", text)
        assert.not_equal("pass", (gate "app:coverage { functions = '1%' }"))
    end)
end)
