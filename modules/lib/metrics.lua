-- metrics: an application's error rate and latency, compared with what they were before the rollout.
local _, rt = ...
local http = require "rollout.http"

local metrics = {}

local Source = {}
Source.__index = Source

-- Below one error in a hundred requests a rise says more about the number of requests than about the release.
local ERROR_FLOOR = 0.01
-- Below 200 ms nobody notices a rise, and a busy machine makes one by itself.
local LATENCY_FLOOR = 200

--- A JSON endpoint that answers { requests, error_rate, p95_ms, … } over `window`.
function metrics.source(url, window)
    return setmetatable({ url = url, window = window }, Source)
end

function Source:measure()
    local told = http.get(self.url, { query = { window = self.window }, expect = 200 }).json
    if type(told) ~= "table" and not rt.is_unknown(told) then -- a proxy's page, say: it is no news of the application
        rt.raise("protocol", ("%s answered 200, but with no metrics in JSON"):format(tostring(self.url)))
    end
    return told
end

--- Expectations: error rate and latency have not risen by more than `allowed` = { errors = "5%", latency = "50%" }
--- above `base`, which measure() returned before the rollout.
function Source:rises_at_most(allowed, base)
    local now = self:measure()
    return {
        expect("error rate", now.error_rate):rises_at_most(allowed.errors, base.error_rate, { floor = ERROR_FLOOR }),
        expect("p95 latency in ms", now.p95_ms):rises_at_most(allowed.latency, base.p95_ms, { floor = LATENCY_FLOOR }),
        expect("requests measured", now.requests):at_least(1),
    }
end

return metrics
