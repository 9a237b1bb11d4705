/* secret { "NAME", command = { "op", "read", … } }: a secret that a password manager prints. The command runs outside of the
 * guardian, whose spool would keep what it prints: its output stays in this process's memory, and is in no message. It has a
 * session of its own, so that a terminal's Ctrl-C is the run's alone, and ends with all that it has started.
 *
 * Where a task can wait for it, it is an operation on the loop. Native code that needs a secret in its middle cannot: for that
 * it runs to its end, and nothing else happens meanwhile. */
#ifndef RH_RUN_SECRET_COMMAND_H
#define RH_RUN_SECRET_COMMAND_H

#include "core/buffer.h"
#include "core/error.h"
#include "core/op.h"
#include "run/waiters.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* A command under way, on any loop. */
typedef struct rh_secret_child {
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t timer;
    rh_buffer text;
    int64_t status;
    int signal, spawned; /* spawned: libuv's error, where it could not be started */
    unsigned open;       /* handles */
    bool too_much, too_long;
    void (*ended)(struct rh_secret_child *child); /* all handles are closed */
    char chunk[4096];
} rh_secret_child;

/* Errors of both, code "secret": the command is not found, fails, prints too much, or has not ended after `timeout_ms`. `name`
 * is the secret's; `argv` is NULL-terminated. */

/* To its end. Appends what it printed, without the newline at its end, to `text` (rh_secret_command_forget() it). */
bool rh_secret_command(const char *name, const char *const *argv, uint64_t timeout_ms,
                       rh_buffer *text, rh_error *error);
void rh_secret_command_forget(rh_buffer *text); /* wipes and frees it */

/* On the loop. What it printed is in child.text when it is done. */
typedef struct rh_secret_op {
    rh_op op;
    rh_secret_child child;
    char *name, *program;
    uint64_t timeout_ms;
    rh_waiters others;
    struct rh_secret_op *next; /* of those under way */
} rh_secret_op;

void rh_secret_op_start(rh_secret_op *op, const char *name, const char *const *argv,
                        uint64_t timeout_ms);
void rh_secret_op_cancel(rh_op *op); /* for the class */
void rh_secret_op_fini(rh_op *op);   /* for the class */
/* An operation that is done when the command under way for that secret has ended, however; NULL: there is none. */
rh_op *rh_secret_op_join(const char *name);

#endif
