-- GETs one after the other on one connection, in a check, so that the journal has no part in it; many at once; and many
-- places at once.
local bench = require "spec.bench.bench"
local nginx = require "spec.world.nginx"
local process = require "spec.world.process"
local files = require "spec.world.files"
local json = require "dkjson"

local server = nginx.start { http = [[
    server {
        listen 0.0.0.0:$port1;
        access_log off;
        keepalive_requests 1000000;
        location / { return 200 "hello\n"; }
        location /slow { limit_rate 4m; alias $folder/slow; }
    }
]] }
files.write(server.folder .. "/slow", ("x"):rep(400000))
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

-- The host's http.sample as a script: what it returned.
local function sample(options, path)
    local script = bench.write("sample.lua", ([[
        local http, json = require "rollout.http", require "rollout.json"
        io.write(json.encode(http.sample { url = %q, %s }))
    ]]):format(url .. (path or ""), options))
    local result = process.run { bench.host, "lua", script, timeout = 300 }
    assert(result.code == 0, result.err)
    return json.decode(result.out)
end

local function ran(...)
    local result = process.run { timeout = 300, ... }
    assert(result.code == 0, result.err)
    return result.out
end

local function median(list)
    table.sort(list)
    return list[(#list + 1) // 2]
end

local ours, floors = {}, {}
for i = 1, 3 do
    ours[i] = 1e6 / sample("n = 100000, concurrency = 50").rate
    floors[i] = 1e6 / tonumber(ran(bench.build .. "/bench/http_multi_floor", "100000", "50", url))
end
bench.row { what = "http.sample, 50 at once, a request", ours = median(ours), floor = median(floors), unit = "µs", times = 1.25 }

local function in_ms(number, unit)
    return tonumber(number) * ({ us = 0.001, ms = 1, s = 1000 })[unit]
end
-- of answers that take the server about 100 ms, so that neither client's own speed is what is compared
local wrk = ran("wrk", "-t1", "-c10", "-d5s", "--latency", url .. "slow")
local measured = sample('duration = "5s", concurrency = 10', "slow")
for _, percent in ipairs { 50, 90, 99 } do
    bench.row { what = ("its %dth percentile, against wrk's"):format(percent), ours = measured["p" .. percent],
        floor = in_ms(wrk:match(percent .. "%%%s+([%d.]+)(%a+)")), unit = "ms" }
end

local PLACES = 1000
local many = ([[
local http = require "rollout.http"
playbook "many" { environments = { "bench" } }
local branches = {}
for i = 1, %d do
    branches["b" .. i] = function()
        gate("answers", function() return http.check(("http://127.0.%%d.%%d:%d/"):format(i // 250 + 1, i %% 250 + 1)) end)
    end
end
parallel(branches)
]]):format(PLACES, server.ports[1])
bench.compare(("a check of %d in parallel"):format(PLACES), 3, bench.play("many", many),
    { bench.build .. "/bench/http_multi_floor", tostring(PLACES), tostring(PLACES), url }, { each = PLACES })
