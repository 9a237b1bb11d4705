-- For the migrate specs: a playbook that backs a real database up and migrates it. `text` stands in a stage; `db` is the
-- database, `backup` what was made of it (nil where it holds no table).
local t = require "spec.helper"
local uv = require "luv"

local play = {}

local PLAYBOOK = [[
local %s, migrate, fs, sh = require "rollout.%s", require "rollout.migrate", require "rollout.fs", require "rollout.sh"
playbook "spec" { environments = { "test", { "production", protected = true } } }
local cfg = env.require { DATABASE_URL = { format = %q } }
local db = %s.database(cfg.DATABASE_URL)
local result = stage("Migrate", function()
    local backup = step("back up", { when = %s }, function() return db:dump { to = "backups/" .. run.id } end)
    rollback("restore", function() step("restore it", function() return %s end) end)
%s
end)
return result
]]

local function command(url, text, options)
    options.env = options.env or {}
    options.env.DATABASE_URL = url
    options.timeout = options.timeout or 120 -- npm's tools are slow, and not alone on the machine
    local module = url:find("^mysql") and "mysql" or "pg"
    local format = module == "pg" and "postgresql" or "mysql"
    options[#options + 1], options[#options + 2] = "--env", options.environment or "test"
    return PLAYBOOK:format(module, module, format, module, options.empty and "false" or "true",
        options.restore and "db:restore(backup)" or "true", text), options
end

-- Runs it: what t.play returns, and `result` of the step `migrate`, `problem` (the innermost error) of the first unit that
-- failed, `failed` (its key). options: those of t.play, environment, empty = true (no backup), restore = true (what is
-- rolled back is restored; else the database is left as it is, to be looked at)
function play.run(url, text, options)
    return play.read(t.play(command(url, text, options or {})))
end

-- What `rollouthost plan` says.
function play.plan(url, text, options)
    local playbook, all = command(url, text, options)
    local path = t.playbook(playbook, nil, all.folder)
    return t.host { "plan", path, "--env", "test", cwd = all.folder, env = all.env }
end

-- Starts it: { host, state, folder, env }.
function play.start(url, text, options)
    local playbook, all = command(url, text, options)
    local path, folder = t.playbook(playbook, nil, all.folder)
    local run = { folder = folder, state = folder .. "/state", env = all.env }
    run.host = t.start_host { path, "--output", "json", "--env", "test", cwd = folder, env = all.env, state = run.state }
    return run
end

function play.resume(run)
    return play.read(t.digest_events(t.host { "resume", "--output", "json", cwd = run.folder, env = run.env, state = run.state,
        timeout = 120 }))
end

local function is_alive(pid)
    local stat = io.open("/proc/" .. pid .. "/stat")
    local state = stat and stat:read("a"):match("%) (%a)")
    if stat then
        stat:close()
    end
    return state and state ~= "Z"
end

-- What a power failure leaves of a run: nothing alive, neither host nor guardian nor command.
function play.kill_all(run)
    local folder = run.state .. "/runs/"
    local ledger = t.read(folder .. t.list(folder)[1] .. "/spool/ledger")
    local pids = { run.host.pid, tonumber(ledger:match("guardian (%d+)")) }
    for pid in ledger:gmatch("pid %S+ (%d+)") do
        pids[#pids + 1] = tonumber(pid)
    end
    for i, pid in ipairs(pids) do
        if is_alive(pid) then
            uv.kill(i > 2 and -pid or pid, "sigkill")
        end
    end
    for _, pid in ipairs(pids) do
        t.eventually("it is gone", function() return not is_alive(pid) end)
    end
    run.host:wait()
end

-- A database `app` with clients(id, name) and one row.
function play.fresh(server)
    if server.superuser then
        server:sql("DROP DATABASE app WITH (FORCE)", "postgres")
        server:sql("CREATE DATABASE app OWNER app", "postgres")
        server:sql("SET ROLE app; CREATE TABLE clients (id INT PRIMARY KEY, name TEXT); INSERT INTO clients VALUES (1, 'a')")
    else
        server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql("CREATE TABLE clients (id INT PRIMARY KEY, name TEXT); INSERT INTO clients VALUES (1, 'a')", "app")
    end
end

-- "id,name"
function play.columns(server, name)
    return (server:sql(("SELECT column_name FROM information_schema.columns WHERE table_schema IN ('app', 'public')"
        .. " AND table_name = '%s' ORDER BY ordinal_position"):format(name), "app"):gsub("\n", ","))
end

-- The innermost error of the first unit that failed.
function play.read(result)
    for _, event in ipairs(result.events) do
        if event.type == "step.end" or event.type == "gate.end" then
            if event.key == "Migrate/migrate" and event.type == "step.end" then
                result.step = event.payload
                result.result = event.payload.value
            end
            if event.payload.status == "failed" and not result.problem then
                local problem = event.payload.error
                while problem.cause do
                    problem = problem.cause
                end
                result.problem, result.failed = problem, event.key
            end
        end
    end
    result.said = result.problem and result.failed .. ": " .. result.problem.message or result.err .. result.out:sub(-1000)
    return result
end

return play
