/* Locks: an OFD lock on a file. The kernel frees it when the holder dies; commands never inherit it. Beside
 * the file, NAME.json says who holds it, for the message of whoever comes second. */
#ifndef RH_RUN_LOCK_H
#define RH_RUN_LOCK_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rh_lock rh_lock;

typedef struct rh_lock_info {
    char *run;    /* whose lock it is; may be NULL */
    char *by;     /* login */
    char *host;   /* machine */
    char *reason; /* of a record; NULL for a lock */
    int64_t pid;  /* of a lock; 0 for a record */
    int64_t since_ms;
} rh_lock_info;
void rh_lock_info_clear(rh_lock_info *info);

/* Takes the lock on `path` (created if missing) for `run`, or fails at once with the code "locked"; `what` is
 * named in the message ("run terp-…"). */
rh_lock *rh_lock_take(const char *path, const char *what, const char *run, rh_error *error);
void rh_lock_release(rh_lock *lock); /* NULL is fine */
/* True if another process holds it; *info (may be NULL) says who. */
bool rh_lock_is_held(const char *path, rh_lock_info *info);

/* The lock of an environment: refused with "locked" while another run holds it, or while a record does (then
 * the error's detail is {"record":true}: waiting for it would be in vain). */
rh_lock *rh_lock_environment(const char *state, const char *playbook, const char *environment,
                             const char *run, rh_error *error);
/* Who holds the environment, by lock or by record: false if nobody. */
bool rh_lock_environment_is_held(const char *state, const char *playbook, const char *environment,
                                 rh_lock_info *info);

/* A record that keeps an environment locked (by hand, or after a rollback) until someone removes it. It is
 * durable on return. `run` may be NULL. */
bool rh_lock_hold(const char *state, const char *playbook, const char *environment,
                  const char *reason, const char *run, rh_error *error);
/* Removes the record. "not_held" if there is none. */
bool rh_lock_unhold(const char *state, const char *playbook, const char *environment,
                    rh_error *error);

/* Removes the record if it is this run's: when its resume or rollback came to a good end. */
void rh_lock_unhold_own(const char *state, const char *playbook, const char *environment,
                        const char *run);

/* Calls fn for each environment that is locked now. */
bool rh_lock_each(const char *state,
                  void (*fn)(void *data, const char *playbook, const char *environment,
                             const rh_lock_info *info),
                  void *data, rh_error *error);

#endif
