-- bluegreen: site:first is for where there is no file yet; it wrote over somebody else's, and over a rollout's where the other one
-- was live.
local t = require "spec.helper"

it("the first file of a site takes nobody's place", function()
    local folder = t.temp()
    local path = folder .. "/live.conf"
    local function first(color)
        return t.body(([[
            local site = require "rollout.bluegreen".nginx { config = "live.conf", test = { "true" }, reload = { "true" },
                colors = { blue = "http://127.0.0.1:1", green = "http://127.0.0.1:2" } }
            return site:first(%q).live
        ]]):format(color), { folder = folder, state = t.temp() })
    end
    t.write(path, "server { listen 80; }\n")
    assert.equal("not_ours", select(2, first "blue").code)
    assert.equal("server { listen 80; }\n", t.read(path))
    os.remove(path)
    assert.equal("blue", (first "blue"))
    assert.equal("blue", (first "blue"))
    local _, problem = first "green"
    assert.equal("not_ours", problem and problem.code)
    assert.matches('blue is live: site:switch("green") changes that', problem.message, 1, true)
    assert.matches("default blue;", t.read(path))
end)
