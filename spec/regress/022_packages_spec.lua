-- A package (of MariaDB's Oracle mode) was in the archive, and neither compared nor swapped: after a restore it was what the
-- migration had made of it, and the proof did not see it.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local function package(answer)
    return ([[SET sql_mode = ORACLE;
DELIMITER //
CREATE OR REPLACE PACKAGE pack AS FUNCTION answer RETURN INT; END; //
CREATE OR REPLACE PACKAGE BODY pack AS FUNCTION answer RETURN INT AS BEGIN RETURN %d; END; END; //
DELIMITER ;
]]):format(answer)
end

describe("a package of MariaDB's", function()
    local server, url

    before_each(function()
        server = t.mariadb()
        server:sql("CREATE TABLE orders (id int);" .. package(1), "app")
        url = server:url()
    end)

    for _, mode in ipairs { "swap", "in_place" } do
        for what, change in pairs { changed = package(2), dropped = "SET sql_mode = ORACLE; DROP PACKAGE pack",
            added = package(1):gsub("pack ", "more ") } do
            it("comes back: " .. mode .. ", " .. what, function()
                local backup, problem = play.body(url, ([[return { made = db:dump { to = %q, keep_scratch = false },
                    before = db:fingerprints() }]]):format(t.temp()))
                assert.is_nil(problem and problem.message)
                assert.is_string(backup.before.objects["package body pack"])
                server:sql(change, "app")
                assert.not_same(backup.before, play.body(url, "return db:fingerprints()"))
                local _, failed = play.body(url, ([[db:restore(db:backups { folder = %q }[1], { mode = %q, loses = 10 })]])
                    :format(backup.made.path:match("^(.*)/"), mode))
                assert.is_nil(failed and failed.message)
                assert.same(backup.before, play.body(url, "return db:fingerprints()"))
                assert.equal("1", server:sql("SET sql_mode = ORACLE; SELECT pack.answer()", "app"))
            end)
        end
    end
end)
