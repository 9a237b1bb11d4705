-- From a user without TRIGGER, or without any right on routines, MariaDB hides triggers and procedures, and mariadb-dump leaves
-- them out: the backup was "verified", and lacked them.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a MariaDB user from whom something is hidden", function()
    local server

    setup(function()
        server = t.mariadb()
        server:sql([[CREATE TABLE orders (id int); CREATE TABLE audit (id int); INSERT INTO orders VALUES (1);
            CREATE TRIGGER ordered BEFORE INSERT ON orders FOR EACH ROW SET new.id = 5; CREATE PROCEDURE report() SELECT 1;
            CREATE ROLE backups; GRANT SELECT, TRIGGER, EVENT, EXECUTE, SHOW VIEW ON app.* TO backups]], "app")
    end)

    local folder

    -- What became of a dump, or of a restore from `folder`, by a user with these rights, besides those that each needs.
    local function dump(grants)
        server:sql("DROP USER IF EXISTS few@'127.0.0.1', few@localhost")
        for _, host in ipairs { "127.0.0.1", "localhost" } do
            local user = "few@'" .. host .. "'"
            server:sql("CREATE USER " .. user .. " IDENTIFIED BY 'few-password'; GRANT RELOAD ON *.* TO " .. user
                .. "; GRANT ALL ON `rh\\_%`.* TO " .. user .. "; " .. grants:gsub("USER", user))
        end
        return play.body(("mysql://few:few-password@127.0.0.1:%d/app"):format(server.port),
            folder and ("return db:restore(db:backups { folder = %q }[1])"):format(folder)
            or ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
    end

    it("can restore none in the place of what is there", function()
        folder = t.temp()
        local _, failed = play.body(server:url(), ("return db:dump { to = %q, keep_scratch = false }"):format(folder))
        assert.is_nil(failed and failed.message)
        local _, problem = dump "GRANT SELECT, EVENT, EXECUTE, INSERT, CREATE, DROP, ALTER ON app.* TO USER"
        folder = nil
        assert.equal("privileges", problem.code, problem.message)
        assert.matches("GRANT TRIGGER ON `app`.*", problem.message, 1, true)
    end)

    for grants, missing in pairs {
        ["GRANT SELECT, EVENT, EXECUTE ON app.* TO USER"] = "GRANT TRIGGER ON `app`.*",
        ["GRANT SELECT, EVENT, TRIGGER ON app.* TO USER"] = "GRANT EXECUTE ON `app`.*",
        ["GRANT SELECT ON app.orders TO USER; GRANT EVENT, TRIGGER, EXECUTE ON app.* TO USER"] = "GRANT SELECT ON `app`.*",
        ["GRANT SELECT ON app.* TO USER"] = "GRANT TRIGGER, EVENT, EXECUTE ON `app`.*",
        ["GRANT SELECT, TRIGGER, EVENT, EXECUTE ON `ap_`.* TO USER; GRANT SELECT ON mysql.proc TO USER"] = false,
        ["GRANT SELECT ON *.* TO USER; GRANT TRIGGER, EVENT ON app.* TO USER"] = "GRANT EXECUTE ON `app`.*",
        ["GRANT ALL ON app.* TO USER; GRANT SELECT ON mysql.* TO USER"] = false,
        ["GRANT backups TO USER; SET DEFAULT ROLE backups FOR USER; GRANT SELECT ON mysql.proc TO USER"] = false,
        ["GRANT SELECT, EVENT, TRIGGER ON app.* TO USER; GRANT SELECT ON mysql.proc TO USER"] = false,
    } do
        it((missing and "is told what shows it: " or "is no user with: ") .. grants:gsub(" TO USER", ""), function()
            local backup, problem = dump(grants)
            if missing then
                assert.equal("privileges", problem and problem.code, problem and problem.message)
                assert.matches(missing, problem.message, 1, true)
            else
                assert.not_equal("privileges", problem and problem.code, problem and problem.message)
                assert.is_true(problem == nil and backup.verified or problem.message:find("SET USER", 1, true) ~= nil,
                    problem and problem.message)
            end
        end)
    end
end)
