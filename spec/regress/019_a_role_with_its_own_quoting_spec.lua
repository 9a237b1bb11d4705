-- A role whose settings have standard_conforming_strings = off, as databases that came from 9.0 do, could make no backup: the
-- statements that ask for the catalog were read otherwise.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

describe("a role with standard_conforming_strings = off", function()
    it("backs up and restores", function()
        local server = t.postgres()
        server:sql("ALTER ROLE app SET standard_conforming_strings = off", "postgres")
        play.fresh(server, play.SHOP)
        local url = server:url()
        local before = play.fingerprints(url)
        local backup = play.value(url, ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
        server:sql("DELETE FROM audit; DELETE FROM users")
        for _, mode in ipairs { "swap", "in_place" } do
            play.value(url, ("return db:restore(%s, { mode = %q, loses = 1000 })"):format(play.lua(backup), mode))
            assert.same(before, play.fingerprints(url))
        end
    end)
end)
