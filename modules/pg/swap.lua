-- The swap: the restored database takes the live one's name, and the live one is kept under another.
--
--   host      watcher (a session in the live database)         │ the server, one statement that goes on without the host
--   ────                                                       │ freeze: nobody connects to the live database any more
--   the watcher sees that all others have ended, counts ───────│ end its sessions, but not the watcher
--   what they wrote, and says "go" or "no" by its name ───────>│ "go": both renames, grants, thaw, in one transaction
--                                                              │ "no", no word in time, or no watcher any more: thaw
--
-- A host that dies takes the watcher with it, and the server opens the live database again by itself: before the renames it
-- is the old state, after them the new one, and always one of the two. The mark of the swap is the comment on the kept
-- database, written with the renames. Only a server that dies in these milliseconds leaves a database that is closed; the
-- resumed run opens it, since a comment on the scratch tells who closed it.
local native, rt, lib = ...

local databases = lib.databases
local name, text = databases.name, databases.text
local rows, value, run = databases.rows, databases.value, databases.run
local M = {}

local PATIENCE_MS = 15000 -- for the watcher's word
local SESSIONS_MS = 10000 -- for sessions to end
local SIGN = "rollouthost swap "

-- In the statement: no word of a playbook, and names quoted for their place.
local SWAP = [[
DO $TAG
DECLARE
    live oid := (SELECT oid FROM pg_database WHERE datname = $LIVE_TEXT);
    comment text := (SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $SCRATCH_TEXT);
    began timestamptz;
    word text;
    state text;
    problem text;
BEGIN
    ALTER DATABASE $LIVE ALLOW_CONNECTIONS false;
    EXECUTE format('COMMENT ON DATABASE %I IS %L', $SCRATCH_TEXT, $CLOSING || COALESCE(comment, ''));
    COMMIT;
    began := clock_timestamp();
    LOOP
        BEGIN
            PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid = live AND pid <> $WATCHER AND $SOMEBODY;
        EXCEPTION WHEN insufficient_privilege THEN
            problem := SQLERRM; state := SQLSTATE;
        END;
        word := (SELECT application_name FROM pg_stat_activity WHERE pid = $WATCHER AND datid = live);
        IF word IS NULL THEN
            problem := 'the host that asked for the swap is gone'; state := 'RH001';
        ELSIF word = '$SIGNno' THEN
            problem := 'called off'; state := 'RH002';
        ELSIF word = '$SIGNgo' THEN
            PERFORM pg_terminate_backend($WATCHER);
        ELSIF clock_timestamp() > began + interval '$PATIENCE milliseconds' THEN
            problem := 'no word from the host that asked for the swap'; state := 'RH001';
        END IF;
        EXIT WHEN problem IS NOT NULL OR word = '$SIGNgo';
        COMMIT;
        PERFORM pg_sleep(0.002);
    END LOOP;
    WHILE problem IS NULL AND EXISTS (SELECT FROM pg_stat_activity WHERE datid = live AND $SOMEBODY) LOOP
        COMMIT;
        PERFORM pg_sleep(0.001);
        IF clock_timestamp() > began + interval '$PATIENCE milliseconds' THEN
            problem := 'a session does not end'; state := 'RH001';
        END IF;
    END LOOP;
    COMMIT;
    IF problem IS NULL THEN
        BEGIN
            ALTER DATABASE $LIVE RENAME TO $KEPT;
            ALTER DATABASE $SCRATCH RENAME TO $LIVE;
            ALTER DATABASE $LIVE ALLOW_CONNECTIONS true;
            ALTER DATABASE $KEPT ALLOW_CONNECTIONS true;
            COMMENT ON DATABASE $KEPT IS $FACTS;
            EXECUTE format('COMMENT ON DATABASE %I IS %L', $LIVE_TEXT, comment);
        EXCEPTION WHEN OTHERS THEN
            problem := SQLERRM; state := SQLSTATE;
        END;
    END IF;
    IF problem IS NOT NULL THEN
        ALTER DATABASE $LIVE ALLOW_CONNECTIONS true;
        EXECUTE format('COMMENT ON DATABASE %I IS %L', $SCRATCH_TEXT, comment);
        COMMIT;
        RAISE EXCEPTION USING MESSAGE = problem, ERRCODE = state;
    END IF;
    COMMIT;
    RAISE WARNING 'gap %', extract(epoch FROM clock_timestamp() - began) * 1000;
END
$TAG]]

local function fill(statement, with)
    return (statement:gsub("%$(%u[%u_]*)", function(key) return with[key] end))
end

-- ---- what a swap would break ----

local PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = $1 LIMIT 1"
local SLOTS = "SELECT slot_name AS slot FROM pg_replication_slots WHERE database = $1 ORDER BY 1 LIMIT 1"
local SUBSCRIPTIONS = [[SELECT subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
    WHERE d.datname = $1 ORDER BY 1 LIMIT 1]]

local function refuse_what_would_break(admin, live)
    local prepared = value(admin, PREPARED, live)
    if prepared then
        rt.raise("prepared_transaction", string.format("pg: a prepared transaction (%s) holds %s, and a database with one cannot"
            .. " be renamed: COMMIT PREPARED or ROLLBACK PREPARED it", prepared, live))
    end
    local slot = value(admin, SLOTS, live)
    if slot then
        rt.raise("replication", string.format("pg: the replication slot %s belongs to %s and would stay with the database that is"
            .. " swapped out: what reads it (Debezium, a subscriber) would miss what comes; drop the slot first, or use"
            .. " mode = \"in_place\"", slot, live))
    end
    local subscription = value(admin, SUBSCRIPTIONS, live)
    if subscription then
        rt.raise("replication", string.format("pg: the subscription %s of %s would stay with the database that is swapped out:"
            .. " drop it first, or use mode = \"in_place\"", subscription, live))
    end
end

local RIGHTS = [[SELECT (SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user) AS creates,
    pg_has_role(pg_get_userbyid(datdba), 'MEMBER') AS owns, pg_get_userbyid(datdba) AS owner,
    EXISTS (SELECT FROM pg_language WHERE lanname = 'plpgsql') AS speaks
    FROM pg_database WHERE datname = $1]]

local function refuse_powerless(admin, live)
    local may = rows(admin, RIGHTS, live)[1]
    local why = not may.creates and "the role may not create databases (CREATEDB)"
        or not may.owns and string.format("%s belongs to %s", live, may.owner)
        or not may.speaks and "the database postgres lacks the language plpgsql"
    if why then
        rt.raise("cannot_rename", string.format("pg: %s cannot be swapped: %s. mode = \"in_place\" needs no rename: it replaces"
            .. " what is in the database in one transaction, with the application stopped", live, why))
    end
end

local UNTOUCHABLE = ([[SELECT string_agg(a.pid || ' (' || r.rolname || ')', ', ' ORDER BY a.pid) FROM pg_stat_activity a
    JOIN pg_roles r ON r.oid = a.usesysid WHERE a.datname = $1 AND $SOMEBODY
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    AND (r.rolsuper OR NOT pg_has_role(r.oid, 'USAGE') AND NOT pg_has_role('pg_signal_backend', 'USAGE'))]])
    :gsub("%$SOMEBODY", databases.SOMEBODY)

-- Before anybody is sent away.
local function refuse_untouchable(admin, live)
    local sessions = value(admin, UNTOUCHABLE, live)
    if sessions then
        rt.raise("in_use", string.format("pg: %s cannot be swapped while these sessions are connected, which the role may not end:"
            .. " %s. GRANT pg_signal_backend lets it end those of other roles; a superuser's must be ended by one", live,
            sessions))
    end
end

--- Refuses what a swap would break, and a role that cannot do it.
function M.check(job)
    refuse_powerless(job.own.admin, job.name)
    refuse_untouchable(job.own.admin, job.name)
    refuse_what_would_break(job.own.admin, job.name)
end

-- ---- the watcher ----

local QUIET = ([[SELECT NOT datallowconn AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = d.oid
        AND $SOMEBODY AND pid <> pg_backend_pid()) AS quiet,
    (SELECT string_agg(pid || ' (' || COALESCE(usename, '?') || ', ' || COALESCE(NULLIF(application_name, ''), 'no name')
        || ')', ', ')
        FROM pg_stat_activity WHERE datid = d.oid AND $SOMEBODY AND pid <> pg_backend_pid()) AS left
    FROM pg_database d WHERE datname = current_database()]]):gsub("%$SOMEBODY", databases.SOMEBODY)

local function wait_until_quiet(watcher, ended)
    local since = rt.now()
    while not ended() do
        local at = rows(watcher, QUIET)[1]
        if at.quiet then
            return
        elseif rt.now() > since + SESSIONS_MS then
            rt.raise("in_use", "pg: nothing was swapped: these sessions do not end: " .. tostring(at.left))
        end
    end
end

-- Says its word, and no more: the server ends the session.
local function say(watcher, word)
    run(watcher, "SET application_name = %s", text(SIGN .. word))
end

local function closing(job)
    return ("rollouthost swaps this in (%s)\n"):format(job.mark)
end

local function statement(job, facts, watcher)
    local _, process = native.server(watcher)
    facts.mark = job.mark
    return fill(SWAP, {
        LIVE = name(job.name), LIVE_TEXT = text(job.name), KEPT = name(facts.kept), SCRATCH = name(job.scratch),
        SCRATCH_TEXT = text(job.scratch), CLOSING = text(closing(job)),
        FACTS = text(rt.json.encode(facts)), WATCHER = tostring(process), SIGN = SIGN, PATIENCE = tostring(PATIENCE_MS),
        TAG = "$swap_" .. job.mark .. "$", SOMEBODY = databases.SOMEBODY,
    })
end

local function explain(err, live)
    local state = type(err.detail) == "table" and err.detail.sqlstate
    if state == "55006" then -- object_in_use
        rt.raise("in_use", "pg: nothing was swapped: " .. err.message)
    elseif state == "42501" and err.message:find("rename", 1, true) then
        rt.raise("cannot_rename", string.format("pg: nothing was swapped: %s. mode = \"in_place\" needs no rename: it replaces what"
            .. " is in the database in one transaction, with the application stopped", err.message))
    elseif state == "42501" then
        rt.raise("in_use", string.format("pg: nothing was swapped: %s: end that session of %s and try again", err.message, live))
    end
    error(err, 0)
end

local GAP = "gap ([%d.]+)"

local function gap_of(info)
    for _, notice in ipairs(info.notices) do
        local gap = notice:match(GAP)
        if gap then
            return math.floor(tonumber(gap) + 0.5)
        end
    end
end

--- Swaps job.scratch in, which is closed. check() is called when nobody can write any more, and raises where that would lose
--- too much: then all is as before. Returns the milliseconds for which nobody could connect.
function M.swap(job, facts, check)
    local admin = job.own.admin
    M.check(job)
    local watcher = databases.connect(job, job.name)
    local sql, info, ended = statement(job, facts, watcher), nil, false
    local ok, err = pcall(rt.together, {
        function()
            local done, result, more = pcall(native.query, admin, sql, nil, { plain = true, must = true })
            ended = true
            if not done then
                error(result, 0)
            end
            info = more
        end,
        function()
            local agreed, why = pcall(function()
                wait_until_quiet(watcher, function() return ended end)
                if not ended then
                    job.own.live = watcher
                    check()
                end
            end)
            job.own.live = nil
            if not ended then
                pcall(say, watcher, agreed and "go" or "no")
            end
            if not agreed then
                error(why, 0)
            end
        end,
    })
    native.close(watcher)
    if not ok then
        explain(err, job.name)
    end
    return gap_of(info)
end

-- ---- afterwards ----

local KEPT = [[SELECT datname AS name, shobj_description(oid, 'pg_database') AS facts FROM pg_database
    WHERE shobj_description(oid, 'pg_database') LIKE '{%"mark":"' || $1 || '"%']]

-- A predecessor's statement goes on without it.
local UNDER_WAY = [[SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%DO $swap_' || $1 || '$%' AND state = 'active'
    AND pid <> pg_backend_pid()]]

local CLOSED = [[SELECT datname AS name, substr(shobj_description(oid, 'pg_database'), length($1) + 1) AS comment
    FROM pg_database WHERE starts_with(shobj_description(oid, 'pg_database'), $1)]]

-- What a server that died within this swap has left.
local function reopen(job)
    local admin = job.own.admin
    local row = rows(admin, CLOSED, closing(job))[1]
    if row then
        databases.thaw(admin, job.name)
        run(admin, "COMMENT ON DATABASE %s IS %s", name(row.name), row.comment ~= "" and text(row.comment) or "NULL")
    end
end

--- The facts of this very swap where it has been done; else nil, and the live database is open.
function M.swapped(job)
    local admin = job.own.admin
    local until_ms = rt.now() + 2 * PATIENCE_MS
    while value(admin, UNDER_WAY, job.mark) > 0 and rt.now() < until_ms do
        value(admin, "SELECT pg_sleep(0.05) IS NULL")
    end
    local row = rows(admin, KEPT, job.mark)[1]
    if row then
        local facts = rt.json.decode(row.facts)
        facts.kept = row.name
        return facts
    end
    reopen(job)
    return nil
end

return M
