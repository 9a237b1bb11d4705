-- Render's API for a service "srv-shop", in the shapes of https://api-docs.render.com/reference (list-deploys, create-deploy,
-- retrieve-deploy, rollback-deploy, list-env-vars).
local stand_in = require "spec.world.stand_in"

local M = {}

--- → the stand-in, with deploys (the newest first), variables = { { key, value }, … }; `ends` is how a new one ends.
function M.start(token)
    local self
    local count = 0

    local function add(trigger, commit)
        count = count + 1
        local deploy = { id = "dep-" .. count, status = "build_in_progress", trigger = trigger, createdAt = "2026-11-20T12:00:00Z",
            commit = { id = commit or "newest", message = "a change", createdAt = "2026-11-20T11:00:00Z" } }
        table.insert(self.deploys, 1, deploy)
        return deploy
    end

    local function live(deploy)
        for _, other in ipairs(self.deploys) do
            other.status = other.status == "live" and "deactivated" or other.status
        end
        deploy.status = "live"
    end

    local function find(id)
        for _, deploy in ipairs(self.deploys) do
            if deploy.id == id then
                return deploy
            end
        end
    end

    self = stand_in.start(function(request)
        local path = request.path:match "^/services/srv%-shop(/.*)$"
        if request.headers.authorization ~= "Bearer " .. token then
            return 401, { id = "e1", message = "Unauthorized" }
        elseif path == "/deploys" and request.method == "GET" then
            local list = setmetatable({}, { __jsontype = "array" })
            for i, deploy in ipairs(self.deploys) do
                list[i] = { deploy = deploy, cursor = "c" .. i }
            end
            return 200, list
        elseif path == "/env-vars" then
            local list, from = setmetatable({}, { __jsontype = "array" }), tonumber(request.query.cursor or 0)
            for i = from + 1, math.min(#self.variables, from + tonumber(request.query.limit or 20)) do
                list[#list + 1] = { envVar = self.variables[i], cursor = tostring(i) }
            end
            return 200, list
        elseif path == "/deploys" then
            return 201, add("api", request.json.commitId)
        elseif path == "/rollback" then
            local to = find(request.json.deployId)
            if not to then
                return 404, { id = "e2", message = "not found" }
            end
            return 201, add("rollback", to.commit.id)
        end
        local deploy = path and find(path:match "^/deploys/(.+)$")
        if not deploy then
            return 404, { id = "e2", message = "not found" }
        elseif deploy.status == "build_in_progress" then
            if self.ends == "live" then
                live(deploy)
            else
                deploy.status = self.ends
            end
        end
        return 200, deploy
    end)
    self.deploys, self.variables, self.ends, self.add = {}, {}, "live", add
    live(add("new_commit", "old"))
    return self
end

return M
