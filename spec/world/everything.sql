-- A database with one of everything that PostgreSQL can hold, and with what is known to be written down otherwise after a
-- dump and restore. As the superuser; the role app is there.
SET client_min_messages = warning;
SET lo_compat_privileges = off;
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION postgres_fdw; CREATE EXTENSION btree_gist;
CREATE EXTENSION isn;
CREATE SCHEMA billing AUTHORIZATION app; CREATE SCHEMA "Odd "" schema."; GRANT USAGE ON SCHEMA billing TO PUBLIC;
COMMENT ON SCHEMA billing IS 'money';

CREATE TYPE status AS ENUM ('new', 'paid', 'sent');
ALTER TYPE status ADD VALUE 'held' BEFORE 'paid';
CREATE TYPE billing.address AS (street text, zip varchar(10), since date);
CREATE DOMAIN billing.amount AS numeric(12,2) DEFAULT 0 CHECK (VALUE >= 0) CONSTRAINT small CHECK (VALUE < 1000000);
CREATE DOMAIN code AS varchar(8) CHECK (VALUE IN ('a', 'b') OR VALUE BETWEEN 'k' AND 'm' AND VALUE <> 'l');
CREATE TYPE fraction AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk', deterministic = true);
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION bytewise FROM "C";

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY (START 1000 INCREMENT 5) PRIMARY KEY,
    gone int, name text NOT NULL COLLATE german, "E-Mail" citext UNIQUE, state status NOT NULL DEFAULT 'new',
    nick text COLLATE loose, kind varchar(10) DEFAULT 'plain' CHECK (kind IN ('plain', 'gold')),
    credit numeric, price numeric(10,2), f4 real, f8 double precision, span interval, cash money, short char(3), raw bytea,
    doc jsonb, plain json, page xml, tags text[], money_list numeric[], ids int[], attrs hstore, addr billing.address,
    bits bit varying(9), spot point, during tstzrange, part fraction, net inet, seen timestamptz DEFAULT now(),
    words tsvector, amount billing.amount, code code, class regclass, isbn isbn, any_bpchar bpchar,
    total numeric GENERATED ALWAYS AS (price * 2) STORED,
    CONSTRAINT sane CHECK (price BETWEEN 0 AND 10 AND credit > 0 OR kind NOT IN ('gold', 'plain') AND (f4 > 1 AND f8 > 1))
) WITH (fillfactor = 80, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE customers DROP COLUMN gone;
INSERT INTO customers (name, state) SELECT 'c' || i, 'paid' FROM generate_series(1, 50) AS i;
ALTER TABLE customers ADD COLUMN late int NOT NULL DEFAULT 7, ADD COLUMN later text DEFAULT 'x y';
UPDATE customers SET credit = 1.10, price = 3, f4 = '-0', f8 = 1e-300 * id, span = '1 mon', cash = 12.5, short = 'a', raw = '\x00ff',
    nick = 'Nick', doc = '{"n": 1.00, "b": [1, null]}', plain = '{"a" : 1}', page = '<a/>', tags = '{a,NULL}', money_list = '{1.0,2}',
    ids = '[0:1]={1,2}', attrs = 'a=>1', addr = ('x', '1', '2020-01-01'), bits = B'101', spot = '(1,2)', during = '[2020-01-01,)',
    part = '[0.5,1)', net = '10.0.0.0/8', seen = '2020-01-01', words = 'a:1 b', amount = 5, code = 'k', class = 'customers',
    isbn = '978-0-393-04002-9', any_bpchar = 'ab   '
    WHERE id % 2 = 0;
ALTER TABLE customers ALTER name SET STATISTICS 500, ALTER raw SET STORAGE EXTERNAL, ALTER doc SET COMPRESSION pglz,
    ALTER name SET (n_distinct = -0.5), REPLICA IDENTITY FULL;
COMMENT ON COLUMN customers.name IS 'as on the bill'; COMMENT ON TABLE customers IS 'who pays';
COMMENT ON CONSTRAINT sane ON customers IS 'says it all';
GRANT SELECT ON customers TO app WITH GRANT OPTION; GRANT UPDATE (name) ON customers TO app;
CREATE TABLE twins (a int, b text); INSERT INTO twins SELECT 1, 'same' FROM generate_series(1, 6);
CREATE TABLE nothing (); CREATE TABLE empty (a int);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v text); INSERT INTO cache VALUES ('a', 'b');
CREATE TABLE "Odd "" schema."."Table with "" and . and ü" ("Col ""1""" int, "select" text);
INSERT INTO "Odd "" schema."."Table with "" and . and ü" VALUES (1, NULL), (2, E'line\nbreak\t\\');
CREATE TABLE billing.typed OF billing.address (zip WITH OPTIONS NOT NULL);
ALTER TABLE twins OWNER TO app; GRANT ALL ON twins TO PUBLIC; REVOKE DELETE ON twins FROM PUBLIC;

CREATE TABLE billing.invoices (id serial, customer bigint REFERENCES customers ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    at date NOT NULL, sum billing.amount, state status, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE billing.invoices_2024 PARTITION OF billing.invoices FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE billing.invoices_2025 (x int, state status, sum billing.amount, at date NOT NULL, customer bigint, id int NOT NULL);
ALTER TABLE billing.invoices_2025 DROP COLUMN x;
ALTER TABLE billing.invoices ATTACH PARTITION billing.invoices_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE billing.invoices_rest PARTITION OF billing.invoices DEFAULT PARTITION BY HASH (id);
CREATE TABLE billing.invoices_old PARTITION OF billing.invoices_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX ON billing.invoices (customer);
INSERT INTO billing.invoices (customer, at, sum, state) SELECT 1000 + 5 * (i % 50), '2024-06-01'::date + i * 3, i, 'sent'
    FROM generate_series(1, 300) AS i;
CREATE TABLE billing.lines (invoice int, at date, n int, FOREIGN KEY (invoice, at) REFERENCES billing.invoices);
INSERT INTO billing.lines SELECT id, at, 1 FROM billing.invoices LIMIT 20;

CREATE TABLE places (name text, height int CHECK (height > -500)); CREATE TABLE capitals (country text) INHERITS (places);
INSERT INTO places VALUES ('hill', 5); INSERT INTO capitals VALUES ('Bern', 540, 'CH');

CREATE TABLE booked (room int, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&));
CREATE INDEX by_lower ON customers (lower(name) DESC NULLS LAST) INCLUDE (state) WHERE state IN ('new', 'paid') AND late BETWEEN 1 AND 9
    AND later IS NOT NULL;
CREATE INDEX by_doc ON customers USING gin (doc jsonb_path_ops); ALTER INDEX by_lower ALTER COLUMN 1 SET STATISTICS 300;
CREATE UNIQUE INDEX one_kind ON customers (id, kind) WHERE kind IN ('plain', 'gold');
ALTER TABLE twins ADD CONSTRAINT unchecked CHECK (a < 1) NOT VALID; ALTER TABLE customers CLUSTER ON customers_pkey;
COMMENT ON INDEX by_doc IS 'for searching';
CREATE STATISTICS related (dependencies, mcv) ON state, kind FROM customers; ALTER STATISTICS related SET STATISTICS 50;

CREATE FUNCTION billing.tax(x numeric, rate numeric DEFAULT 0.2) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5
    AS $$ SELECT x * rate WHERE ((x > 0 AND rate > 0) AND x < 10) OR true $$;
CREATE FUNCTION modern(a int) RETURNS SETOF customers LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT * FROM customers WHERE id BETWEEN a AND 2000 AND kind IN ('plain', 'gold'); END;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
    $f$ BEGIN NEW.seen := now(); RETURN NEW; END $f$;
CREATE PROCEDURE billing.close(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
CREATE AGGREGATE total_of(numeric) (SFUNC = numeric_add, STYPE = numeric, INITCOND = '0', PARALLEL = SAFE);
REVOKE EXECUTE ON FUNCTION billing.tax FROM PUBLIC; GRANT EXECUTE ON FUNCTION billing.tax TO app;
COMMENT ON FUNCTION billing.tax IS 'VAT'; ALTER FUNCTION touched() OWNER TO app;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = ===);
CREATE OPERATOR CLASS reversed FOR TYPE int4 USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=,
    OPERATOR 5 <, FUNCTION 1 btint4cmp(int4, int4);
CREATE CAST (billing.address AS text) WITH INOUT AS ASSIGNMENT;
CREATE CONVERSION mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = simple, stopwords = english);
CREATE TEXT SEARCH CONFIGURATION ours (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR word WITH plain_words;

CREATE TRIGGER touch BEFORE UPDATE OF name ON customers FOR EACH ROW WHEN (OLD.name <> NEW.name AND (OLD.late > 1 AND NEW.late > 1))
    EXECUTE FUNCTION touched();
CREATE TRIGGER never AFTER INSERT ON twins EXECUTE FUNCTION touched(); ALTER TABLE twins DISABLE TRIGGER never;
CREATE TRIGGER parted AFTER INSERT ON billing.invoices FOR EACH ROW EXECUTE FUNCTION touched();
CREATE RULE quiet AS ON DELETE TO cache DO INSTEAD NOTHING;
ALTER TABLE twins ENABLE ROW LEVEL SECURITY; ALTER TABLE places ENABLE ROW LEVEL SECURITY; ALTER TABLE places FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON twins AS RESTRICTIVE FOR UPDATE TO app USING (a BETWEEN 1 AND 5 AND b = 'same') WITH CHECK (a > 0);
CREATE POLICY everybody ON twins USING (true);

CREATE VIEW billing.open WITH (security_barrier) AS SELECT c.id, c.name, count(*) FILTER (WHERE i.sum BETWEEN 1 AND 5 AND i.id > 0) AS n,
    sum(i.sum) OVER (PARTITION BY c.kind ORDER BY c.id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS running
    FROM customers c LEFT JOIN billing.invoices i ON i.customer = c.id AND i.state IN ('new', 'sent') AND c.kind IN ('plain', 'gold')
    WHERE c.late BETWEEN 1 AND 10 AND NOT (c.name = 'x' OR c.name IS NULL) GROUP BY c.id, i.sum;
CREATE VIEW starred AS SELECT * FROM twins JOIN empty USING (a); ALTER TABLE empty RENAME COLUMN a TO renamed;
ALTER VIEW starred ALTER COLUMN b SET DEFAULT 'd'; GRANT SELECT ON starred TO PUBLIC; COMMENT ON VIEW starred IS 'seen';
CREATE VIEW checked AS SELECT a, b FROM twins WHERE a < 5 WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW counting (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM counting WHERE n < 5 AND n BETWEEN 0 AND 9;
CREATE MATERIALIZED VIEW per_state AS SELECT state, count(*) AS n FROM customers GROUP BY state;
CREATE UNIQUE INDEX per_state_key ON per_state (state); UPDATE customers SET state = 'held' WHERE id = 1000;
CREATE MATERIALIZED VIEW later AS SELECT 1 AS a WITH NO DATA;

CREATE SEQUENCE billing.numbers AS int START 100 INCREMENT 10 MAXVALUE 100000 CYCLE CACHE 3; SELECT nextval('billing.numbers') \g /dev/null
CREATE SEQUENCE down INCREMENT -1; SELECT nextval('down'), nextval('down') \g /dev/null
CREATE SEQUENCE set_back; SELECT setval('set_back', 500, false) \g /dev/null
GRANT USAGE ON SEQUENCE down TO app;

CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'example.com', dbname 'x');
CREATE USER MAPPING FOR app SERVER other OPTIONS (user 'u', password 'never told');
CREATE FOREIGN TABLE remote (id int OPTIONS (column_name 'n')) SERVER other OPTIONS (table_name 't');
CREATE FUNCTION noticed() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER seen ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION noticed();
CREATE PUBLICATION part FOR TABLE twins WHERE (a > 1), TABLES IN SCHEMA "Odd "" schema." WITH (publish = 'insert');
CREATE PUBLICATION whole FOR ALL TABLES WITH (publish = 'insert');
ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA billing GRANT SELECT ON TABLES TO PUBLIC;

SELECT lo_from_bytea(4711, 'small'), lo_from_bytea(4712, decode(repeat('00ff', 300000), 'hex')), lo_create(4713) \g /dev/null
GRANT SELECT ON LARGE OBJECT 4711 TO app; COMMENT ON LARGE OBJECT 4711 IS 'a scan';
