-- Rows written while the first question stood: the second try of the swap could not look into the scratch that the first had
-- closed, and the rollback was stuck with "database rh_restore_… is not currently accepting connections".
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

describe("a restore that is asked about twice", function()
    local server

    setup(function()
        server = t.postgres()
    end)

    -- It asks about the row that its own step has written; and again, about the one that comes before the answer.
    local function restore(options)
        local host, state = play.start(server:url(), ("(function() local backup = db:dump { to = %q, %s }"
            .. " db:exec \"INSERT INTO nokey VALUES (5, 'x')\" return db:restore(backup) end)()"):format(t.temp(), options))
        for asked = 1, 2 do
            t.eventually("question " .. asked, function()
                return select(2, host.out:gsub('"approve.begin"', "")) == asked
            end, 30)
            if asked == 1 then
                server:sql "INSERT INTO nokey VALUES (6, 'while they think')"
            end
            t.eventually("answer " .. asked, function() -- it is printed a moment before it is on disk
                return t.host { "approve", t.list(state .. "/runs")[1], state = state }.code == 0
            end)
        end
        assert.equal(0, host:wait(60).code, host.out .. host.err)
        return host.out
    end

    for from, options in pairs { archive = "keep_scratch = false", scratch = "keep_scratch = true" } do
        it("is swapped in from the " .. from .. " at the second try, and says why it asks again", function()
            play.fresh(server, play.SHOP)
            local out = restore(options)
            assert.matches("1 more than the 1 that", out)
            assert.matches('"from":"' .. from, out)
            assert.equal("10", server:sql "SELECT count(*) FROM nokey")
            assert.not_equal("", play.kept(server))
        end)
    end
end)
