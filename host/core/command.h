/* Commands, as engines see them. run/guardian.c provides the implementation (the guardian starts and owns
 * every process); engines know this header only. */
#ifndef RH_CORE_COMMAND_H
#define RH_CORE_COMMAND_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct rh_command_spec {
    const char
        *id; /* unique in the run and safe as a file name: the effect's id. A command with this
                               id that was started before (by a host that died) is re-attached or adopted */
    const char *const *argv; /* NULL-terminated; argv[0] is searched in PATH of `env` */
    const char *const
        *env;          /* "NAME=value", NULL-terminated: the whole environment; NULL: the host's */
    const char *cwd;   /* NULL: where the run started */
    const void *input; /* standard input's bytes; NULL and no input_path: /dev/null */
    size_t input_size;
    const char *input_path; /* a file that becomes standard input */
    const char
        *output_path; /* standard output goes to this file unmasked and uncaptured (a dump): created
                                0600, must not exist */
    int64_t
        timeout_ms; /* <= 0: none. Enforced by the guardian itself: TERM, grace, KILL to the group */
    int64_t grace_ms; /* between TERM and KILL; <= 0: 5000 */
    size_t
        capture; /* bytes of each stream that are kept in memory; 0: 1 MiB. The first and the last
                                half of it are kept; the whole masked output is in the log */
    const char
        *log_path; /* the step's log: output is appended, masked, and shown; NULL: spool only */
    bool service; /* the op is done as soon as the command runs; it lives until rh_command_stop() or
                                the end of its run */
} rh_command_spec;

/* The op of a command. `cls->size` must be at least this; bindings give the class and its push. */
typedef struct rh_command {
    rh_op op;
    int code;   /* exit status, or -1 if a signal ended it */
    int signal; /* the signal that ended it, or 0 */
    bool timed_out;
    bool truncated; /* more was printed than `capture` keeps */
    bool held; /* a grandchild held the pipe: output is what came until the bounded drain ended */
    bool adopted; /* found again after a crash of the host, not started by this one */
    int64_t pid;
    int64_t ms;                    /* run time */
    uint64_t out_total, err_total; /* bytes printed, before masking */
    rh_buffer out, err;            /* masked */
    void *impl;
} rh_command;

typedef enum {
    RH_COMMAND_NEVER,
    RH_COMMAND_ALIVE,
    RH_COMMAND_ENDED,
    RH_COMMAND_LOST
} rh_command_state;

typedef struct rh_command_provider {
    /* Starts (or finds again) the command; errors that can be told at once ("not found") come here or in
     * op->error: code "command_not_found", "cwd", "guardian". On false the op is untouched: discard it. */
    bool (*start)(rh_command *command, const rh_command_spec *spec, rh_error *error);
    void (*cancel)(rh_op *op); /* for the class: TERM, grace, KILL */
    void (*fini)(rh_op *op);   /* for the class: frees out, err, impl */
    /* Ends a service by id; the op is done when it is gone. */
    bool (*stop)(rh_command *op, const char *id, rh_error *error);
    /* What became of a command that a crashed host was asked to start. NEVER: it surely did not start.
     * LOST: it started, and its end is not known (guardian dead, or another boot). */
    rh_command_state (*state)(const char *id);
} rh_command_provider;

const rh_command_provider *rh_commands(void);
void rh_commands_provide(const rh_command_provider *provider);

#endif
