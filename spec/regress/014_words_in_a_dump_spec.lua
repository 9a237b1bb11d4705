-- A plain dump could run programs on this machine (\!), and leave the scratch for the live database (\c); and a line of a text
-- that begins like CREATE DATABASE was left out of it.
local t = require "spec.helper"
local pg_play = require "spec.modules.pg_backup_play"
local mysql_play = require "spec.modules.mysql_play"

describe("a plain dump of PostgreSQL's", function()
    local server

    setup(function()
        server = t.postgres()
    end)

    before_each(function()
        pg_play.fresh(server, "CREATE TABLE notes (line text);"
            .. " INSERT INTO notes VALUES (E'one\nDROP DATABASE two\n\\\\restrict'), ('x')")
    end)

    local function dump(insert)
        local text = t.run { "pg_dump", "--inserts", server:url() }.out:gsub("\\u?n?restrict %w+\n", "")
        text = text:gsub("\nCREATE TABLE", "\n" .. (insert or "") .. "%0", 1)
        return t.write(t.temp() .. "/own.sql", text)
    end

    local function restore(path)
        return pg_play.body(server:url(), ("return db:restore(%q, { loses = 10 })"):format(path))
    end

    it("cannot run a program, nor go to another database", function()
        local made = t.temp() .. "/made"
        for _, word in ipairs { "\\! touch " .. made, "COMMIT; \\c app\nDELETE FROM notes;",
            "\\connect app\nDELETE FROM notes;" } do
            local value, problem = restore(dump(word))
            assert.is_nil(value, word)
            assert.equal("load", problem.code)
            assert.matches("backslash commands are restricted", problem.message)
        end
        assert.is_false(t.exists(made))
        assert.equal("2", server:sql "SELECT count(*) FROM notes")
    end)

    it("keeps each line of its texts", function()
        local path = dump()
        server:sql "DELETE FROM notes"
        local value, problem = restore(path)
        assert.is_nil(problem and problem.message)
        assert.equal(2, value.rows)
        assert.equal("one|DROP DATABASE two|\\restrict", (server:sql "SELECT line FROM notes WHERE line <> 'x'":gsub("\n", "|")))
    end)
end)

describe("a plain dump of MariaDB's", function()
    it("cannot run a program, nor go to another schema", function()
        local server = t.mariadb()
        server:sql("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)", "app")
        local text = t.run { "mariadb-dump", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app" }.out
            :gsub("^/%*M![^\n]*\n", "")
        local made = t.temp() .. "/made"
        for _, word in ipairs { "\\! touch " .. made, "system touch " .. made, "USE app; DELETE FROM orders;",
            "\\u app\nDELETE FROM orders;" } do
            local path = t.write(t.temp() .. "/own.sql", (text:gsub("\nDROP TABLE", "\n" .. word .. "\nDROP TABLE", 1)))
            local value = mysql_play.body(server:url(), ("return db:restore(%q, { loses = 10 })"):format(path))
            assert.is_nil(value, word)
        end
        assert.is_false(t.exists(made))
        assert.equal("1", server:sql("SELECT count(*) FROM orders", "app"))
    end)
end)
