-- maintenance: an application's maintenance switch behind two endpoints, URL/enable and URL/disable.
local http = require "rollout.http"

local maintenance = {}

local Switch = {}
Switch.__index = Switch

--- The switch at `url`, opened with `token`: GET answers { enabled }, POST URL/enable and URL/disable set it.
function maintenance.switch(url, token)
    return setmetatable({ url = url, token = token }, Switch)
end

-- Switching twice is switching once, so an interrupted request may be sent again.
local function set(self, verb)
    return http.post(self.url .. "/" .. verb, { bearer = self.token, expect = 200, idempotent = true,
        retry = { times = 5, backoff = "1s" } }).json
end

function Switch:enable() return set(self, "enable") end
function Switch:disable() return set(self, "disable") end

--- An expectation: maintenance is on (or off).
function Switch:is(enabled)
    return http.check(self.url, { bearer = self.token, json = { path = "enabled", equals = enabled } })
end

return maintenance
