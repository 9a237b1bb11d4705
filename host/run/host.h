/* The table `host`: what C gives to host/lang (docs/design.md, "The host table"). Never reaches a playbook. */
#ifndef RH_RUN_HOST_H
#define RH_RUN_HOST_H

#include "run/inbox.h"
#include "run/journal.h"
#include "run/lock.h"
#include "run/run.h"
#include "run/sources.h"
#include "run/state.h"
#include "run/variables.h"
#include "run/waiters.h"

#include <lua5.4/lua.h>

/* All that the calls work on. Whoever fills it owns what it points to; it outlives the Lua state. */
typedef struct rh_host {
    const rh_run_request *request;
    const char *id;          /* the run's; NULL before it has one */
    const char *run_dir;     /* NULL likewise */
    const char *start_dir;   /* where the run started */
    const char *mode;        /* "run" or "plan" */
    const char *name;        /* of the playbook, from its header; NULL before */
    const char *environment; /* likewise */
    bool resumed;
    rh_journal
        *journal;    /* NULL in plan mode and before the run has one: events are then only shown */
    rh_inbox *inbox; /* NULL likewise */
    rh_sources *sources;
    rh_variables *variables;
    rh_waiters commits;
    uint8_t key[RH_STATE_KEY];
    bool has_key;
} rh_host;

/* Pushes the table, and registers the commit at the end of each turn of the loop. Once a process. */
int rh_host_open(lua_State *L, rh_host *host);
/* Sets the fields of the table's `run` anew from *host: after it got an id, a name, an environment. The table
 * is on top of the stack. */
void rh_host_describe(lua_State *L, rh_host *host);

/* The groups of calls, each in a file of its own: they add to the table on top of the stack, with the host as
 * their upvalue. */
void rh_host_open_journal(lua_State *L, rh_host *host);
void rh_host_open_inbox(lua_State *L, rh_host *host);
void rh_host_open_values(lua_State *L, rh_host *host);
void rh_host_open_sources(lua_State *L, rh_host *host);
void rh_host_open_run(lua_State *L, rh_host *host);
void rh_host_open_people(lua_State *L, rh_host *host);
rh_host *rh_host_of(lua_State *L); /* the upvalue */

#endif
