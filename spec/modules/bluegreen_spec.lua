local nginx = require "spec.world.nginx"
local t = require "spec.helper"

describe("bluegreen", function()
    local folder, server, blue, green

    local function application(name)
        return t.serve(function(client, bytes)
            if bytes then
                client:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#name, name))
            end
        end)
    end

    -- nginx as a service runs it, with a master that reloads; `apps` in place of the two colours.
    before_each(function()
        folder = t.temp()
        blue, green = application "blue app", application "green app"
        t.write(folder .. "/live.conf", "# rollouthost: blue is live.\nupstream backend { server 127.0.0.1:" .. blue
            .. "; }\nmap $host $backend_color { default blue; }\n")
        server = nginx.start { master = true, http = "include " .. folder .. [[/live.conf;
            server { listen 127.0.0.1:$port1; add_header X-Color $backend_color always;
                location / { proxy_pass http://backend; } }]] }
    end)

    local function play(body, extra)
        local base = ('"-p", %q, "-c", %q, "-e", %q'):format(server.folder,
            server.folder .. "/nginx.conf", server.folder .. "/error.log")
        return t.play(([[
            local bluegreen, http, fs = require "rollout.bluegreen", require "rollout.http", require "rollout.fs"
            playbook "spec" { environments = { "test" } }
            local public = "http://127.0.0.1:%d/"
            local site = bluegreen.nginx { config = %q, colors = { blue = "http://127.0.0.1:%d", green = "http://127.0.0.1:%d" },
                verify = { url = public }, within = "3s", test = { "nginx", "-t", "-q", %s },
                reload = { "nginx", "-s", "reload", %s }, %s }
            %s
        ]]):format(server.ports[1], folder .. "/live.conf", blue, green, base, base, extra or "", body),
            { env = { PATH = os.getenv "PATH" .. ":/usr/sbin" } })
    end

    local function served()
        return t.run({ "curl", "-s", "http://127.0.0.1:" .. server.ports[1] .. "/" }).out
    end

    local RELEASE = [[
        site:release("deploy", { hold = "1s", every = "300ms",
            up = function(color) fs.write("up-" .. color, "x") end, down = function(color) fs.write("down-" .. color, "x") end,
            smoke = function(url) return http.check(url .. "/", { body = "app" }) end, %s })]]

    it("brings up, tries, switches, holds and stops the old one", function()
        assert.equal("blue app", served())
        local run = play(RELEASE:format "")
        assert.equal(0, run.code, run.out .. run.err)
        assert.equal("green app", served())
        assert.is_true(t.exists(run.folder .. "/up-green") and t.exists(run.folder .. "/down-blue"))
        assert.is_false(t.exists(run.folder .. "/down-green") or t.exists(run.folder .. "/up-blue"))
        run = play [[step("it", function()
            return { site:live(), site:idle(), site:is("green").verdict, site:is("blue").verdict } end)]]
        assert.same({ "green", "blue", "pass", "fail" }, run.ended.it.value)
    end)

    it("switches back when what comes after goes wrong", function()
        local run = play(RELEASE:format "check = function(color) return http.check(public, { body = 'purple' }) end")
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("blue app", served())
        assert.is_true(t.exists(run.folder .. "/down-green"))
        run = play(RELEASE:format "" .. '\nstep("more", function() fail "no" end)')
        assert.equal(3, run.code)
        assert.equal("blue app", served())
        assert.is_true(t.exists(run.folder .. "/up-blue"))
    end)

    it("switches nothing where the new one does not answer", function()
        local run = play(((RELEASE:format ""):gsub('url .. "/", { body = "app"', 'url .. "/", { body = "nothing"'):gsub("hold =",
            'within = "1s", hold =')))
        assert.equal(3, run.code, run.out .. run.err)
        assert.equal("blue app", served())
    end)

    it("puts back what was there when nginx refuses the file, or does not take it up", function()
        local before = t.read(folder .. "/live.conf")
        for extra, pattern in pairs {
            ['extra = "no_such_directive;"'] = "no_such_directive",
            ['name = "other"'] = 'host not found in upstream "backend"',
        } do
            local _, problem = t.outcome(play('step("it", function() site:switch "green" end)', extra))
            assert.equal("switch", problem.code)
            assert.matches(pattern, problem.message, 1, true)
            assert.matches("is as it was", problem.message, 1, true)
            assert.equal(before, t.read(folder .. "/live.conf"))
            assert.equal("blue app", served())
        end
    end)

    it("does not touch a file that is not its own", function()
        t.write(folder .. "/live.conf", "upstream backend { server 127.0.0.1:1; }\n")
        local _, problem = t.outcome(play 'step("it", function() site:switch "green" end)')
        assert.equal("not_ours", problem.code)
        assert.equal("upstream backend { server 127.0.0.1:1; }\n", t.read(folder .. "/live.conf"))
    end)

    it("switches traefik by its file, and asks it", function()
        local shown = "http://127.0.0.1:1"
        local api = t.serve(function(client, bytes)
            if bytes then -- the shape of GET /api/http/services/{name}, doc.traefik.io/traefik/operations/api
                local body = '{"loadBalancer":{"servers":[{"url":"' .. shown .. '"}],"passHostHeader":true},"status":"enabled",'
                    .. '"name":"backend@file","provider":"file","type":"loadbalancer"}'
                client:write(("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                    .. "Connection: close\r\n\r\n%s"):format(#body, body))
            end
        end)
        local function outcome(body)
            return t.outcome(t.play(([[
                local bluegreen = require "rollout.bluegreen"
                playbook "spec" { environments = { "test" } }
                local site = bluegreen.traefik { config = %q, colors = { blue = "http://10.0.0.1:1", green = "http://10.0.0.2:2" },
                    api = "http://127.0.0.1:%d", within = "600ms" }
                step("it", function() %s end)]]):format(folder .. "/dynamic.yml", api, body)))
        end
        shown = "http://10.0.0.1:1"
        assert.equal("blue", outcome('return site:first "blue"').live)
        local before = t.read(folder .. "/dynamic.yml")
        local _, problem = outcome 'return site:switch "green"'
        assert.matches("green has not got the traffic within 600ms: it shows http://10.0.0.1:1", problem.message, 1, true)
        assert.equal(before, t.read(folder .. "/dynamic.yml"))
        shown = "http://10.0.0.2:2"
        assert.equal("green", outcome('return site:switch "green"').live)
        local told = require("dkjson").decode((t.read(folder .. "/dynamic.yml"):gsub("^#[^\n]*\n", "")))
        assert.equal("http://10.0.0.2:2", told.http.services.backend.loadBalancer.servers[1].url)
    end)
end)
