-- An archive that was damaged: 200 damages chosen at random. The checksum finds each. Where somebody has made the checksums
-- fit again, the restore fails, or the fingerprints differ, or the damage is harmless: never is something else restored.
local t = require "spec.helper"
local json = require "dkjson"
local play = require "spec.modules.pg_backup_play"

local SEED = tonumber(os.getenv("RH_SEED") or 20261120)
local DAMAGES = 200
local FITTING = tonumber(os.getenv("RH_FITTING") or 40) -- each of these is loaded
local AT_ONCE = 20 -- in one run of the host

describe("a pg archive that was damaged", function()
    local server, url, backup, bytes, manifest, before
    local random

    setup(function()
        server = t.postgres()
        url = server:url()
        play.fresh(server, [[
            CREATE TABLE a (id serial PRIMARY KEY, t text, n numeric, j jsonb);
            INSERT INTO a (t, n, j) SELECT md5(i::text), i / 7.0, jsonb_build_object('k', i) FROM generate_series(1, 400) i;
            CREATE TABLE b (a_id int REFERENCES a, what varchar(40)); CREATE INDEX ON b (what);
            INSERT INTO b SELECT i, 'b' || i FROM generate_series(1, 400) i;
            CREATE VIEW v AS SELECT t, what FROM a JOIN b ON a.id = b.a_id;
            CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1';
            SELECT lo_from_bytea(0, 'large') \g /dev/null]])
        local kept = play.value(url, ([[return { before = db:fingerprints(), backup = db:dump { to = %q } }]]):format(t.temp()))
        backup, before = kept.backup, kept.before
        bytes, manifest = t.read(backup.path), t.read(backup.manifest)
        math.randomseed(SEED)
        random = math.random
        print(("%d damages of %d bytes, RH_SEED=%d"):format(DAMAGES, #bytes, SEED))
    end)

    local KINDS = {
        bit = function(text)
            local at = random(#text)
            return text:sub(1, at - 1) .. string.char(text:byte(at) ~ (1 << random(0, 7))) .. text:sub(at + 1)
        end,
        byte = function(text)
            local at = random(#text)
            return text:sub(1, at - 1) .. string.char((text:byte(at) + random(1, 255)) % 256) .. text:sub(at + 1)
        end,
        cut = function(text) return text:sub(1, random(0, #text - 1)) end,
        hole = function(text)
            local at, length = random(#text), random(1, 64)
            return text:sub(1, at - 1) .. ("\0"):rep(math.min(length, #text - at + 1)) .. text:sub(at + length)
        end,
        gone = function(text)
            local at = random(#text)
            return text:sub(1, at - 1) .. text:sub(at + random(1, 64))
        end,
        twice = function(text)
            local at = random(#text)
            return text:sub(1, at) .. text:sub(math.max(1, at - random(1, 64)), at) .. text:sub(at + 1)
        end,
        swapped = function(text)
            local a = random(#text - 200)
            local b = a + random(50, 100)
            return text:sub(1, a - 1) .. text:sub(b, b + 40) .. text:sub(a + 41, b - 1) .. text:sub(a, a + 40) .. text:sub(b + 41)
        end,
    }
    local NAMES = { "bit", "byte", "cut", "hole", "gone", "twice", "swapped" }

    -- Another archive than the one that was written, and what was done to it.
    local function damaged()
        while true do
            local name = NAMES[random(#NAMES)]
            local text = KINDS[name](bytes)
            if text ~= bytes then
                return text, name
            end
        end
    end

    -- Restores each of them into a database of its own; what became of it: a code, or the fingerprints.
    local function restore_all(list)
        local calls = {}
        for i, one in ipairs(list) do
            calls[i] = ([[do
                local ok, err = pcall(function() return db:restore(%s, { into = "copy_%d" }) end)
                results[%d] = ok and "restored" or err.code
            end]]):format(play.lua(one), i, i)
        end
        return play.value(url, "local results = {}\n" .. table.concat(calls, "\n") .. "\nreturn results", { timeout = 100 })
    end

    local function written(text, fitting)
        local folder = t.temp()
        local copy = { path = folder .. "/x.pgdump", sha256 = backup.sha256, manifest_sha256 = backup.manifest_sha256 }
        t.write(copy.path, text)
        local said = manifest
        if fitting then
            local sum = t.run { "sha256sum", copy.path }.out:match("^%x+")
            said = said:gsub('"sha256":"%x+"', '"sha256":"' .. sum .. '"'):gsub('"bytes":%d+', '"bytes":' .. #text)
            copy.sha256, copy.manifest_sha256 = sum, nil
        end
        t.write(copy.path .. ".manifest.json", said)
        return copy
    end

    it("is found by its checksum, each time", function()
        for _ = 1, DAMAGES // AT_ONCE do
            local list = {}
            for i = 1, AT_ONCE do
                list[i] = written((damaged()))
            end
            for i, code in ipairs(restore_all(list)) do
                assert.equal("backup_damaged", code, i)
            end
        end
        assert.equal("", play.scratches(server))
    end)

    it("is never restored as something else, also where the checksums were made to fit", function()
        local counts = {}
        for _ = 1, FITTING // AT_ONCE do
            local list, kinds = {}, {}
            for i = 1, AT_ONCE do
                local text
                text, kinds[i] = damaged()
                list[i] = written(text, true)
            end
            for i, code in ipairs(restore_all(list)) do
                counts[code] = (counts[code] or 0) + 1
                if code == "restored" then -- harmless: what was restored is what was backed up
                    assert.same(before, play.fingerprints(server:url("copy_" .. i)), kinds[i])
                    server:sql(("DROP DATABASE copy_%d WITH (FORCE)"):format(i), "postgres")
                else
                    assert.is_truthy(({ load = 1, not_proven = 1, missing = 1 })[code], kinds[i] .. ": " .. code)
                end
            end
        end
        print(json.encode(counts))
        assert.is_true((counts.load or 0) > FITTING // 2)
        assert.equal("", play.scratches(server))
    end)
end)
