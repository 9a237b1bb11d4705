-- Two hundred damaged archives: each is found before anything is touched. Where checksums were forged to fit, what is loaded is
-- compared with what was backed up: found there, or harmless.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"
local json = require "dkjson"

local SEED, DAMAGES, FORGED = 20261120, 200, 25

-- One damage: a bit, a hole, an end that is missing, two parts that changed places, bytes of somewhere else.
local function damage(text)
    local at, kind = math.random(#text), math.random(5)
    if kind == 1 then
        return text:sub(1, at - 1) .. string.char(text:byte(at) ~ (1 << math.random(0, 7))) .. text:sub(at + 1)
    elseif kind == 2 then
        local size = math.random(200)
        return text:sub(1, at - 1) .. text:sub(at + size)
    elseif kind == 3 then
        return text:sub(1, at - 1)
    end
    local from, size = math.random(#text), math.random(100)
    local part = text:sub(from, from + size)
    if kind == 4 then
        return text:sub(1, at) .. part .. text:sub(at + 1)
    end
    return text:sub(1, at) .. part .. text:sub(at + #part + 1)
end

describe("a damaged archive", function()
    local server, backup, whole, folder

    setup(function()
        server = t.mariadb()
        server:sql([[CREATE TABLE wine (id INT PRIMARY KEY, name VARCHAR(40), price DECIMAL(8,2), cellar INT);
            CREATE TABLE cellar (id INT PRIMARY KEY, place VARCHAR(40));
            INSERT INTO cellar VALUES (1, 'north'), (2, 'south');
            INSERT INTO wine SELECT seq, CONCAT('bottle ', seq), seq / 3, 1 + seq % 2 FROM seq_1_to_40;
            CREATE TRIGGER priced BEFORE INSERT ON wine FOR EACH ROW SET new.price = COALESCE(new.price, 1);
            CREATE VIEW dear AS SELECT * FROM wine WHERE price > 5]], "app")
        folder = t.temp()
        backup = assert(play.body(server:url(), ("return db:dump { to = %q, name = 'b.sql', keep_scratch = false }")
            :format(folder)))
        whole = t.read(backup.path)
        math.randomseed(SEED)
    end)

    local function different()
        local text
        repeat
            text = damage(whole)
        until text ~= whole
        return text
    end

    it("is found by its checksum, two hundred times, and nothing is touched", function()
        for i = 1, DAMAGES do
            t.write(("%s/d%d.sql"):format(folder, i), different())
            t.write(("%s/d%d.sql.manifest.json"):format(folder, i), t.read(backup.manifest))
        end
        local found = assert(play.body(server:url(), ([[
            local found = {}
            for i = 1, %d do
                local ok, err = pcall(db.restore, db, { path = %q .. i .. ".sql", sha256 = %q, manifest_sha256 = %q })
                local code = ok and "restored" or err.code
                found[code] = (found[code] or 0) + 1
            end
            return found
        ]]):format(DAMAGES, folder .. "/d", backup.sha256, backup.manifest_sha256), { timeout = 100 }))
        assert.same({ backup_damaged = DAMAGES }, found)
        assert.equal("0", server:sql [[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end)

    it("with a manifest that was damaged is found, too", function()
        local manifest = t.read(backup.manifest)
        for _ = 1, 10 do
            t.write(folder .. "/b.sql.manifest.json", damage(manifest))
            local value, problem = play.body(server:url(), ("return db:restore { path = %q, sha256 = %q, manifest_sha256 = %q }")
                :format(backup.path, backup.sha256, backup.manifest_sha256))
            if value then -- the damage was none: a part in its own place
                assert.equal(manifest, t.read(backup.manifest))
            else
                assert.equal("backup_damaged", problem.code, problem.message)
            end
        end
        t.write(folder .. "/b.sql.manifest.json", manifest)
    end)

    it("whose checksum was made to fit is found by what it holds, or harmless", function()
        local manifest = json.decode(t.read(backup.manifest))
        local sums = {}
        for i = 1, FORGED do
            local path = ("%s/f%d.sql"):format(folder, i)
            t.write(path, different())
            sums[i] = t.run({ "sha256sum", path }).out:match "^%x+"
            manifest.sha256, manifest.bytes = sums[i], #t.read(path)
            t.write(path .. ".manifest.json", json.encode(manifest))
        end
        local verdicts = assert(play.body(server:url(), ([[
            local verdicts = {}
            for i, sum in ipairs(%s) do
                local name = "copy_" .. i
                local ok, err = pcall(db.restore, db, { path = %q .. i .. ".sql", sha256 = sum }, { into = name })
                verdicts[i] = ok and "restored" or err.code
            end
            return verdicts
        ]]):format("{'" .. table.concat(sums, "','") .. "'}", folder .. "/f"), { timeout = 100 }))
        local harmless = 0
        for i, verdict in ipairs(verdicts) do
            if verdict == "restored" then
                harmless = harmless + 1
                local function sum(name)
                    return server:sql(("CHECKSUM TABLE `%s`.wine, `%s`.cellar"):format(name, name)):gsub(name, "")
                end
                assert.equal((sum "app"), (sum("copy_" .. i)))
            else
                assert(({ load = 1, not_proven = 1, backup_damaged = 1, sql = 1 })[verdict], verdict)
            end
        end
        assert.is_true(harmless < FORGED, "all of them were harmless")
        assert.equal("0", server:sql [[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end)
end)
