-- TERP's stand-in world for specs, and rollouts in it.
local t = require "spec.helper"
local json = require "dkjson"

local terp = {}
local world, play = "spec/world/terp/world", "spec/world/terp/play"
local here

function terp.run(command)
    local result = t.run(command)
    assert(result.code == 0, table.concat(command, " ") .. "\n" .. result.out .. result.err)
    return result.out
end

function terp.up(fault)
    here = t.temp() .. "/world"
    t.finally(function() t.run { world, "down", here } end)
    terp.run { world, "up", here, "--fault", fault or "none", timeout = 120 } -- it starts a database server and two applications
end

function terp.folder()
    return here
end

-- A line of the ledger each: { what, where, detail }; `where` is an environment or a channel.
function terp.ledger()
    local list = {}
    for what, where, detail in t.read(here .. "/ledger"):gmatch("[^\t\n]+\t(%w+)\t(%w+)\t([^\n]*)") do
        list[#list + 1] = { what = what, where = where, detail = detail }
    end
    return list
end

function terp.variables(environment)
    local values = {}
    for name, value in terp.run { world, "env", here, environment }:gmatch("([%u_]+)=([^\n]*)") do
        values[name] = value
    end
    return values
end

-- { code, out, err } of the playbook's run; meanwhile(process), if given, is called while it runs.
function terp.rollout(environment, meanwhile)
    local process = t.start { play, here, environment }
    if meanwhile then
        meanwhile(process)
    end
    return process:wait(400)
end

-- What production's first gates want: staging at the release, by hand.
function terp.stage_release()
    local env = terp.variables "staging"
    local given = { PATH = here .. "/bin:" .. os.getenv("PATH"), DATABASE_URL = env.DATABASE_URL,
        RAILWAY_TOKEN = env.RAILWAY_TOKEN }
    terp.run { "git", "-C", env.TERP_CHECKOUT, "checkout", "-q", "v1.5.0" }
    terp.run { here .. "/bin/pnpm", "db:push", cwd = env.TERP_CHECKOUT, env = given }
    terp.run { here .. "/bin/railway", "deploy", "--environment", "staging", cwd = env.TERP_CHECKOUT, env = given }
end

-- What happened in an environment, without messages and orders.
function terp.happened(environment)
    local lines = {}
    for what, where, detail in t.read(here .. "/ledger"):gmatch("[^\t\n]+\t(%w+)\t(%w+)\t([^\n]*)") do
        if where == environment and what ~= "order" then
            lines[#lines + 1] = what .. " " .. detail
        end
    end
    return lines
end

function terp.messages(channel)
    local texts = {}
    for line in t.read(here .. "/slack.jsonl"):gmatch("[^\n]+") do
        local message = json.decode(line)
        if message.channel == channel then
            texts[#texts + 1] = message.text
        end
    end
    return table.concat(texts, "\n---\n")
end

-- Sessions come and go with every login.
function terp.fingerprint()
    return (terp.run { world, "fingerprint", here, "production" }:gsub("sessions [^\n]*\n", ""))
end

function terp.version()
    return json.decode(terp.run { "curl", "-s", terp.variables("production").API_URL .. "/version" }).version
end

-- { NAME = value } of an environment's variables that are secret.
function terp.secrets(environment)
    local env = terp.variables(environment)
    local secrets = { PASSWORD = env.DATABASE_URL:match ":([^:@]+)@" }
    for _, name in ipairs { "ADMIN_TOKEN", "SMOKE_PASSWORD", "STAGING_SMOKE_PASSWORD", "RAILWAY_TOKEN", "CI_TOKEN",
        "SLACK_TEAM_URL", "SLACK_STAKEHOLDERS_URL" } do
        secrets[name] = env[name]
    end
    return secrets
end

-- The state folder of its runs.
function terp.state()
    return here .. "/state"
end

function terp.assert_hidden(text, where)
    for name, value in pairs(terp.secrets "production") do
        assert(not text:find(value, 1, true), name .. " stands in " .. where)
    end
end

-- A customer's order, through the application.
function terp.order()
    terp.run { world, "order", here, "production" }
end

-- True if no file of the state folder holds the text.
function terp.unknown_to_state(text)
    local result = t.run { "grep", "-rqF", "-e", text, here .. "/state" } -- a token may begin with a dash
    assert(result.code < 2, result.err)
    return result.code == 1
end

return terp
