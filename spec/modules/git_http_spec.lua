local G = require "spec.modules.git_play"
local t = require "spec.helper"

-- A server that wants credentials whatever it is given; returns its URL and what it was asked.
local function locked_server()
    local asked = {}
    local port = t.serve(function(client, bytes)
        if bytes then
            asked[#asked + 1] = bytes
            client:write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n"
                .. "Connection: close\r\n\r\n", function() client:close() end)
        end
    end)
    return ("http://127.0.0.1:%d/x.git"):format(port), asked
end

describe("git over http", function()
    local w, url, asked

    before_each(function()
        w = G.world()
        url, asked = locked_server()
        w:git(w.work, "remote", "set-url", "origin", url)
    end)

    it("asks nobody for a password", function()
        local problem = w:fails("remote", [[repo:fetch()]], { env = { GIT_ASKPASS = false, SSH_ASKPASS = "/bin/echo" } })
        assert.matches("refuses us", problem.message, 1, true)
        assert.equal(1, #asked) -- and does not try what a prompt for ssh would have printed
        w:fails("remote", ([[git.clone(%q, "x")]]):format(url), { env = { GIT_ASKPASS = false } })
    end)

    it("takes credentials from the user's helper, and tokens from env", function()
        w:git(w.work, "config", "credential.helper", "!printf 'username=dana\\npassword=from-the-helper\\n' #")
        w:fails("remote", [[repo:fetch()]])
        assert.matches("Basic " .. "ZGFuYTpmcm9tLXRoZS1oZWxwZXI=", asked[#asked], 1, true)
        local problem, result = w:fails("remote", [[
            git.repo(repo.path, { env = { GIT_CONFIG_COUNT = "1", GIT_CONFIG_KEY_0 = "http.extraHeader",
                GIT_CONFIG_VALUE_0 = "Authorization: Bearer " .. secret "TOKEN" } }):remote_ref "main"]],
            { env = { TOKEN = "a-token-of-the-spec" } })
        assert.matches("Authorization: Bearer a-token-of-the-spec", table.concat(asked), 1, true)
        assert.not_matches("a-token", problem.message, 1, true)
        assert.equal("", t.run({ "grep", "-rlF", "a-token-of-the-spec", result.state .. "/runs" }).out)
    end)

    it("says that a remote answers with what is no git", function()
        local port = t.serve(function(client, bytes)
            if bytes then
                local page = "<html>\n<title>Please log in to the guest network</title>\n</html>\n"
                client:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#page, page),
                    function() client:close() end)
            end
        end)
        w:git(w.work, "remote", "set-url", "origin", ("http://127.0.0.1:%d/x.git"):format(port))
        w:fails("remote", [[repo:fetch()]])
        w:fails("remote", [[repo:push "main"]])
    end)
end)
