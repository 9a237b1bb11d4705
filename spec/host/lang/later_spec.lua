-- What a file brings that is loaded later stands in host/lang/later.lua; without that it would be nil until then.
local files = require "spec.world.files"

describe("a file of the language that is loaded when it is used", function()
    local later = files.read "host/lang/later.lua"

    for file in later:gmatch "(%w+) = { \"" do
        it("is announced with all that it brings: " .. file, function()
            local text = files.read(("host/lang/%s.lua"):format(file))
            for name in text:gmatch "\nfunction engine%.([%w_]+)" do
                assert.matches('"' .. name .. '"', later)
            end
            for name in text:gmatch 'engine%.verb%("([%w_]+)"' do
                assert.matches('"' .. name .. '"', later)
            end
        end)
    end
end)
