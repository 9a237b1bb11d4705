/* The journal of a run: append-only events with a hash chain, on a store (store/store.h), and an index of the
 * newest event of each (type, key).
 *
 *      append ──► in memory, emitted to the subscribers, recalled from now on
 *                     │  wait for the end of the loop's turn
 *      commit ──► one durable transaction for all of them
 *
 * Errors have the code "journal". A commit that failed is final: the journal refuses everything afterwards,
 * and the process must end with exit code 8; what was committed before is durable. */
#ifndef RH_RUN_JOURNAL_H
#define RH_RUN_JOURNAL_H

#include "core/error.h"
#include "core/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_journal rh_journal;

/* The journal of a new run, in its folder. Nothing is durable before the first commit. */
rh_journal *rh_journal_create(const char *run_dir, const char *run, rh_error *error);
/* For the process that carries on with the run: "locked" while another one does. Verifies the whole chain
 * and names the first event that does not fit. Begins a new epoch. */
rh_journal *rh_journal_open(const char *run_dir, rh_error *error);
/* To look at it, also while another process writes. A broken chain is no error here: rh_journal_verify(). */
rh_journal *rh_journal_read(const char *run_dir, rh_error *error);
void rh_journal_close(rh_journal *journal); /* what is not committed is dropped; NULL is fine */

/* Appends an event, `payload` being masked JSON text. Returns its seq, 0 on errors. Subscribers are told of it, and
 * of what is said from here on, by the commit: whoever acts on what is shown finds it in the journal. */
int64_t rh_journal_append(rh_journal *journal, const char *type, const char *key,
                          const char *payload, size_t size, rh_error *error);
bool rh_journal_is_pending(const rh_journal *journal);
bool rh_journal_commit(rh_journal *journal,
                       rh_error *error); /* everything appended so far is on disk */
/* Fails the journal for a reason of its caller's, as a commit that failed would. *error is emptied. */
void rh_journal_fail(rh_journal *journal, rh_error *error);
/* The message of the commit that failed, or NULL. */
const char *rh_journal_failure(const rh_journal *journal);

/* Events. *event stays valid until the next call on the journal; `replayed`: it was there at opening. */
bool rh_journal_recall(rh_journal *journal, const char *type, const char *key, rh_event *event);
int64_t rh_journal_last(const rh_journal *journal); /* the newest seq; 0: none */
bool rh_journal_at(rh_journal *journal, int64_t seq, rh_event *event);
const char *rh_journal_type(const rh_journal *journal, int64_t seq); /* of an event that is there */
int64_t rh_journal_epoch(const rh_journal *journal);   /* which process's turn: 1 for the first */
const char *rh_journal_run(const rh_journal *journal); /* the run's id */
/* Of a journal opened with rh_journal_read(): reads what was written since. */
bool rh_journal_refresh(rh_journal *journal, rh_error *error);
/* False: the chain is broken, *error names the first event that does not fit; or events are missing at its end. */
bool rh_journal_verify(const rh_journal *journal, rh_error *error);
/* True while a process holds the run (that one alone writes). */
bool rh_journal_is_live(const char *run_dir);

/* How a run stands, out of the few events that say so; the others, however many, are not read. What is not known is NULL
 * or 0. */
typedef struct rh_journal_glance {
    char *start; /* the payload of run.start */
    int64_t begun_us;
    char *type,
        *last; /* the newest of run.start, run.resume, run.pause and run.end: type and payload */
    int64_t last_us;
} rh_journal_glance;

/* Errors ("journal"): it cannot be read, one of those events does not fit its chain, or events are missing at its end. */
bool rh_journal_glance_at(const char *run_dir, rh_journal_glance *glance, rh_error *error);
void rh_journal_glance_clear(rh_journal_glance *glance);

#endif
