-- A server that leaves its intermediate certificate out was told as an authority that this machine does not know: the way out was
-- at the wrong end.
local t = require "spec.helper"

local MAKE = [[
set -e
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new -days 9 -subj /CN=root -keyout root.key -out root.pem
openssl req $new -subj /CN=between -keyout between.key -out between.csr
printf 'basicConstraints=critical,CA:TRUE\n' > between.ext
openssl x509 -req -in between.csr -CA root.pem -CAkey root.key -CAcreateserial -days 9 -extfile between.ext -out between.pem
openssl req $new -subj /CN=leaf -keyout leaf.key -out leaf.csr
printf 'subjectAltName=DNS:localhost\n' > leaf.ext
openssl x509 -req -in leaf.csr -CA between.pem -CAkey between.key -CAcreateserial -days 9 -extfile leaf.ext -out leaf.pem
cat leaf.pem between.pem > whole.pem
]]

it("a chain that is not whole is the server's to mend", function()
    local folder = t.temp()
    local made = t.run { "sh", "-c", MAKE, cwd = folder }
    assert.equal(0, made.code, made.err)
    local SERVER = "server { listen 127.0.0.1:$port%d ssl; ssl_certificate %s; ssl_certificate_key %s/leaf.key; "
        .. "location / { return 200 ok; } }\n"
    local server = t.nginx { http = SERVER:format(1, folder .. "/leaf.pem", folder)
        .. SERVER:format(2, folder .. "/whole.pem", folder) }
    local function get(n)
        return t.body(('return require "rollout.http".get("https://localhost:%d/", { ca = "%s/root.pem" }).status'):format(
            server.ports[n], folder))
    end
    assert.equal(200, (get(2)))
    local _, problem = get(1)
    assert.equal("tls", problem.code)
    assert.matches("the authority (CN=between) that signed the certificate of CN=leaf", problem.message, 1, true)
    assert.matches("let the server send it: it sent its own certificate alone", problem.message, 1, true)
end)
