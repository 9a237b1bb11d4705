-- redis: "at most 80 % of maxmemory" passed on a server that has no maxmemory, which nothing stops from taking all there is.
local redis = require "spec.world.redis"
local t = require "spec.helper"

it("a share of memory is unknown where there is no limit", function()
    local server = redis.start()
    local check, problem = t.body(('return require "rollout.redis".server(%q):check { memory = "80%%" }'):format(server.url))
    assert.equal("unknown", check and check.verdict, problem and problem.message)
    assert.matches("it has no maxmemory", check.text)
end)
