-- What a module of modules/lib does was blamed on a line of that module, which the operator has never seen.
local t = require "spec.helper"

local PLAY = [[
local http, s3 = require "rollout.http", require "rollout.s3"
playbook "demo" { environments = { "test" } }
%s
]]

describe("what a module in Lua does", function()
    it("is blamed on the playbook's line", function()
        local run = t.play(PLAY:format [[s3.bucket { bucket = "b", region = 7 }]])
        assert.equal(2, run.code, run.out .. run.err)
        assert.matches("%.lua:3", run.err .. run.out)
        assert.not_matches("modules/lib/s3", run.err .. run.out)
    end)
end)
