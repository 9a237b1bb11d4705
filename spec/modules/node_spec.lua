local dkjson = require "dkjson"
local stand_in = require "spec.world.stand_in"
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
            local node, fs = require "rollout.node", require "rollout.fs"
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

    it("starts what goes on running, until its stage ends", function()
        t.write(folder .. "/app/package.json", [[{ "name": "app", "version": "1.0.0", "scripts": {
            "dev": "node -e 'require(\"fs\").writeFileSync(\"pid\", String(process.pid)); setInterval(() => {}, 1000)'" } }]])
        local run = play [[
            stage("Local", function()
                step("start", function() app:start "dev" end)
                gate("it runs", { within = "30s", every = "100ms" }, function()
                    return expect("its pid", fs.exists "app/pid" and fs.read "app/pid" or nil):exists()
                end)
            end)
            gate("it is gone", { within = "30s", every = "100ms" }, function()
                return expect("it is there", fs.exists("/proc/" .. fs.read "app/pid")):equals(false)
            end)
        ]]
        assert.equal(0, run.code, run.out .. run.err)
    end)

    describe("audit", function()
        local registry, advisories

        -- Its answers are npm's and pnpm's: https://docs.npmjs.com/cli/v10/commands/npm-audit#audit-endpoints
        before_each(function()
            advisories = {}
            registry = stand_in.start(function(request)
                local named = request.path:match "^/(%w+)$"
                if named then
                    return 200, { name = named, ["dist-tags"] = { latest = "1.0.0" },
                        versions = { ["1.0.0"] = { name = named, version = "1.0.0" } } }
                end
                return 200, advisories
            end)
            local packages = { [""] = { name = "app", version = "1.0.0", dependencies = { lodash = "1.0.0" } } }
            for name, dev in pairs { lodash = false, minimist = true } do
                packages["node_modules/" .. name] = { version = "1.0.0", dev = dev or nil, integrity = "sha512-aaaa",
                    resolved = registry.url .. "/" .. name .. "-1.0.0.tgz" }
            end
            packages[""].devDependencies = { minimist = "1.0.0" }
            t.write(folder .. "/app/package.json", dkjson.encode(packages[""]))
            t.write(folder .. "/app/package-lock.json", dkjson.encode { name = "app", version = "1.0.0", lockfileVersion = 3,
                requires = true, packages = packages })
        end)

        local function audit(words, url)
            local body = ([[
                app = node.project { manager = "npm", cwd = "app",
                    env = { npm_config_registry = %q, npm_config_fetch_retries = "0" } }
                gate("it", function() return app:audit(%s) end)]]):format(url or registry.url, words)
            local run = play(body)
            for _, event in ipairs(run.events) do
                if event.type == "check" then
                    return event.payload.verdict .. " " .. event.payload.text
                end
            end
            error(run.out .. run.err)
        end

        local function advisory(severity)
            return { { id = 1, url = "https://example.com/1", title = "Spoils it", severity = severity,
                vulnerable_versions = "<2" } }
        end

        it("names the packages, and leaves out what is less severe", function()
            assert.equal("pass vulnerabilities, critical: none", audit '"critical"')
            advisories = { lodash = advisory "high", minimist = advisory "critical" }
            assert.equal("fail vulnerabilities, critical: critical: minimist", audit '"critical"')
            assert.equal("fail vulnerabilities, high or worse: critical: minimist; high: lodash", audit '"high"')
        end)

        it("leaves out what only development needs", function()
            advisories = { minimist = advisory "critical" }
            assert.equal("pass vulnerabilities, low or worse: none", audit '"low", { production = true }')
        end)

        it("takes no answer for unknown", function()
            local said = audit('"critical"', "http://127.0.0.1:" .. t.free_port())
            assert.matches("^unknown vulnerabilities, critical: `npm audit %-%-json` does not tell: .*ECONNREFUSED", said)
        end)
    end)
end)
