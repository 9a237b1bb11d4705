/* A run, from the request on the command line to the exit code: state, lock, journal, guardian, Lua, loop. */
#ifndef RH_RUN_RUN_H
#define RH_RUN_RUN_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rh_run_request {
    const char *state;       /* the state folder, resolved (run/state.h) */
    const char *playbook;    /* path; NULL when `run` names an existing one */
    const char *run;         /* id of an existing run (resume, rollback, abort), or NULL */
    const char *environment; /* --env, or NULL */
    const char *const *set;  /* "key=value" …, NULL-terminated, or NULL */
    const char *at;          /* --at, or NULL */
    const char *env_file;
    const char *roles_file;
    const char *emergency; /* the reason, or NULL */
    const char *intent;    /* "run" "plan" "resume" "rollback" "abort" */
    const char *reason;    /* of rollback and abort, or NULL */
    bool wait;             /* --wait: wait for a lock or a window instead of stopping */
    bool yes;
    bool interactive; /* a terminal can be asked */
} rh_run_request;

/* Executes it and returns the documented exit code (0–8). On a code that comes with an error that no event
 * has told yet (usage, a playbook that does not load, a journal that cannot be written), *error is set. */
int rh_run_execute(const rh_run_request *request, rh_error *error);

/* SIGINT's levels, from a libuv signal callback: 1 finish the effect in flight, then pause; 2 cancel it. */
void rh_run_interrupt(int level);

#endif
