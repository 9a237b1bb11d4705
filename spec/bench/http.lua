-- Sequential GETs on one connection, in a check, so that the journal has no part in it.
local bench = require "spec.bench.bench"
local nginx = require "spec.world.nginx"

local server = nginx.start { http = 'server { listen 127.0.0.1:$port1; access_log off; location / { return 200 "hello\\n"; } }' }
local url = ("http://127.0.0.1:%d/"):format(server.ports[1])
local COUNT = 1000

local playbook = ([[
local http = require "rollout.http"
playbook "http" { environments = { "bench" } }
gate("gets", { timeout = "5m" }, function()
    local total = 0
    for _ = 1, %d do total = total + #http.get(%q).body end
    return expect("bytes", total):equals(%d)
end)
]]):format(COUNT, url, COUNT * 6)
bench.compare("a GET of 1000", 5, bench.play("http", playbook),
    { bench.build .. "/bench/http_floor", tostring(COUNT), url }, { each = COUNT })
