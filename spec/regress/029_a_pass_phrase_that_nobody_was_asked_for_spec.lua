-- A client's key with a pass phrase had OpenSSL ask for it at the run's terminal: the whole host stood still, timeouts and all.
local t = require "spec.helper"

it("a key with a pass phrase is an error, also at a terminal", function()
    local certs = t.certificates()
    local folder = t.temp()
    local made = t.run { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "1",
        "-subj", "/CN=me", "-keyout", folder .. "/locked.pem", "-out", folder .. "/me.pem", "-passout", "pass:sesame-opens" }
    assert.equal(0, made.code, made.err)
    local server = t.nginx { http = ([[
        server { listen 127.0.0.1:$port1 ssl; ssl_certificate %s; ssl_certificate_key %s; location / { return 200 "ok"; } }
    ]]):format(certs.good.cert, certs.good.key) }
    local path = t.playbook(([[
        local http = require "rollout.http"
        playbook "spec" { environments = { "test" } }
        step("it", function()
            return http.get("https://localhost:%d/", { ca = %q, client = { cert = %q, key = %q }, timeout = "10s" }).status
        end)
    ]]):format(server.ports[1], certs.ca, folder .. "/me.pem", folder .. "/locked.pem"), "spec", folder)
    local run = t.start { "script", "-qec", ("%s %s --state %s/state"):format(t.binary, path, folder), "/dev/null", cwd = folder,
        env = { NO_COLOR = "1" } }
    t.eventually("its end", function() return run.code end, 30)
    assert.equal(1, run.code, run.out)
    assert.matches("a key without a pass phrase", run.out:gsub("%s+", " "), 1, true)
end)
