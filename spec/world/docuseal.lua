-- A DocuSeal as far as a rollout talks to it, in the shapes of https://www.docuseal.com/docs/api
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"

local M = {}

local function array(list)
    return setmetatable(list or {}, { __jsontype = "array" })
end

--- → the stand-in, with templates, submissions by id, mailed = how many were sent
function M.start(token)
    local self
    local submissions, count = {}, 0

    local function submit(given)
        if given.template_id ~= 12 then
            return 404, { error = "Template not found" }
        end
        count = count + 1
        local made = array()
        for i, one in ipairs(given.submitters) do
            made[i] = { id = count * 10 + i, submission_id = count, email = one.email, role = one.role, status = "awaiting",
                external_id = one.external_id }
            self.mailed = self.mailed + (one.send_email and 1 or 0)
        end
        submissions[count] = { id = count, status = "pending", submitters = made, archived_at = json.null }
        return 200, made
    end

    self = stand_in.start(function(request)
        local id = tonumber(request.path:match "^/api/submissions/(%d+)$")
        if request.headers["x-auth-token"] ~= token then
            return 401, { error = "Not authenticated" }
        elseif request.path == "/api/templates" then
            return 200, { data = self.templates, pagination = { count = #self.templates } }
        elseif request.path == "/api/submissions" and request.method == "POST" then
            return submit(request.json)
        elseif request.path == "/api/submitters" then
            local found = array()
            for _, submission in pairs(submissions) do
                for _, one in ipairs(submission.submitters) do
                    found[#found + 1] = one.external_id == request.query.external_id and one or nil
                end
            end
            return 200, { data = found, pagination = { count = #found } }
        elseif not submissions[id] then
            return 404, { error = "Submission not found" }
        elseif request.method == "DELETE" then
            submissions[id].archived_at = "2026-01-01T00:00:00Z"
        end
        return 200, submissions[id]
    end)
    self.templates, self.submissions, self.mailed = array { { id = 12, name = "Proposal" } }, submissions, 0
    return self
end

return M
