/* The guardian's ledger, RUN/spool/ledger, as the host reads it. Only a guardian writes it, one line a write:
 *
 *      guardian PID BOOT                 a guardian began; the lines after it are its own
 *      start ID                          before the process is made
 *      failed ID                         it could not be made
 *      pid ID PID STARTTIME              it was; start time in clock ticks since boot
 *      exit ID CODE SIGNAL FLAGS MS OUT_RAW ERR_RAW OUT ERR CAPTURE SHARED
 *
 * and beside it the masked output: OUT and ERR bytes from SHARED on in the file `output`; or, where SHARED is
 * -1, in ID.out and ID.err the first CAPTURE/2 bytes, then a ring of as many. */
#ifndef RH_RUN_LEDGER_H
#define RH_RUN_LEDGER_H

#include "core/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_ledger_entry {
    rh_command_state state;
    bool ours; /* the guardian that is alive now answers for it */
    int64_t pid;
    uint64_t start_time;
    int code, signal;
    unsigned flags; /* RH_EXIT_… of core/frame.h */
    int64_t ms;
    uint64_t out_raw, err_raw, out, err;
    size_t capture;
    int64_t shared; /* where its output begins in the file that all short ones share, or -1 */
} rh_ledger_entry;

/* What the ledger in the spool folder `dir` and /proc tell of a command. `guardian`: the pid of the one that
 * is connected, or 0. A command that the ledger does not know is NEVER, unless the machine was started anew
 * since the run began (a power failure may have taken its line): then it is LOST. */
rh_ledger_entry rh_ledger_look(int dir, const char *id, int64_t guardian);

/* The ids that the ledger has, as sorted hashes (free() them), to tell quickly that a new id is new. */
uint64_t *rh_ledger_ids(int dir, size_t *count);
bool rh_ledger_has(const uint64_t *ids, size_t count, const char *id);

/* Appends what the spool kept of a command that has ended. Where it is not the whole, a line that says how much
 * is left out stands in the gap. */
bool rh_spool_read(int dir, const char *id, const rh_ledger_entry *end, rh_buffer *out,
                   rh_buffer *err);

#endif
