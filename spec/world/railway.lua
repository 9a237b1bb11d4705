-- Railway's public API for one service, in the shapes of https://docs.railway.com/integrations/api/manage-deployments (GraphQL).
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"

local M = {}

--- → the stand-in, with deployments (the newest first); `ends` is how a new one ends.
function M.start(token)
    local self
    local count = 0

    local function add(commit)
        count = count + 1
        local node = { id = "dep-" .. count, status = "BUILDING", createdAt = "2026-11-20T12:00:00Z", canRollback = true,
            meta = { commitHash = commit or "newest" } }
        table.insert(self.deployments, 1, node)
        return node
    end

    local function live(node)
        for _, other in ipairs(self.deployments) do
            other.status = other.status == "SUCCESS" and "REMOVED" or other.status
        end
        node.status = "SUCCESS"
    end

    local function find(id)
        for _, node in ipairs(self.deployments) do
            if node.id == id then
                return node
            end
        end
    end

    self = stand_in.start(function(request)
        local query, given = request.json.query, request.json.variables
        if request.headers["project-access-token"] ~= token then
            return 200, { errors = { { message = "Not Authorized" } }, data = json.null }
        elseif query:find "deployments%(" then
            local edges = setmetatable({}, { __jsontype = "array" })
            for i, node in ipairs(self.deployments) do
                edges[i] = { node = node }
            end
            return 200, { data = { deployments = { edges = edges } } }
        elseif query:find "serviceInstanceDeployV2" then
            return 200, { data = { serviceInstanceDeployV2 = add(given.commit).id } }
        elseif query:find "deploymentRollback" then
            local to = find(given.id)
            if not to then
                return 200, { errors = { { message = "Deployment not found" } }, data = json.null }
            end
            add(to.meta.commitHash)
            return 200, { data = { deploymentRollback = true } }
        end
        local node = find(given.id)
        if node and node.status == "BUILDING" then
            if self.ends == "SUCCESS" then
                live(node)
            else
                node.status = self.ends
            end
        end
        return 200, { data = { deployment = node } }
    end)
    self.deployments, self.ends, self.add = {}, "SUCCESS", add
    live(add "old")
    return self
end

return M
