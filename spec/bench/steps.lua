-- One durable step, a thousand of them, and going over thousands that are recorded.
local bench = require "spec.bench.bench"
local process = require "spec.world.process"

local HEADER = 'playbook "bench" { environments = { "bench" } }\n'

local one = 'local sh = require "rollout.sh"\n' .. HEADER .. 'step("true", function() sh.run { "/bin/true" } end)\n'
bench.compare("start, one durable step, exit", 51, bench.play("one", one), bench.floor("once", bench.folder .. "/once"),
    { times = 3, under = 6 })

local thousand = 'local sh = require "rollout.sh"\n' .. HEADER
    .. 'for i = 1, 1000 do step("step " .. i, function() sh.run { "/bin/true" } end) end\n'
bench.compare("a durable step of 1000", 3, bench.play("thousand", thousand),
    { "/bin/sh", "-c", 'rm -f "$2"*; exec "$1" steps 1000 "$2"', "floor", bench.build .. "/bench/floor",
        bench.folder .. "/steps" }, { times = 1.5, each = 1000 })
bench.compare("    floor: bash, without a trace of it", 3, bench.play("thousand", thousand),
    { "/bin/bash", "-c", "for i in {1..1000}; do /bin/true; done" }, { each = 1000 })

-- A gate that fails stops the run; resumed, it goes over all that is recorded and fails again.
for _, count in ipairs { 2500, 5000, 10000 } do
    local playbook = HEADER .. ('for i = 1, %d do step("step " .. i, function() return i end) end\n'):format(count)
        .. 'gate("open", function() return expect("open", 0):above(1) end)\n'
    local play = bench.play("resume" .. count, playbook)
    play.timeout = 300
    local first = process.run(play)
    assert(first.code == 1, first.out .. first.err)
    local state = bench.folder .. "/state-resume" .. count
    local journal = process.run { "/bin/sh", "-c", "echo " .. state .. "/runs/*/journal.db" }.out:gsub("\n", "")
    bench.compare(("resume over %d recorded steps"):format(count), 5, { bench.host, "resume", "--state", state },
        bench.floor("read", journal), { status = 1, under = count == 10000 and 500 or nil })
end
