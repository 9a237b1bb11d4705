/* The state folder and the runs in it (docs/design.md, "State folder"). Strings returned are free()d by the
 * caller. */
#ifndef RH_RUN_STATE_H
#define RH_RUN_STATE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The state folder as an absolute path: `given` (--state, or NULL), else $ROLLOUTHOST_STATE, else
 * /var/lib/rollouthost where it is writable, else the user's own. `write`: it is created if missing and must be
 * writable. Errors ("state"; "journal" where the disk is full): read-only, someone else's, writable by anyone, on a network file system. */
char *rh_state_open(const char *given, bool write, rh_error *error);

/* What a command must carry to find this folder when somebody types it: " --state DIR", or "" where it is found
 * without. The environment does not count: who pastes the command may have another. */
char *rh_state_option(const char *state);

/* Fills *error for something in it that could not be made: "journal" where the disk is full or broken, else
 * "state". Returns false. */
bool rh_state_fail_making(const char *path, int err, rh_error *error);

enum { RH_STATE_KEY = 32 };
/* The key of fingerprints: made on first use. */
bool rh_state_key(const char *state, uint8_t key[RH_STATE_KEY], rh_error *error);

/* What a file system of this kind is called if state must not live on it, else NULL. `magic` is statfs's
 * f_type; `type` the name in /proc/self/mountinfo, consulted for FUSE. */
const char *rh_state_unfit(long magic, const char *type);

/* Runs. -------------------------------------------------------------------------------------------- */

/* A new run's id, PLAYBOOK-YYYYMMDD-HHMMSS-xxxx; its folder and those in it are on disk on return. */
char *rh_state_new_run(const char *state, const char *playbook, rh_error *error);
char *rh_state_run_dir(const char *state, const char *run);
/* The id that `part` stands for: the whole of one, or a part of exactly one, or of several of
 * which one is not finished. Errors: "no_run", "ambiguous". */
char *rh_state_find_run(const char *state, const char *part, rh_error *error);
/* Without a name: the only unfinished run, else the newest. Errors: "no_run"; "ambiguous" lists them. */
char *rh_state_pick_run(const char *state, rh_error *error);

typedef struct rh_state_run {
    const char *id;
    const char
        *status; /* of the newest run.end or run.pause; "running"; "interrupted": its process died;
                                "damaged": the journal cannot be read, `error` says why */
    const char *playbook; /* the header's name; "" where it is not known */
    const char *environment;
    const char *by;             /* who started it */
    const char *error;          /* what ended it, or "" */
    int64_t begun_ms, ended_ms; /* ended_ms: 0 while it is not finished */
    int64_t exit_code;          /* -1: none yet */
    bool live;                  /* a process holds it */
    bool finished;              /* it came to its end: no resume is needed */
} rh_state_run;

/* Calls fn for the newest `limit` runs (0: all), newest first, until it returns false. All of it is read from
 * the journals, from the few events that say it; what fn is given is valid during the call. */
bool rh_state_runs(const char *state, size_t limit, bool (*fn)(void *data, const rh_state_run *run),
                   void *data, rh_error *error);

/* Whether this state folder has the run of that whole id; *unfinished: it has not come to its end
 * (or its journal cannot be read). */
bool rh_state_run_is_there(const char *state, const char *run, bool *unfinished);

#endif
