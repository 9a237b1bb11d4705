-- For the specs of pg's backups: a shop, what a migration gone wrong does to it, and looks at a server from outside.
local t = require "spec.helper"
local play = require "spec.modules.pg_play"

local M = { body = play.body, value = play.value }

-- As the role app.
M.SHOP = [[
CREATE TYPE mood AS ENUM ('fine', 'grim');
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, email varchar(100) UNIQUE, doc jsonb, raw bytea, n numeric(20,5),
    f double precision, at timestamptz DEFAULT now(), feels mood DEFAULT 'fine', tags text[], g int GENERATED ALWAYS AS (7) STORED);
CREATE TABLE "Or d'e""rs ü" (id int GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    user_id int REFERENCES users ON DELETE CASCADE, total numeric(10,2) CHECK (total > 0));
CREATE TABLE nothing (x int);
CREATE TABLE nokey (x int, y text);
CREATE SCHEMA "Bill ing";
CREATE TABLE "Bill ing".paid (id int PRIMARY KEY, what xml, place point, net inet);
CREATE TABLE audit (id bigserial PRIMARY KEY, what text);
CREATE SEQUENCE numbers INCREMENT 5;
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (1000);
INSERT INTO users (name, email, doc, raw, n, f, feels, tags) SELECT 'ü' || i, CASE WHEN i % 3 > 0 THEN 'm' || i END,
    jsonb_build_object('a', i, 'b', NULL), decode(md5(i::text), 'hex'), i / 7.0, 0.1 + i * 0.2, 'grim', ARRAY['x', NULL, i::text]
    FROM generate_series(1, 300) i;
INSERT INTO "Or d'e""rs ü" (user_id, total) SELECT i, i FROM generate_series(1, 200) i;
INSERT INTO nokey SELECT 1, 'x' FROM generate_series(1, 10);
INSERT INTO "Bill ing".paid SELECT i, '<a/>', point(i, 1), '10.0.0.0/8' FROM generate_series(1, 50) i;
INSERT INTO parted SELECT i, 'v' || i FROM generate_series(0, 499) i;
SELECT nextval('numbers'), lo_from_bytea(0, 'a large object') \g /dev/null
CREATE FUNCTION ordered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES ('o' || NEW.total);
    RETURN NEW; END $$;
CREATE TRIGGER ordered BEFORE INSERT ON "Or d'e""rs ü" FOR EACH ROW EXECUTE FUNCTION ordered();
CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a * 2';
CREATE VIEW deeper AS SELECT twice(id) AS x FROM users;
CREATE VIEW above AS SELECT * FROM deeper;
CREATE MATERIALIZED VIEW summed AS SELECT count(*) AS n FROM users;
]]

-- What a migration gone wrong does: rows deleted, corrupted, added; a column, tables, types, code added, changed, dropped.
M.RUIN = [[
DELETE FROM users WHERE id < 20;
UPDATE users SET name = 'x' WHERE id = 50;
INSERT INTO users (name) VALUES ('new');
ALTER TABLE users ADD COLUMN added int, DROP COLUMN raw CASCADE;
CREATE TABLE newcomer (id int PRIMARY KEY);
INSERT INTO newcomer VALUES (1);
DROP TABLE nothing, "Bill ing".paid;
TRUNCATE parted;
ALTER TYPE mood ADD VALUE 'odd';
DROP TRIGGER ordered ON "Or d'e""rs ü";
CREATE OR REPLACE VIEW above AS SELECT 1 AS x;
CREATE FUNCTION extra() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE SCHEMA added;
SELECT lo_unlink(oid) FROM pg_largeobject_metadata \g /dev/null
]]

function M.lua(value)
    if type(value) ~= "table" then
        return type(value) == "string" and ("%q"):format(value) or tostring(value)
    end
    local parts = {}
    for key, field in pairs(value) do
        parts[#parts + 1] = "[" .. M.lua(key) .. "]=" .. M.lua(field)
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

local function quoted(name)
    return '"' .. name:gsub('"', '""') .. '"'
end

--- A database `app` with that in it, by the role app; the databases of earlier tests are gone.
function M.fresh(server, sql, name)
    local names = server:sql([[SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')]],
        "postgres")
    for old in names:gmatch "[^\n]+" do
        server:sql(("ALTER DATABASE %s ALLOW_CONNECTIONS true"):format(quoted(old)), "postgres")
        server:sql(("DROP DATABASE %s WITH (FORCE)"):format(quoted(old)), "postgres")
    end
    server:sql(("CREATE DATABASE %s OWNER app"):format(quoted(name or "app")), "postgres")
    if sql then
        server:sql("SET ROLE app;\n" .. sql, name or "app")
    end
end

--- Names of databases: of copies that stand ready or were left behind, of ones that a swap has put aside.
function M.scratches(server)
    return server:sql("SELECT COALESCE(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE 'rh\\_%'", "postgres")
end

function M.kept(server)
    return server:sql("SELECT COALESCE(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_database"
        .. " WHERE datname LIKE '%\\_broken\\_%'", "postgres")
end

--- The database's fingerprints, as the handle tells them.
function M.fingerprints(url)
    return M.value(url, "return db:fingerprints()")
end

local PLAYBOOK = [[
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
local db = require("rollout.pg").database(cfg.DATABASE_URL)
step("it", function() return %s end)
]]

--- Starts a host with that expression as its step: for what is to be watched, or killed. Returns it and the folder of its
--- state. The URL is in a file, since commands inherit an environment.
function M.start(url, expression, output)
    local path, folder = t.playbook(PLAYBOOK:format(expression))
    local variables = t.write(folder .. "/variables", "DATABASE_URL='" .. url .. "'\n")
    local state = folder .. "/state"
    return t.start_host { path, "--output", output or "json", "--env-file", variables, state = state }, state, variables
end

--- Goes on with what a host that was killed has left.
function M.resume(state, variables)
    return t.host { "resume", "--env-file", variables, state = state, timeout = 120 }
end

return M
