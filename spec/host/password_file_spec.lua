-- What keeps passwords in files takes a command's standard input for one: no password in argv, environment or on disk.
local postgres = require "spec.world.postgres"
local t = require "spec.helper"

describe("a command's input as PostgreSQL's password file", function()
    it("is read by psql, and by each process of pg_dump -j and pg_restore -j", function()
        local server = postgres.start()
        server:sql("CREATE TABLE a AS SELECT generate_series(1, 20000) n; CREATE TABLE b AS TABLE a; "
            .. "ALTER TABLE a OWNER TO app; ALTER TABLE b OWNER TO app; CREATE DATABASE copy OWNER app")
        local program = postgres.programs()
        local value, problem, result = t.body(([[
            local password = secret "PASSWORD"
            local tools = sh.with { env = { PGPASSFILE = "/dev/fd/0", PGHOST = "127.0.0.1", PGPORT = "%d", PGUSER = "app" } }
            local function with(command) command.stdin = "*:*:*:*:" .. password .. "\n" return tools.run(command) end
            with { "%s/pg_dump", "-w", "-Fd", "-j2", "-f", "dump", "app" }
            with { "%s/pg_restore", "-w", "-j2", "-d", "copy", "dump" }
            return { counted = with({ "%s/psql", "-w", "-Atc", "select count(*) from b", "copy" }).out,
                without = tools.run({ "%s/psql", "-w", "-Atc", "select 1", "copy", ok = 2 }).err }
        ]]):format(server.port, program, program, program, program), { env = { PASSWORD = server.password } })
        assert.is_table(value, problem and problem.message)
        assert.equal("20000\n", value.counted)
        assert.matches("no password supplied", value.without, 1, true)
        assert.equal("", t.run({ "grep", "-rF", server.password, result.folder }).out)
    end)
end)
