/* The host's end of the connection to the guardian: what is in flight, and what the answers mean. For
 * run/guardian.c, which asks. */
#ifndef RH_RUN_GUARDIAN_LINK_H
#define RH_RUN_GUARDIAN_LINK_H

#include "core/command.h"
#include "run/ledger.h"

#include <uv.h>

/* A command, or the stopping of one, that the guardian owes an answer. */
typedef struct rh_flight {
    struct rh_flight *next;
    rh_command *command;
    uint32_t handle;
    char *id;
    bool service, stopping;
    bool shown; /* some of its output came for display */
    bool
        quiet; /* a module's own question (git status): what no step's log gets is shown to nobody */
} rh_flight;

typedef struct rh_guardian_link {
    char *run_dir, *cwd;
    int dir, spool; /* RUN and RUN/spool */
    int fd;         /* the connection, or -1 */
    int64_t pid;
    uv_poll_t *poll;
    rh_buffer in, out;
    size_t secrets; /* how many of the mask's the guardian has */
    uint32_t handles;
    rh_flight *flights;
    uint64_t *seen; /* ids that were started before this connection, as sorted hashes */
    size_t seen_count;
} rh_guardian_link;

extern rh_guardian_link rh_link;

bool rh_link_open(rh_error *error); /* finds or starts the guardian */
/* Everything in flight ends with "guardian_lost". */
void rh_link_close(void);
/* Sends the frames that were put into rh_link.out from `begin` on. What cannot go now goes when the guardian
 * reads; that the connection is broken shows when it is read. */
void rh_link_send(size_t begin);

/* Puts the command in flight: its op is done when the answer comes. */
rh_flight *rh_flight_begin(rh_command *command, const char *id);
/* Fills the command from its end; with `whole` its output is there, else it is read from the spool.
 * `failure`: why output was lost (an errno), or 0. */
void rh_flight_end(rh_command *command, const char *id, const rh_ledger_entry *end, int failure,
                   bool whole);

#endif
