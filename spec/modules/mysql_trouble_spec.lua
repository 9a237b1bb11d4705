-- Bad input and bad luck around a backup: what is refused, what is survived.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a backup", function()
    local server

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        local names = server:sql([[SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN
            ('mysql', 'information_schema', 'performance_schema', 'sys')]])
        for name in names:gmatch "[^\n]+" do
            server:sql("SET foreign_key_checks = 0; DROP DATABASE `" .. name:gsub("`", "``") .. "`")
        end
        server:sql("CREATE DATABASE app CHARACTER SET utf8mb4")
    end)

    local function body(text, options)
        return play.body(options and options.url or server:url(), ("local F = %q\n"):format(t.temp()) .. text, options)
    end

    local function value(text, options)
        local found, problem = body(text, options)
        assert.is_nil(problem and problem.code .. ": " .. problem.message)
        return found
    end

    local THERE_AND_BACK = [[
        local backup, before = db:dump { to = F }, db:fingerprints()
        local restored = db:restore(backup, { loses = 1000 })
        local after = db:fingerprints()
        return { before = before, after = after, from = restored.from }
    ]]

    local function there_and_back(url)
        local found = value(THERE_AND_BACK, { url = url })
        assert.same(found.before, found.after)
        return found
    end

    it("of an empty database is one where that is meant", function()
        local empty = value [[
            local backup = db:dump { to = F, empty = true }
            db:exec "CREATE TABLE later (id INT)"
            local restored = db:restore(backup)
            local count = db:value "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
            return { tables = backup.tables, count = count, kept = restored.kept }
        ]]
        assert.equal(0, empty.tables)
        assert.equal(0, empty.count)
        assert.matches("^later\nrollouthost_%x+$", server:sql("SHOW TABLES", empty.kept))
    end)

    it("holds names with spaces, quotes, upper case and other scripts", function()
        server:sql([[CREATE TABLE `Ünï "quoted" ``tick`` 'x' $1` (`Säule 1` INT, `select` TEXT, `a;b -- c` INT);
            INSERT INTO `Ünï "quoted" ``tick`` 'x' $1` VALUES (1, 'x', 2);
            CREATE TABLE `表格` (`列` INT PRIMARY KEY); INSERT INTO `表格` VALUES (1); CREATE TABLE UPPER_Case (Id INT);
            CREATE VIEW `v; "w"` AS SELECT `列` FROM `表格`;
            CREATE TRIGGER `t r'g` BEFORE INSERT ON `表格` FOR EACH ROW SET new.`列` = new.`列`]], "app")
        local found = there_and_back()
        assert.equal(1, found.after.tables["表格"].rows)
        server:sql "CREATE DATABASE `Größe 'q' 数据`; CREATE TABLE `Größe 'q' 数据`.t (id INT)"
        there_and_back(server:url((("Größe 'q' 数据"):gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))))
    end)

    it("holds every encoding", function()
        for i, charset in ipairs { "latin1", "gbk", "sjis", "ucs2", "utf16", "utf32", "koi8r", "big5", "binary", "utf8mb3" } do
            server:sql(([[CREATE TABLE e%d (id INT, x VARCHAR(50) CHARACTER SET %s) CHARACTER SET %s;
                INSERT INTO e%d VALUES (1, _ascii 'plain'), (2, NULL), (3, '')]]):format(i, charset, charset, i), "app")
        end
        server:sql("INSERT INTO e1 VALUES (4, 'é'); INSERT INTO e2 VALUES (4, '酒'); INSERT INTO e6 VALUES (4, '🍷');"
            .. "INSERT INTO e9 VALUES (4, x'00ff8027220a0d5c')", "app")
        there_and_back()
        assert.equal("🍷", server:sql("SELECT x FROM e6 WHERE id = 4", "app"))
    end)

    it("needs no particular password", function()
        local password = [[ !"#$%&'()*+,-./0:;<=>?@A[\]^_`a{|}~ä€ # ]]
        server:sql("DROP USER IF EXISTS special; CREATE USER special IDENTIFIED BY '"
            .. password:gsub("[\\']", "%0%0") .. "'; GRANT ALL ON *.* TO special WITH GRANT OPTION; CREATE TABLE app.t (id INT)")
        local encoded = password:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
        there_and_back(("mysql://special:%s@127.0.0.1:%d/app"):format(encoded, server.port))
    end)

    it("is not made of what production forbids to destroy", function()
        server:sql("CREATE TABLE t (id INT); INSERT INTO t VALUES (1)", "app")
        for _, sql in ipairs { "TRUNCATE TABLE t", "truncate t", "DROP DATABASE app", "/* x */ DROP SCHEMA app" } do
            local result = t.play(([[
                local mysql = require "rollout.mysql"
                playbook "spec" { environments = { "production" } }
                local db = mysql.database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
                step("it", function() db:exec %q end)
                step("tx", function() db:exec %q end)
            ]]):format(sql, sql), { env = { DATABASE_URL = server:url() } })
            local _, problem = t.outcome(result)
            assert.equal("destructive", problem.code, sql)
        end
        assert.equal("1", server:sql("SELECT COUNT(*) FROM t", "app"))
    end)

    it("is none where the disk is full, and nothing is left", function()
        server:sql([[CREATE TABLE big (id INT PRIMARY KEY, x VARCHAR(2000));
            INSERT INTO big SELECT seq, REPEAT(HEX(RANDOM_BYTES(32)), 20) FROM seq_1_to_4000; ANALYZE TABLE big]], "app")
        local folder = t.temp()
        local path = t.playbook(([[
            local mysql = require "rollout.mysql"
            playbook "spec" { environments = { "test" } }
            local db = mysql.database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
            step("it", function() return db:dump { to = %q } end)
        ]]):format(folder .. "/small/backups"))
        local function try(size, fill)
            local script = ('mkdir -p "%s/small" && mount -t tmpfs -o size=%s none "%s/small" || exit 99; %s; '
                .. '"%s" "%s" --output plain; code=$?; find "%s/small" -type f ! -name fill; exit $code'):format(folder, size,
                folder, fill or "true", t.binary, path, folder)
            return t.run { "unshare", "-m", "sh", "-c", script, env = { DATABASE_URL = server:url(),
                ROLLOUTHOST_STATE = t.temp(), PATH = os.getenv "PATH" }, timeout = 60 }
        end
        local before = try "2m" -- seen before anything is begun
        if before.code == 99 or before.err:find "unshare" then
            pending("this machine gives no mount namespace: " .. before.err)
            return
        end
        assert.equal(1, before.code)
        assert.matches("may need %d+ MiB, and .+ has %d+ MiB free", before.out)
        -- somebody else fills it meanwhile
        local meanwhile = try("20m", ([[{ (while ! ls "%s/small/backups/"*.partial; do sleep 0.01; done;
            head -c 19500k /dev/zero >"%s/small/fill") >/dev/null 2>&1 & }]]):format(folder, folder))
        assert.equal(1, meanwhile.code, meanwhile.out)
        assert.is_nil(meanwhile.out:find("/small/backups/", 1, true) and meanwhile.out:match "\n[^\n]+/small/backups/[^\n]+\n$")
        assert.equal("0", server:sql [[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end)

    it("is swapped in while clients come and go, and none of them is refused", function()
        server:sql("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t SELECT seq FROM seq_1_to_100", "app")
        local clients = t.start { "bash", "-c", ([[
            for i in $(seq 400); do
                mariadb --no-defaults -BN --user=root --socket=%s app -e 'SELECT COUNT(*) FROM t' || echo failed
            done]]):format(server.socket) }
        t.eventually("clients come", function() return clients.out:find "100" end, 20)
        there_and_back()
        assert.is_nil(clients.code)
        clients:kill()
        clients:wait()
        assert.is_nil((clients.out .. clients.err):find "failed", clients.err)
    end)
end)
