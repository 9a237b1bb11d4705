#include "run/host.h"

#include "core/loop.h"

#include <lua5.4/lauxlib.h>

rh_host *rh_host_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

/* What the turn appended becomes durable in one transaction, and whoever waits for that goes on. */
static bool end_turn(void *data)
{
    rh_host *host = data;
    rh_error error = {0};
    bool ok = true;
    if (host->journal && rh_journal_is_pending(host->journal) &&
        !rh_journal_failure(host->journal)) {
        if (!rh_sources_settle(host->sources, &error))
            rh_journal_fail(host->journal, &error);
        ok = rh_journal_commit(host->journal, &error);
    }
    const bool awaited = host->commits.first != NULL;
    rh_waiters_wake(&host->commits, ok ? NULL : &error);
    rh_error_clear(&error);
    return awaited;
}

int rh_host_open(lua_State *L, rh_host *host)
{
    lua_newtable(L);
    rh_host_open_journal(L, host);
    rh_host_open_inbox(L, host);
    rh_host_open_values(L, host);
    rh_host_open_sources(L, host);
    rh_host_open_run(L, host);
    rh_host_open_people(L, host);
    rh_loop_at_turn_end(end_turn, host);
    return 1;
}
