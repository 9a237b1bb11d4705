-- What a database is made of, as PostgreSQL itself writes it down: one statement a kind, each row an object with its
-- definition. No OIDs, no numbers of dropped columns, nothing that differs between a database and its restored dump. What
-- belongs to an extension is the extension's; the schema `rollouthost` is this host's own.
local rt = ...

local catalog = {}

local function fill(text, with)
    return (text:gsub("%$(%u+)", with))
end

-- Macros ------------------------------------------------------------------------------------------

-- Of a catalog's row: not an extension's.
local function own(class, id)
    return ("NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_catalog.%s'::regclass AND e.objid = %s"
        .. " AND e.deptype = 'e')"):format(class, id)
end

catalog.user_schema = [[n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'rollouthost')]]

-- Who may do what, in the order of names; nothing where that is what the owner's object begins with.
local function grants(acl, kind, owner)
    local listed = "(SELECT string_agg(g, ',' ORDER BY g) FROM (SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE"
        .. " grantee::regrole::text END || ':' || privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END AS g"
        .. " FROM aclexplode(%s)) AS listed)"
    return ("CASE WHEN %s IS NOT NULL THEN nullif(coalesce(%s, 'nobody'), coalesce(%s, 'nobody')) END"):format(acl,
        listed:format(acl), kind and listed:format(("acldefault('%s', %s)"):format(kind, owner)) or "NULL")
end

-- A dump writes them down in the order of their names.
local function options(list)
    return ("(SELECT string_agg(o, ',' ORDER BY o) FROM unnest(%s) AS o)"):format(list)
end

-- Statements: id (of a relation), schema, name, kind, definition ------------------------------------

local RELATIONS = fill([[
SELECT c.oid::bigint AS id, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
    c.relispopulated AS populated,
    concat_ws('|', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
        array_to_string(c.reloptions, ','), array_to_string(t.reloptions, ','), am.amname, s.spcname,
        pg_get_userbyid(c.relowner), $GRANTS, nullif(c.reloftype, 0)::regtype,
        (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
        CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END, pg_get_expr(c.relpartbound, c.oid),
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
        CASE WHEN c.relkind = 'f' THEN (SELECT v.srvname || ' ' || coalesce($OPTIONS, '')
            FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver WHERE f.ftrelid = c.oid) END) AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_am am ON am.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND $USER AND $OWN]], {
    OWN = own("pg_class", "c.oid"), USER = catalog.user_schema, GRANTS = grants("c.relacl", "r", "c.relowner"),
    OPTIONS = options "f.ftoptions",
})

-- Of views, too: their columns may have defaults and grants.
local COLUMNS = fill([[
SELECT a.attrelid::bigint AS id, string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN 'NOT NULL' END,
    CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
    nullif(a.attgenerated::text, ''), CASE WHEN a.attidentity <> '' THEN 'IDENTITY ' || a.attidentity::text END,
    'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attstorage <> t.typstorage THEN 'STORAGE ' || a.attstorage::text END,
    nullif($COMPRESSION, ''), CASE WHEN a.attstattarget >= 0 THEN 'STATISTICS ' || a.attstattarget END,
    array_to_string(a.attoptions, ','), $OPTIONS, $GRANTS), E'\n' ORDER BY a.attnum) AS definition
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND $USER
GROUP BY a.attrelid]], { USER = catalog.user_schema, GRANTS = grants("a.attacl"), OPTIONS = options "a.attfdwoptions" })

-- Per table an expression of its row for hashing. Two rows have equal hashes where their text is equal, and not just where
-- PostgreSQL's `=` says so (1.0 and 1.00, 0 and -0, '1 mon' and '30 days'); and nothing is hashed by an OID, which another
-- database numbers otherwise. What hashes its bytes stands as it is, the rest as text: two to four times faster than the
-- text of whole rows. Of an extension's tables, those whose rows a dump has.
local ROWS = fill([[
WITH RECURSIVE base (id, type) AS (
    SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
    UNION ALL SELECT t.oid, b.type FROM base b JOIN pg_type t ON t.typbasetype = b.id AND t.typtype = 'd'),
safe (type) AS (SELECT unnest('{bool,"\"char\"",int2,int4,int8,oid,text,varchar,name,bytea,uuid,date,time,timetz,timestamp,
    timestamptz,inet,cidr,macaddr,macaddr8,pg_lsn,int4range,int8range,daterange,tsrange,tstzrange}'::regtype[])),
relations AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispopulated,
        (SELECT e.extcondition[array_position(e.extconfig, c.oid)] FROM pg_extension e WHERE c.oid = ANY (e.extconfig)) AS part
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND ($USER AND $OWN
        OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))),
columns AS (
    SELECT a.attrelid, a.attnum, quote_ident(a.attname) AS name, t.oid::regtype AS type, a.atttypmod AS typmod,
        t.oid::regtype IN (SELECT type FROM safe) AS plain, l.collisdeterministic AS deterministic,
        t.typcategory = 'A' AND t.typelem::regtype IN (SELECT type FROM safe) AS plain_array,
        t.oid IN (SELECT castsource FROM pg_cast WHERE casttarget = 'text'::regtype AND castmethod = 'f') AS cast
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid JOIN base b ON b.id = a.atttypid JOIN pg_type t ON t.oid = b.type
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped),
expressions AS (
    SELECT attrelid, count(*) AS columns, string_agg(CASE
        WHEN deterministic IS FALSE THEN name || '::text COLLATE "C"'
        WHEN plain THEN name
        WHEN plain_array THEN name || ', array_dims(' || name || ')'
        WHEN type = 'numeric'::regtype AND typmod >= 0 THEN name
        WHEN type = 'numeric'::regtype THEN name || ', scale(' || name || ')'
        WHEN type IN ('float4', 'float8') THEN format('%1$s, CASE WHEN %1$s = 0 THEN %1$s::text END', name)
        WHEN type = 'interval'::regtype THEN 'interval_send(' || name || ')'
        WHEN type = 'money'::regtype THEN 'cash_send(' || name || ')'
        WHEN type = 'bpchar'::regtype AND typmod >= 0 THEN name
        WHEN "cast" THEN format('CASE WHEN %1$s IS NOT NULL THEN concat(%1$s) END', name)
        ELSE name || '::text' END, ', ' ORDER BY attnum) AS row FROM columns GROUP BY attrelid)
SELECT r.oid::bigint AS id, r.nspname::text AS schema, r.relname::text AS name, pg_relation_size(r.oid) AS bytes,
    r.relkind = 'm' AS derived, r.relispopulated AS populated, x.columns, x.row, r.part
FROM relations r LEFT JOIN expressions x ON x.attrelid = r.oid ORDER BY 4 DESC, 2, 3]],
    { USER = catalog.user_schema, OWN = own("pg_class", "c.oid") })

-- Those of a partition that come from its parent stand there.
local CONSTRAINTS = fill([[
SELECT k.conrelid::bigint AS id, 'constraint' AS kind, k.conname::text AS name, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.conrelid <> 0 AND k.conparentid = 0 AND k.contype <> 't' AND $USER]], { USER = catalog.user_schema })

-- A dump leaves an invalid index out.
local INDEXES = fill([[
SELECT i.indrelid::bigint AS id, 'index' AS kind, c.relname::text AS name, concat_ws('|', pg_get_indexdef(i.indexrelid),
    i.indisvalid, i.indisclustered, i.indisreplident, s.spcname,
    (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = c.oid),
    (SELECT string_agg(a.attnum || ':' || a.attstattarget, ',' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attstattarget >= 0)) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE (i.indisvalid OR c.relkind = 'I') AND i.indisready AND c.relpersistence <> 't' AND $USER]],
    { USER = catalog.user_schema })

local ON_TABLES = fill([[
SELECT g.tgrelid::bigint AS id, 'trigger' AS kind, g.tgname::text AS name,
    g.tgenabled::text || ' ' || pg_get_triggerdef(g.oid) AS definition
FROM pg_trigger g WHERE NOT g.tgisinternal
UNION ALL SELECT r.ev_class::bigint, 'rule', r.rulename::text, r.ev_enabled::text || ' ' || pg_get_ruledef(r.oid)
FROM pg_rewrite r WHERE r.rulename <> '_RETURN' AND r.oid >= 16384
UNION ALL SELECT p.polrelid::bigint, 'policy', p.polname::text, concat_ws('|', p.polcmd, p.polpermissive,
    (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE o::regrole::text END, ',' ORDER BY o::regrole::text)
        FROM unnest(p.polroles) AS o),
    'USING ' || pg_get_expr(p.polqual, p.polrelid), 'CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p]], {})

-- Objects: kind, schema (or NULL), name, definition -------------------------------------------------

local SEQUENCES = fill([[
SELECT 'sequence' AS kind, n.nspname::text AS schema, c.relname::text AS name, concat_ws('|', c.relpersistence,
    q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle, pg_get_userbyid(c.relowner),
    $GRANTS, (SELECT d.deptype::text || d.refobjid::regclass::text || '.' || a.attname FROM pg_depend d
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
        AND d.refclassid = 'pg_catalog.pg_class'::regclass)) AS definition,
    q.seqincrement > 0 AS ascending
FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND $USER AND $OWN]],
    { GRANTS = grants("c.relacl", "s", "c.relowner"), USER = catalog.user_schema, OWN = own("pg_class", "c.oid") })

local FUNCTIONS = fill([[
SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
    n.nspname::text AS schema, p.proname::text AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
    concat_ws('|', pg_get_userbyid(p.proowner), $GRANTS, CASE p.prokind WHEN 'a' THEN (SELECT concat_ws('|',
        pg_get_function_result(p.oid), p.proparallel, a.aggkind, a.aggnumdirectargs, a.aggtransfn, a.aggfinalfn,
        a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn, a.aggfinalextra,
        a.aggmfinalextra, a.aggfinalmodify, a.aggmfinalmodify, a.aggsortop::regoperator, a.aggtranstype::regtype,
        a.aggtransspace, a.aggmtranstype::regtype, a.aggmtransspace, a.agginitval, a.aggminitval)
        FROM pg_aggregate a WHERE a.aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END) AS definition
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE $USER AND $OWN]],
    { GRANTS = grants("p.proacl", "f", "p.proowner"), USER = catalog.user_schema, OWN = own("pg_proc", "p.oid") })

-- Neither the row types of tables nor the array and multirange types that come with another.
local TYPES = fill([[
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END AS kind, n.nspname::text AS schema, t.typname::text AS name,
    concat_ws('|', t.typtype, pg_get_userbyid(t.typowner), $GRANTS, CASE t.typtype
    WHEN 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e
        WHERE e.enumtypid = t.oid)
    WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
        nullif(t.typcollation, 0)::regcollation, pg_get_expr(t.typdefaultbin, 0),
        (SELECT string_agg(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
            FROM pg_constraint k WHERE k.contypid = t.oid))
    WHEN 'c' THEN (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
        nullif(a.attcollation, 0)::regcollation), ',' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
    WHEN 'r' THEN (SELECT concat_ws(' ', r.rngsubtype::regtype, $MULTIRANGE nullif(r.rngcollation, 0)::regcollation,
        o.opcname, r.rngcanonical, r.rngsubdiff) FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc
        WHERE r.rngtypid = t.oid)
    ELSE concat_ws(' ', t.typlen, t.typbyval, t.typcategory, t.typispreferred, t.typdelim, nullif(t.typelem, 0)::regtype,
        t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, t.typalign, t.typstorage,
        t.typdefault, nullif(t.typcollation, 0)::regcollation) END) AS definition
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') OR (t.typtype IN ('b', 'p')
    AND NOT EXISTS (SELECT FROM pg_type f WHERE f.typarray = t.oid))) AND $USER AND $OWN]],
    { GRANTS = grants("t.typacl", "T", "t.typowner"), USER = catalog.user_schema, OWN = own("pg_type", "t.oid") })

local OTHERS = fill([[
SELECT 'schema' AS kind, NULL::text AS schema, n.nspname::text AS name,
    concat_ws('|', pg_get_userbyid(n.nspowner), $NGRANTS) AS definition
FROM pg_namespace n WHERE $USER AND $NOWN
UNION ALL SELECT 'extension', NULL, x.extname, n.nspname FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
UNION ALL SELECT 'extension version', NULL, extname, extversion FROM pg_extension
UNION ALL SELECT 'event trigger', NULL, v.evtname, concat_ws('|', v.evtevent, v.evtfoid::regprocedure, v.evtenabled,
    array_to_string(v.evttags, ','), pg_get_userbyid(v.evtowner)) FROM pg_event_trigger v WHERE $VOWN
UNION ALL SELECT 'statistics', n.nspname, s.stxname, concat_ws('|', array_to_string(s.stxkind, ' '), s.stxrelid::regclass,
    (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = s.stxrelid
        AND a.attnum = ANY (s.stxkeys)), $STATISTICS, s.stxstattarget, pg_get_userbyid(s.stxowner))
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE $USER
UNION ALL SELECT 'publication', NULL, p.pubname, concat_ws('|', pg_get_userbyid(p.pubowner), to_jsonb(p) - 'oid' - 'pubowner'
    - 'pubname', (SELECT string_agg(concat_ws(' ', t.prrelid::regclass, $PUBLISHED), ',' ORDER BY t.prrelid::regclass::text)
        FROM pg_publication_rel t WHERE t.prpubid = p.oid) $PUBSCHEMAS) FROM pg_publication p
UNION ALL SELECT 'subscription', NULL, u.subname, array_to_string(u.subpublications, ',') FROM pg_subscription u
    JOIN pg_database d ON d.oid = u.subdbid WHERE d.datname = current_database()
UNION ALL SELECT 'foreign data wrapper', NULL, f.fdwname, concat_ws('|', pg_get_userbyid(f.fdwowner), nullif(f.fdwhandler, 0)
    ::regproc, nullif(f.fdwvalidator, 0)::regproc, $OPTIONS, $FGRANTS)
    FROM pg_foreign_data_wrapper f WHERE $FOWN
UNION ALL SELECT 'server', NULL, s.srvname, concat_ws('|', w.fdwname, pg_get_userbyid(s.srvowner), s.srvtype, s.srvversion,
    $SOPTIONS, $SGRANTS) FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
UNION ALL SELECT 'user mapping', NULL, m.usename || ' on ' || m.srvname, 'user mapping' FROM pg_user_mappings m
UNION ALL SELECT 'default privileges', n.nspname, pg_get_userbyid(a.defaclrole) || ' ' || a.defaclobjtype::text,
    (SELECT string_agg(concat_ws(':', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type,
        is_grantable), ',' ORDER BY grantee::regrole::text, privilege_type) FROM aclexplode(a.defaclacl))
    FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
UNION ALL SELECT 'comment', NULL, o.type || ' ' || o.identity, d.description FROM pg_description d,
    pg_identify_object(d.classoid, d.objoid, d.objsubid) AS o WHERE (d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass
    AND d.objoid = 2200) AND o.type IS NOT NULL AND coalesce(o.schema, '') <> 'rollouthost'
    AND (o.type, o.identity) <> ('schema', 'rollouthost')
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')
UNION ALL SELECT 'security label', NULL, o.type || ' ' || o.identity, l.provider || ' ' || l.label FROM pg_seclabel l,
    pg_identify_object(l.classoid, l.objoid, l.objsubid) AS o]], {
    USER = catalog.user_schema, NOWN = own("pg_namespace", "n.oid"), VOWN = own("pg_event_trigger", "v.oid"),
    FOWN = own("pg_foreign_data_wrapper", "f.oid"), NGRANTS = grants("n.nspacl", "n", "n.nspowner"),
    FGRANTS = grants("f.fdwacl", "F", "f.fdwowner"), SGRANTS = grants("s.srvacl", "S", "s.srvowner"),
    OPTIONS = options "f.fdwoptions", SOPTIONS = options "s.srvoptions",
})

-- What few databases have. A collation's encoding is any or the database's: a dump does not tell.
local RARE = fill([[
SELECT 'collation' AS kind, n.nspname::text AS schema, c.collname::text AS name, (to_jsonb(c) - 'oid' - 'collname'
    - 'collnamespace' - 'collowner' - 'collversion' - 'collencoding')::text || pg_get_userbyid(c.collowner) AS definition
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid >= 16384 AND $COWN
UNION ALL SELECT 'conversion', n.nspname, c.conname, concat_ws('|', c.conforencoding, c.contoencoding, c.conproc, c.condefault)
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE c.oid >= 16384 AND $VOWN
UNION ALL SELECT 'operator', NULL, o.oid::regoperator::text, concat_ws('|', pg_get_userbyid(o.oprowner), o.oprcode,
    o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, o.oprcanmerge, o.oprcanhash)
FROM pg_operator o WHERE o.oid >= 16384 AND $OOWN
UNION ALL SELECT 'operator class', n.nspname, am.amname || ' ' || o.opcname, concat_ws('|', pg_get_userbyid(o.opcowner),
    o.opcintype::regtype, nullif(o.opckeytype, 0)::regtype, o.opcdefault,
    (SELECT string_agg(concat_ws(' ', m.amopstrategy, m.amoppurpose, m.amopopr::regoperator), ',' ORDER BY m.amopstrategy,
        m.amopopr::regoperator::text) FROM pg_amop m WHERE m.amopfamily = o.opcfamily),
    (SELECT string_agg(concat_ws(' ', f.amprocnum, f.amproc::regprocedure), ',' ORDER BY f.amprocnum,
        f.amproc::regprocedure::text) FROM pg_amproc f WHERE f.amprocfamily = o.opcfamily))
FROM pg_opclass o JOIN pg_am am ON am.oid = o.opcmethod JOIN pg_namespace n ON n.oid = o.opcnamespace
WHERE o.oid >= 16384 AND $POWN
UNION ALL SELECT 'cast', NULL, k.castsource::regtype || ' AS ' || k.casttarget::regtype, concat_ws('|',
    nullif(k.castfunc, 0)::regprocedure, k.castcontext, k.castmethod) FROM pg_cast k WHERE k.oid >= 16384 AND $KOWN
UNION ALL SELECT 'text search configuration', n.nspname, c.cfgname, concat_ws('|', pg_get_userbyid(c.cfgowner), p.prsname,
    (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary), ',' ORDER BY m.maptokentype,
        m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))
FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace JOIN pg_ts_parser p ON p.oid = c.cfgparser
WHERE c.oid >= 16384 AND $TOWN
UNION ALL SELECT 'text search dictionary', n.nspname, d.dictname, concat_ws('|', pg_get_userbyid(d.dictowner), t.tmplname,
    d.dictinitoption) FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace
JOIN pg_ts_template t ON t.oid = d.dicttemplate WHERE d.oid >= 16384 AND $DOWN
UNION ALL SELECT 'language', NULL, l.lanname, concat_ws('|', pg_get_userbyid(l.lanowner), l.lanpltrusted,
    l.lanplcallfoid::regproc) FROM pg_language l WHERE l.oid >= 16384 AND $LOWN]], {
    COWN = own("pg_collation", "c.oid"), VOWN = own("pg_conversion", "c.oid"), OOWN = own("pg_operator", "o.oid"),
    POWN = own("pg_opclass", "o.oid"), KOWN = own("pg_cast", "k.oid"), TOWN = own("pg_ts_config", "c.oid"),
    DOWN = own("pg_ts_dict", "d.oid"), LOWN = own("pg_language", "l.oid"),
})

--- The statements for a server of that version (server_version_num).
function catalog.statements(version)
    local with = {
        COMPRESSION = version >= 140000 and "a.attcompression::text" or "''",
        MULTIRANGE = version >= 140000 and "r.rngmultitypid::regtype," or "",
        STATISTICS = version >= 140000 and "array_to_string(pg_get_statisticsobjdef_expressions(s.oid), ', ')" or "NULL",
        PUBLISHED = version >= 150000 and "pg_get_expr(t.prqual, t.prrelid), (SELECT string_agg(quote_ident(a.attname), ' '"
            .. " ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = t.prrelid AND a.attnum = ANY (t.prattrs))" or "NULL",
        PUBSCHEMAS = version >= 150000 and ", (SELECT string_agg(s.pnnspid::regnamespace::text, ',' ORDER BY"
            .. " s.pnnspid::regnamespace::text) FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)" or "",
    }
    return {
        rows = ROWS, relations = RELATIONS, columns = fill(COLUMNS, with), on_relations = { CONSTRAINTS, INDEXES, ON_TABLES },
        sequences = SEQUENCES, objects = { FUNCTIONS, fill(TYPES, with), fill(OTHERS, with), RARE },
    }
end

-- Whether anything of a schema has changed -----------------------------------------------------------

local CHANGING = {
    oid = "pg_class pg_attrdef pg_constraint pg_trigger pg_rewrite pg_policy pg_proc pg_type pg_enum pg_namespace pg_extension"
        .. " pg_event_trigger pg_publication pg_publication_rel pg_publication_namespace pg_statistic_ext"
        .. " pg_foreign_data_wrapper pg_foreign_server pg_default_acl pg_collation pg_conversion pg_operator pg_opclass pg_amop"
        .. " pg_amproc pg_cast pg_ts_config pg_ts_dict pg_language",
    attrelid = "pg_attribute", indexrelid = "pg_index", inhrelid = "pg_inherits", seqrelid = "pg_sequence",
    ftrelid = "pg_foreign_table", rngtypid = "pg_range", objoid = "pg_description pg_seclabel", mapcfg = "pg_ts_config_map",
}

--- A statement whose one value is another after each change of the schema, of this database or of the server that it stands
--- for: every change of a catalog writes a new version of a row. It may be another after less, too. Ten times faster than
--- reading the definitions. Of the server's own rows, those of the schema public (2200) can be changed.
function catalog.changes(version)
    local scans = {}
    for id, names in pairs(CHANGING) do
        for name in names:gmatch "%S+" do
            if name ~= "pg_publication_namespace" or version >= 150000 then
                scans[#scans + 1] = ("SELECT sum(hashint8extended((%s::bigint << 32) | xmin::text::bigint, %d)) AS h, count(*) AS n"
                    .. " FROM %s WHERE %s >= 16384 OR %s = 2200"):format(id, #scans, name, id, id)
            end
        end
    end
    return "SELECT concat_ws(' ', (SELECT oid FROM pg_database WHERE datname = current_database()), pg_postmaster_start_time(),"
        .. " (SELECT string_agg(concat_ws('/', umid, usename), ' ' ORDER BY umid) FROM pg_user_mappings),"
        .. " (SELECT string_agg(concat_ws('/', oid, subname), ' ' ORDER BY oid) FROM pg_subscription), sum(n), sum(h)) AS state"
        .. " FROM (" .. table.concat(scans, " UNION ALL ") .. ") AS scans"
end

-- Names and texts ------------------------------------------------------------------------------------

local function part(name)
    return name:find('[."]') and '"' .. name:gsub('"', '""') .. '"' or name
end

--- "orders", "billing.orders"; what has a dot or a quote in it is quoted.
function catalog.name(schema, name)
    return (schema and schema ~= "public" and schema ~= rt.json.null and part(schema) .. "." or "") .. part(name)
end

function catalog.quote(name)
    return '"' .. name:gsub('"', '""') .. '"'
end

return catalog
