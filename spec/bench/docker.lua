-- Looking at containers in a check, so that the journal has no part in it: by the Engine API on a kept connection, against a
-- request of curl's each time, and what the docker command and compose take for the same.
local bench = require "spec.bench.bench"
local docker = require "spec.world.docker"
local uv = require "luv"

local engine = docker.start()
engine:image("box:1", { 'CMD ["sleep", "3600"]' })
bench.write("docker-compose.yml", 'services: { web: { image: "box:1", stop_grace_period: 0s } }\n')
local up = engine:run { "docker-compose", "-p", "bench", "-f", bench.folder .. "/docker-compose.yml", "up", "-d" }
assert(up.code == 0, up.err)
local name = engine:cli { "ps", "--format", "{{.Names}}" }

local COUNT = 1000

local function playbook(call)
    return ([[
local docker = require "rollout.docker"
playbook "docker" { environments = { "bench" } }
local engine = docker.engine { host = %q }
local app = docker.compose { project = "bench", engine = engine }
local container = engine:container %q
gate("look", { timeout = "5m" }, function()
    for _ = 1, %d do %s end
    return expect("done", 1):equals(1)
end)
]]):format(engine.host, name, COUNT, call)
end

-- One process of curl's asks as often over one connection.
local function curl(path)
    local list = {}
    for i = 1, COUNT do
        list[i] = ('url = "http://docker%s"\noutput = "/dev/null"\n'):format(path)
    end
    return { "/usr/bin/curl", "--silent", "--unix-socket", engine.socket, "--config", bench.write("urls" .. #path,
        table.concat(list)) }
end

bench.compare("a list of containers, of 1000", 5, bench.play("docker-list", playbook "engine:containers()"),
    curl "/containers/json", { each = COUNT, under = 1 })
bench.compare("an inspect of 1000", 5, bench.play("docker-inspect", playbook "container:inspect()"),
    curl("/containers/" .. name .. "/json"), { each = COUNT, under = 1 })
bench.compare("compose ps of 1000", 5, bench.play("compose-ps", playbook "app:ps()"),
    curl "/containers/json?all=1", { each = COUNT, under = 1 })

local function took(command)
    local times = {}
    for i = 1, 5 do
        local begun = uv.hrtime()
        assert(engine:run(table.move(command, 1, #command, 1, {})).code == 0)
        times[i] = (uv.hrtime() - begun) / 1e6
    end
    table.sort(times)
    return times[3]
end

bench.row { what = "the docker command's ps", ours = took { "/usr/bin/docker", "ps" }, unit = "ms" }
bench.row { what = "docker-compose's ps", unit = "ms",
    ours = took { "docker-compose", "-p", "bench", "-f", bench.folder .. "/docker-compose.yml", "ps" } }
