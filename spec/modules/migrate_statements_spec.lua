-- A file of SQL as statements: what ends one, and what only looks like it.
local statements = dofile "modules/lib/migrate_statements.lua"

local function split(sql, kind)
    local list = {}
    for i, statement in ipairs(statements.split(sql, kind or "pg")) do
        list[i] = statement.line .. " " .. statement.text
    end
    return list
end

describe("statements of a file", function()
    it("end at a semicolon, the last one also without, and begin at their line", function()
        assert.same({ "1 SELECT 1", "3 SELECT\n2" }, split "SELECT 1;\n\nSELECT\n2\n")
        assert.same({ "1 SELECT 1", "1 SELECT 2" }, split "SELECT 1;SELECT 2;;\n ; ")
        assert.same({}, split "  -- nothing;\n/* ; */ ")
    end)

    it("lose the comments before them, and the mark of the file's encoding", function()
        assert.same({ "3 SELECT 1 -- why" }, split "\239\187\191-- a;\n/* b; /* nested; */ ; */\nSELECT 1 -- why\n")
        assert.same({ "2 SELECT 1" }, split("# a;\nSELECT 1", "mysql"))
        assert.same({ "1 /*!50003 SET x = 1; */" }, split("/*!50003 SET x = 1; */", "mysql"))
    end)

    it("may hold semicolons in texts and names", function()
        for _, sql in ipairs { "SELECT 'a;''b;'", [[SELECT "a;""b"]], "SELECT E'a\\';b'", "SELECT $$a;b$$", "SELECT $x$a;$$;b$x$",
            "SELECT 'a\\'", "SELECT a /* ; */ - 1", "SELECT 1 -- ;\n + 2" } do
            assert.equal("1 " .. sql, split(sql .. "; SELECT 2")[1])
            assert.equal(2, #split(sql .. "; SELECT 2"))
        end
        for _, sql in ipairs { [[SELECT 'a\';b']], [[SELECT "a\";b"]], "SELECT `a;``b`", "SELECT 1 -- ;\n + 2", "SELECT 2--1" } do
            assert.equal("1 " .. sql, split(sql .. ";\nSELECT 2", "mysql")[1])
        end
    end)

    it("may be the body of a function", function()
        local plpgsql = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$\nBEGIN\n RETURN 1;\nEND;\n$body$"
        assert.same({ "1 " .. plpgsql, "6 SELECT 1" }, split(plpgsql .. ";\nSELECT 1"))
        local atomic = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"
        assert.same({ "1 " .. atomic, "1 SELECT 3" }, split(atomic .. "; SELECT 3"))
    end)

    it("may have another end, as MariaDB's client takes it", function()
        local body = "CREATE PROCEDURE p() BEGIN\nSELECT 1; SELECT 2;\nEND"
        assert.same({ "2 " .. body, "6 SELECT 3" }, split("DELIMITER //\n" .. body .. "//\nDELIMITER ;\nSELECT 3;", "mysql"))
    end)

    it("are not lost where a text is never closed", function()
        assert.same({ "1 SELECT 'a; SELECT 2" }, split "SELECT 'a; SELECT 2")
        assert.same({ "1 SELECT $$a; SELECT 2" }, split "SELECT $$a; SELECT 2")
    end)
end)
