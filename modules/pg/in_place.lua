-- For a server that forbids renames: what is in the database goes and the archive's comes, in one transaction. Until it commits
-- nothing has happened; while it works nobody else can use the tables.
local _, rt, lib = ...

local databases, clients = lib.databases, lib.clients
local M = {}

-- What is in no schema, schemas but public, and what stands in that by itself: what belongs to another thing goes with it.
-- Extensions stay, with all that is theirs: a role that may not create them could not bring them back, and the archive skips
-- those that are there.
local EMPTY = [[
SET client_min_messages = error;
DO $rollouthost$
DECLARE
    thing record;
BEGIN
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
    FOR thing IN SELECT replace(i.type, '-', ' ') AS type, i.identity FROM (
            SELECT 0 AS n, tableoid AS class, oid FROM pg_event_trigger UNION ALL SELECT 1, tableoid, oid FROM pg_publication
            UNION ALL SELECT 2, tableoid, oid FROM pg_cast UNION ALL SELECT 3, tableoid, oid FROM pg_foreign_server
            UNION ALL SELECT 4, tableoid, oid FROM pg_foreign_data_wrapper) AS o, pg_identify_object(o.class, o.oid, 0) AS i
        WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class AND e.objid = o.oid
            AND e.objsubid = 0 AND e.deptype IN ('e', 'i')) ORDER BY o.n LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', upper(thing.type), thing.identity);
    END LOOP;
    FOR thing IN SELECT quote_ident(nspname) AS name FROM pg_namespace n
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'rollouthost')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
                AND d.deptype = 'e') LOOP
        EXECUTE 'DROP SCHEMA ' || thing.name || ' CASCADE';
    END LOOP;
    FOR thing IN SELECT replace(i.type, ' object', '') AS type, i.identity FROM pg_depend d,
            pg_identify_object(d.classid, d.objid, 0) i
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'public'::regnamespace AND d.deptype = 'n'
            AND i.type NOT IN ('default acl', 'extension') AND NOT EXISTS (SELECT FROM pg_depend e
                WHERE e.classid = d.classid AND e.objid = d.objid AND e.objsubid = 0 AND e.deptype IN ('e', 'i'))
        ORDER BY CASE i.type WHEN 'view' THEN 0 WHEN 'materialized view' THEN 1 WHEN 'foreign table' THEN 2 WHEN 'table' THEN 3
            ELSE 4 END LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', upper(thing.type), thing.identity);
    END LOOP;
END
$rollouthost$;
]]

--- Replaces what is in job.name by the archive at job.file.
function M.restore(job)
    local command = clients.replace(job, job.file, job.name,
        ("SET lock_timeout = %d;"):format(databases.lock_wait(job)) .. EMPTY)
    clients.await(job, command)
    clients.check(command, "load", "replacing what is in " .. job.name)
end

--- Refuses while others are connected: they would wait, and then write to what they have not read.
function M.check(job)
    local others = databases.value(job.own.admin, "SELECT string_agg(DISTINCT COALESCE(NULLIF(application_name, ''), usename,"
        .. " '?'), ', ') FROM pg_stat_activity WHERE datname = $1 AND " .. databases.SOMEBODY
        .. " AND NOT (usename = current_user AND application_name LIKE 'rollouthost%')", job.name)
    if others then
        rt.raise("in_use", string.format("pg: mode = \"in_place\" is for a stopped application, and others are connected to %s: %s",
            job.name, others))
    end
end

return M
