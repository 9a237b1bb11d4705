-- A backup that is verified, and its restore, against the documented recipe; and the time for which clients of the
-- database see errors or wait while a restored one is swapped in.
local bench = require "spec.bench.bench"
local files = require "spec.world.files"
local mariadb = require "spec.world.mariadb"
local process = require "spec.world.process"
local uv = require "luv"

local MIB = tonumber(os.getenv("BENCH_MIB") or 200)

local server = mariadb.start { args = { "--innodb-buffer-pool-size=256M" } }
server:sql("CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, customer INT, total DECIMAL(10,2), note VARCHAR(255),"
    .. " at DATETIME, KEY (customer));"
    .. ("INSERT INTO orders (customer, total, note, at) SELECT seq %% 5000, seq / 7, REPEAT(MD5(seq), 6), NOW()"
    .. " FROM seq_1_to_%d;"):format(MIB * 4500), "app")

local function seconds(run)
    local began = uv.hrtime()
    local result = run()
    return (uv.hrtime() - began) / 1e9, result
end

-- What a statement leaves to do in the background would else be on the account of the next.
local function settle()
    server:sql("SET GLOBAL innodb_max_purge_lag_wait = 0")
end

local function play(name, body)
    local command = bench.play(name, [[
local mysql = require "rollout.mysql"
playbook "mysql" { environments = { "bench" } }
local db = mysql.database(env.require { DATABASE_URL = { format = "mysql" } }.DATABASE_URL)
]] .. body)
    settle()
    command.env, command.cwd, command.timeout = { DATABASE_URL = server:url() }, bench.folder, 600
    local took, result = seconds(function() return process.run(command) end)
    assert(result.code == 0, result.out .. result.err)
    return took
end

local login = ("--no-defaults --user=root --socket=%s"):format(server.socket)
local dump = bench.folder .. "/plain.sql"
local function shell(text)
    settle()
    local took, result = seconds(function() return process.run { "/bin/sh", "-ec", text, timeout = 600 } end)
    assert(result.code == 0, result.err)
    return took
end

local plain_dump = shell(("mariadb-dump %s --single-transaction app > %s"):format(login, dump))
local plain_restore = shell(("mariadb %s app < %s"):format(login, dump))
local dumped = play("dump", 'local b = step("back up", { timeout = "9m" }, function() return db:dump { to = "backups" } end)\n'
    .. 'step("keep", function() require("rollout.fs").write("backup.json", require("rollout.json").encode(b)) end)\n')
bench.row { what = ("mysql: dump of %d MiB, and verify it by a restore"):format(MIB), ours = dumped,
    floor = plain_dump + plain_restore, unit = "s" }

-- A client that asks all the time, and leaves the processors to the restore; the longest time between two answers is what a
-- swap costs it.
local questions = bench.write("questions.sql", ("SELECT SYSDATE(6) FROM orders WHERE SLEEP(0.002) = 0 LIMIT 1;\n")
    :rep(200000))
local client = process.start { "/bin/sh", "-c", ("exec mariadb %s --force --unbuffered --skip-column-names app < %s 2>&1")
    :format(login, questions) }
client:wait_for("%d%d:%d%d:%d%d%.%d+", 20)
local restored = play("restore", 'step("bring back", { timeout = "9m" }, function()\n'
    .. '    db:restore(require("rollout.json").decode(require("rollout.fs").read("backup.json")), { loses = 1000000000 })\nend)\n')
client:kill("sigkill")
bench.row { what = "mysql: restore of it, verified, swapped in", ours = restored, floor = plain_restore, unit = "s" }

local last, longest, errors = nil, 0, 0
for line in client.out:gmatch "[^\n]+" do
    local hour, minute, second = line:match("^%S+ (%d+):(%d+):([%d.]+)$")
    if hour then
        local now = hour * 3600 + minute * 60 + second
        longest = math.max(longest, now - (last or now))
        last = now
    else
        errors = errors + 1
    end
end
bench.row { what = ("mysql: longest gap a client sees (%d errors)"):format(errors), ours = longest * 1000, unit = "ms" }
files.remove(dump)
