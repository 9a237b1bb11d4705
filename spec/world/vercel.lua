-- Vercel's API for a project "shop", in the shapes of https://vercel.com/docs/rest-api (deployments/create-a-new-deployment,
-- deployments/get-a-deployment-by-id-or-url, projects/find-a-project-by-id-or-name, aliases,
-- projects/retrieve-the-environment-variables-of-a-project-by-id-or-name).
local stand_in = require "spec.world.stand_in"

local M = {}

--- → the stand-in, with deployments by id, live, aliases, variables = { { key, value, target }, … };
--- `ends` is the state in which a new deployment ends.
function M.start(token)
    local self
    local deployments, count = {}, 0

    local function add(given)
        count = count + 1
        local id = "dpl_" .. count
        deployments[id] = { id = id, url = ("shop-%d.vercel.app"):format(count), readyState = "READY", target = given.target,
            meta = { githubCommitSha = given.commit or "c" .. count, rollouthost = given.meta and given.meta.rollouthost } }
        return deployments[id]
    end

    local function find(name)
        for id, one in pairs(deployments) do
            if id == name or one.url == name then
                return one
            end
        end
    end

    self = stand_in.start(function(request)
        local method, path = request.method, request.path
        if request.headers.authorization ~= "Bearer " .. token then
            return 403, { error = { code = "forbidden", message = "Not authorized" } }
        end
        local verb
        local id = path:match "^/v13/deployments/([^/]+)$"
        if id then
            local one = find(id)
            if not one then
                return 404, { error = { code = "not_found", message = "Deployment not found" } }
            end
            local told = {}
            for key, value in pairs(one) do told[key] = value end
            one.readyState = one.readyState == "BUILDING" and self.ends or one.readyState
            if one.readyState == "READY" and one.target == "production" and one.fresh then
                one.fresh, self.live = nil, one.id
            end
            return 200, told
        elseif path == "/v13/deployments" and method == "POST" then
            local one = add(request.json)
            one.readyState, one.fresh, one.errorMessage = "BUILDING", true, self.ends == "ERROR" and "Build failed" or nil
            return 200, one
        elseif path == "/v6/deployments" then
            local list = setmetatable({}, { __jsontype = "array" })
            for _, one in pairs(deployments) do
                if one.meta.rollouthost == request.query["meta-rollouthost"] then
                    list[#list + 1] = { uid = one.id, url = one.url, state = one.readyState, meta = one.meta, target = one.target }
                end
            end
            return 200, { deployments = list, pagination = { count = #list } }
        elseif path == "/v10/projects/shop/env" then
            return 200, { envs = self.variables }
        elseif path == "/v9/projects/shop" then
            return 200, { id = "prj_1", name = "shop", targets = { production = self.live and deployments[self.live] or nil } }
        end
        verb, id = path:match "^/v%d+/projects/prj_1/(%l+)/([^/]+)$"
        if verb and deployments[id] then
            self.live = id
            return verb == "rollback" and 201 or 202, ""
        end
        id = path:match "^/v2/deployments/([^/]+)/aliases$"
        if id and deployments[id] then
            local before = self.aliases[request.json.alias]
            self.aliases[request.json.alias] = id
            return 200, { uid = "als_1", alias = request.json.alias, created = "2026-11-20T12:00:00Z", oldDeploymentId = before }
        end
        local alias = path:match "^/v4/aliases/(.+)$"
        if alias and self.aliases[alias] then
            return 200, { uid = "als_1", alias = alias, deploymentId = self.aliases[alias] }
        end
        return 404, { error = { code = "not_found", message = "not found" } }
    end)
    self.variables = setmetatable({}, { __jsontype = "array" })
    self.deployments, self.aliases, self.ends = deployments, {}, "READY"
    add { target = "production", commit = "old" }
    self.live = "dpl_1"
    return self
end

return M
