-- For the benches: rows of the table, files, and commands run in turns.
local files = require "spec.world.files"
local process = require "spec.world.process"
local uv = require "luv"

local bench = { rows = {}, folder = files.temp() }

bench.build = assert(uv.fs_realpath(os.getenv("ROLLOUTHOST_BUILD") or "build"))
bench.host = bench.build .. "/rollouthost"

--- A row: what, ours, floor (both in `unit`; the floor may be nil), and the aims that there are: `times` the floor, `under`.
function bench.row(row)
    bench.rows[#bench.rows + 1] = row
    local aims, over = {}, false
    if row.times then
        aims[#aims + 1] = ("%g×"):format(row.times)
        over = row.ours > row.times * row.floor
    end
    if row.under then
        aims[#aims + 1] = ("≤ %g %s"):format(row.under, row.unit)
        over = over or row.ours > row.under
    end
    print(("%-50s %10.2f %-4s %10s %8s   %-20s %s"):format(row.what, row.ours, row.unit,
        row.floor and ("%.2f"):format(row.floor) or "", row.floor and ("%.2f×"):format(row.ours / row.floor) or "",
        table.concat(aims, ", "), #aims == 0 and "" or over and "over" or "ok"))
end

function bench.write(name, text)
    return files.write(bench.folder .. "/" .. name, text)
end

--- Runs both commands in turns, `count` times each: medians in ms, wall clock and CPU. `ours` ends with `status` (0).
function bench.race(count, ours, least, status)
    local command = { bench.build .. "/bench/race", tostring(count), tostring(status or 0), cwd = bench.folder, timeout = 600 }
    for _, list in ipairs { ours, { "--" }, least } do
        table.move(list, 1, #list, #command + 1, command)
    end
    local result = process.run(command)
    if result.code ~= 0 then
        error(table.concat(command, " ") .. ": " .. result.err, 0)
    end
    local wall, cpu, floor_wall, floor_cpu = result.out:match("(%d+) (%d+)\n(%d+) (%d+)")
    return { wall = wall / 1000, cpu = cpu / 1000 }, { wall = floor_wall / 1000, cpu = floor_cpu / 1000 }
end

--- A race as two rows: wall clock, with the aims, and CPU time.
function bench.compare(what, count, ours, least, aims)
    local us, floor = bench.race(count, ours, least, aims.status)
    local each = aims.each or 1
    bench.row { what = what, ours = us.wall / each, floor = floor.wall / each, unit = "ms", times = aims.times,
        under = aims.under }
    bench.row { what = "    of which CPU", ours = us.cpu / each, floor = floor.cpu / each, unit = "ms" }
end

--- The host with a playbook that stands in the benches' folder, in a state folder of its own.
function bench.play(name, text)
    return { bench.host, bench.write(name .. ".lua", text), "--state", bench.folder .. "/state-" .. name }
end

function bench.floor(...)
    return { bench.build .. "/bench/floor", ... }
end

--- What /proc says of a process: field("status", "VmRSS:%s+(%d+)").
function bench.proc(pid, file, pattern)
    return files.read(("/proc/%d/%s"):format(pid, file)):match(pattern)
end

return bench
