-- railway: deployments by the Railway CLI. What is active is asked, never assumed, so that going back twice is going
-- back once.
local sh, json = require "rollout.sh", require "rollout.json"

local railway = {}

local Service = {}
Service.__index = Service

--- One environment's service: { environment = "production", token = secret, cwd = checkout }. Nothing runs yet.
function railway.service(options)
    return setmetatable({
        environment = options.environment,
        cli = sh.with { cwd = options.cwd, env = { RAILWAY_TOKEN = options.token } },
    }, Service)
end

--- { environment, release, deployment, previous, deployed_at }: what is active now.
function Service:status()
    local told = self.cli.read { "railway", "status", "--environment", self.environment, "--json" }
    return json.decode(told.out)
end

--- Deploys what is checked out and returns the status after it.
function Service:deploy()
    self.cli.run { "railway", "deploy", "--environment", self.environment, timeout = "10m" }
    return self:status()
end

--- The release that is to be deployed, if it is active already: a step's `done`.
function Service:runs(release)
    local status = self:status()
    return status.release == release and status
end

--- Goes back to `release` if another one is active; fails if something else became active.
function Service:back_to(release)
    if self:status().release ~= release then
        self.cli.run { "railway", "rollback", "--environment", self.environment, timeout = "10m" }
    end
    local status = self:status()
    if status.release ~= release then
        fail(("railway rolled %s back to %s, not to %s"):format(self.environment, status.release, release))
    end
    return status
end

--- The lines of the active deployment's log that contain `text`, newest last; { since = seconds }.
function Service:log(text, options)
    local argv = { "railway", "logs", "--environment", self.environment, "--filter", text }
    if options and options.since then
        argv[#argv + 1], argv[#argv + 2] = "--since", options.since
    end
    local lines = {}
    for line in self.cli.read(argv).out:gmatch("[^\n]+") do
        lines[#lines + 1] = line
    end
    return lines
end

return railway
