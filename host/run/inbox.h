/* The inbox of a run: a sticky folder into which approve, reject, confirm, decide, pause, rollback and abort
 * drop a file by rename. Who owns the file is who said it; nothing inside it can say otherwise. */
#ifndef RH_RUN_INBOX_H
#define RH_RUN_INBOX_H

#include "core/error.h"
#include "core/op.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Drops a message for the run in `run_dir`, as the user of this process; it is durable on return. `json` is
 * the text of a JSON object, or NULL. */
bool rh_inbox_drop(const char *run_dir, const char *kind, const char *json, rh_error *error);

typedef struct rh_inbox_message {
    const char *file; /* its name in the folder */
    const char *kind;
    uid_t uid;      /* the owner of the file */
    const char *by; /* the login of that */
    int64_t time_ms;
    const char *data; /* JSON text of an object */
} rh_inbox_message;

typedef struct rh_inbox rh_inbox;

/* Watches the inbox, from a moment later on; what comes before that is told then. */
rh_inbox *rh_inbox_open(const char *run_dir, rh_error *error);
void rh_inbox_close(rh_inbox *inbox); /* no task waits any more; NULL is fine */
/* Calls fn for each message, oldest first; it is valid during the call. What is no message (a link, a file
 * that others can write, not JSON, meant for another run) is told once in a `warning` event and stays. */
bool rh_inbox_scan(rh_inbox *inbox, void (*fn)(void *data, const rh_inbox_message *message),
                   void *data, rh_error *error);
/* Until it is watched: wakes who waits, and returns true, if there is something new. */
bool rh_inbox_look_early(rh_inbox *inbox);
/* Removes a message; false if the folder does not let us (another user's message in another user's run). */
bool rh_inbox_remove(rh_inbox *inbox, const char *file);
/* An op to await: done when the next file arrives. */
rh_op *rh_inbox_wait(rh_inbox *inbox);

#endif
