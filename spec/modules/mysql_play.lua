-- For the mysql specs: a body of Lua as a step of a run against a real server; `db` is its database, `mysql` the module.
local t = require "spec.helper"

local play = {}

local PLAYBOOK = [[
local mysql = require "rollout.mysql"
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" } }
local db = mysql.database(cfg.DATABASE_URL)
local value = step("it", { timeout = "2m" }, function()
%s
end)
return value
]]

-- What the body returned, or nil and the innermost error { code, message, … }; then what t.play returns.
function play.body(url, text, options)
    options = options or {}
    options.env = options.env or {}
    options.env.DATABASE_URL = url
    return t.outcome(t.play(PLAYBOOK:format(text), options))
end

-- Everything that a dump may lose: kinds of columns, names that need quoting, foreign keys, a table without a key, sequence,
-- triggers, views upon views, a function that a view needs, a procedure of several lines, events.
play.SHOP = [[
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100), email VARCHAR(100) CHARACTER SET latin1, doc JSON,
    pic BLOB, large LONGBLOB, f FLOAT, d DOUBLE, b BIT(5), dt DATETIME(6), ts TIMESTAMP NOT NULL DEFAULT current_timestamp(),
    amount DECIMAL(20,5), e ENUM('a','b'), g GEOMETRY, u UUID, y YEAR, gen INT AS (y * 2) STORED);
CREATE TABLE `o r'd"e.r``s ü` (id INT PRIMARY KEY AUTO_INCREMENT, user_id INT, total DECIMAL(10,2),
    CONSTRAINT fk1 FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE) AUTO_INCREMENT=100;
CREATE TABLE nothing (x INT);
CREATE TABLE nokey (x INT, y TEXT);
CREATE SEQUENCE numbers;
CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT);
INSERT INTO users (name, email, doc, pic, large, f, d, b, dt, amount, e, g, u, y)
    SELECT CONCAT('ü', seq), IF(seq % 3, CONCAT('m', seq), NULL), '{"a":1}', UNHEX(MD5(seq)), REPEAT(CHAR(seq % 256), 1000),
    seq / 3, 0.1e0 + seq * 0.2e0, seq % 32, '2026-03-29 01:30:00.123456' + INTERVAL seq SECOND, seq / 7, 'a', POINT(seq, 1),
    UUID(), 2000 FROM seq_1_to_300;
INSERT INTO `o r'd"e.r``s ü` (user_id, total) SELECT seq, seq FROM seq_1_to_200;
INSERT INTO nokey SELECT 1, 'x' FROM seq_1_to_10;
CREATE TRIGGER ordered BEFORE INSERT ON `o r'd"e.r``s ü` FOR EACH ROW INSERT INTO audit (what) VALUES (CONCAT('o', new.total));
CREATE TRIGGER left_us AFTER DELETE ON users FOR EACH ROW INSERT INTO audit (what) VALUES ('it''s gone \\ d');
CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC RETURN a * 2;
DELIMITER //
CREATE PROCEDURE report() BEGIN
-- Dumping routines for nobody; 'quotes'
SELECT 1; SELECT 2; END//
DELIMITER ;
CREATE VIEW deeper AS SELECT twice(id) AS x FROM users;
CREATE VIEW above AS SELECT * FROM deeper;
CREATE EVENT daily ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO INSERT INTO audit (what) VALUES ('event');
]]

-- What a migration gone wrong does: rows deleted, corrupted, added; a column, tables, code added, changed and dropped.
play.RUIN = [[
DELETE FROM users WHERE id < 20;
UPDATE users SET name = 'x' WHERE id = 50;
INSERT INTO users (name) VALUES ('new');
ALTER TABLE users ADD COLUMN added INT;
CREATE TABLE newcomer (id INT);
CREATE TRIGGER late BEFORE INSERT ON newcomer FOR EACH ROW SET new.id = 5;
DROP TRIGGER ordered;
CREATE OR REPLACE VIEW above AS SELECT 1 AS one;
DROP FUNCTION twice;
DROP EVENT daily;
CREATE PROCEDURE extra() SELECT 1;
]]

return play
