#include "run/journal.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "run/journal_chain.h"
#include "run/journal_index.h"
#include "run/lock.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rh_journal {
    rh_store *store;
    rh_lock *lock; /* NULL: to look at only */
    rh_index index;
    int64_t epoch;
    int64_t durable;            /* the newest seq on disk */
    int64_t replayed;           /* the newest seq at opening */
    int64_t broken;             /* the first seq that does not fit the chain; 0: none */
    int64_t sending;            /* during a commit */
    uint8_t tip[RH_STORE_HASH]; /* the hash of the newest event that is on disk */
    rh_tip kept;                /* what journal.tip said at opening */
    int tip_fd;                 /* -1: it is not kept */
    rh_buffer scratch;          /* a long payload, read from the store */
    rh_error failure;
};

/* Opening. ---------------------------------------------------------------------------------------- */

static bool load_row(void *data, const rh_store_row *row)
{
    rh_journal *journal = data;
    uint8_t hash[RH_STORE_HASH];
    rh_chain_next(journal->tip, row, hash);
    if (!journal->broken &&
        (row->seq != (int64_t)journal->index.count + 1 ||
         memcmp(hash, row->hash, sizeof hash) != 0 ||
         (row->seq == journal->kept.seq && memcmp(hash, journal->kept.hash, sizeof hash) != 0)))
        journal->broken = row->seq;
    memcpy(journal->tip, row->hash, sizeof journal->tip);
    rh_index_add(&journal->index, row->time_us, row->type, row->key, row->payload,
                 row->payload_size, false);
    journal->epoch = row->epoch > journal->epoch ? row->epoch : journal->epoch;
    journal->durable = row->seq;
    return true;
}

static char *path_in(const char *run_dir, const char *name)
{
    return rh_format("%s/%s", run_dir, name);
}

static bool open_store(rh_journal *journal, const char *run_dir, const char *run,
                       rh_store_mode mode, rh_error *error)
{
    char *path = path_in(run_dir, "journal.db");
    char *lock = path_in(run_dir, "journal.lock");
    bool ok = true;
    if (mode !=
        RH_STORE_CREATE) /* before the events: there may be more of them by and by, not fewer */
        journal->kept = rh_tip_read(run_dir);
    if (mode != RH_STORE_READ) {
        const char *name = strrchr(run_dir, '/');
        char *what = rh_format("run %s", run ? run : name ? name + 1 : run_dir);
        journal->lock = rh_lock_take(lock, what, NULL, error);
        ok = journal->lock != NULL;
        free(what);
    }
    ok = ok && (journal->store = rh_store_sqlite(path, run, mode, error));
    if (ok) {
        rh_chain_first(journal->store->run, journal->tip);
        ok = mode == RH_STORE_CREATE ||
             journal->store->class->read(journal->store, 0, load_row, journal, error);
    }
    free(path);
    free(lock);
    return ok;
}

static rh_journal *open_journal(const char *run_dir, const char *run, rh_store_mode mode,
                                rh_error *error)
{
    rh_journal *journal = rh_alloc(sizeof *journal);
    journal->tip_fd = -1;
    if (!open_store(journal, run_dir, run, mode, error) ||
        (mode == RH_STORE_WRITE && !rh_journal_verify(journal, error))) {
        rh_journal_close(journal);
        return NULL;
    }
    journal->replayed = rh_journal_last(journal);
    if (mode != RH_STORE_READ) {
        journal->epoch++;
        journal->tip_fd = rh_tip_open(run_dir, mode == RH_STORE_CREATE);
    }
    return journal;
}

rh_journal *rh_journal_create(const char *run_dir, const char *run, rh_error *error)
{
    return open_journal(run_dir, run, RH_STORE_CREATE, error);
}

rh_journal *rh_journal_open(const char *run_dir, rh_error *error)
{
    return open_journal(run_dir, NULL, RH_STORE_WRITE, error);
}

rh_journal *rh_journal_read(const char *run_dir, rh_error *error)
{
    return open_journal(run_dir, NULL, RH_STORE_READ, error);
}

bool rh_journal_refresh(rh_journal *journal, rh_error *error)
{
    if (!journal->store->class->read(journal->store, journal->durable, load_row, journal, error))
        return false;
    journal->replayed = rh_journal_last(journal);
    return true;
}

void rh_journal_close(rh_journal *journal)
{
    if (!journal)
        return;
    if (journal->store)
        journal->store->class->close(journal->store);
    if (journal->tip_fd >= 0)
        close(journal->tip_fd);
    rh_event_release();
    rh_lock_release(
        journal->lock); /* after the store: whoever takes it next finds the file settled */
    rh_index_free(&journal->index);
    rh_buffer_free(&journal->scratch);
    rh_error_clear(&journal->failure);
    free(journal);
}

bool rh_journal_verify(const rh_journal *journal, rh_error *error)
{
    const int64_t last = rh_journal_last(journal);
    if (!journal->broken && last < journal->kept.seq)
        return rh_fail(
            error, "journal",
            "the journal of run %s was cut: it ends with event %lld, and %lld were written. What the "
            "others recorded is not known, so the run cannot go on from it",
            journal->store->run, (long long)last, (long long)journal->kept.seq);
    return !journal->broken ||
           rh_fail(
               error, "journal",
               "the journal of run %s was changed or is damaged: event %lld does not fit its hash chain. The "
               "run cannot go on from it",
               journal->store->run, (long long)journal->broken);
}

bool rh_journal_is_live(const char *run_dir)
{
    char *lock = path_in(run_dir, "journal.lock");
    bool live = rh_lock_is_held(lock, NULL);
    free(lock);
    return live;
}

/* Writing. ---------------------------------------------------------------------------------------- */

const char *rh_journal_failure(const rh_journal *journal) { return journal->failure.message; }

void rh_journal_fail(rh_journal *journal, rh_error *error)
{
    rh_error_move(&journal->failure, error);
    rh_error_clear(error);
}

static bool is_usable(const rh_journal *journal, rh_error *error)
{
    if (journal->failure.code)
        return rh_fail(error, "journal", "%s", journal->failure.message);
    return journal->lock || rh_fail(error, "journal", "the journal is open for reading only");
}

int64_t rh_journal_append(rh_journal *journal, const char *type, const char *key,
                          const char *payload, size_t size, rh_error *error)
{
    if (!is_usable(journal, error))
        return 0;
    if (size > INT32_MAX) {
        rh_fail(error, "too_large", "%s of %s is too large for the journal: %zu bytes", type, key,
                size);
        return 0;
    }
    rh_event event = {.time_us = rh_wall_us(), .type = type, .key = key, .payload = payload};
    rh_index_add(&journal->index, event.time_us, type, key, payload, size, true);
    event.seq = rh_journal_last(journal);
    rh_event_hold();
    rh_event_emit(&event);
    return event.seq;
}

bool rh_journal_is_pending(const rh_journal *journal)
{
    return rh_journal_last(journal) > journal->durable;
}

static bool next_row(void *data, rh_store_row *row)
{
    rh_journal *journal = data;
    if (journal->sending == rh_journal_last(journal))
        return false;
    const rh_index_event *event = &journal->index.events[journal->sending++];
    *row = (rh_store_row){
        .seq = journal->sending,
        .epoch = journal->epoch,
        .time_us = event->time_us,
        .type = event->type,
        .key = event->key,
        .payload = event->payload,
        .payload_size = event->size,
    };
    rh_chain_next(journal->tip, row, row->hash);
    memcpy(journal->tip, row->hash, sizeof journal->tip);
    return true;
}

static bool write_pending(rh_journal *journal)
{
    journal->sending = journal->durable;
    if (!journal->store->class->append(journal->store, next_row, journal, &journal->failure))
        return false;
    while (journal->durable < journal->sending)
        rh_index_settle(&journal->index.events[journal->durable++]);
    if (journal->tip_fd >= 0) {
        rh_tip tip = {.seq = journal->durable};
        memcpy(tip.hash, journal->tip, sizeof tip.hash);
        rh_tip_write(journal->tip_fd, &tip);
    }
    return true;
}

bool rh_journal_commit(rh_journal *journal, rh_error *error)
{
    if (is_usable(journal, error) && rh_journal_is_pending(journal))
        write_pending(journal);
    rh_event_release(); /* all the same where it failed: that is told next */
    return is_usable(journal, error);
}

/* Reading. ---------------------------------------------------------------------------------------- */

int64_t rh_journal_last(const rh_journal *journal) { return (int64_t)journal->index.count; }
int64_t rh_journal_epoch(const rh_journal *journal) { return journal->epoch; }
const char *rh_journal_run(const rh_journal *journal) { return journal->store->run; }

const char *rh_journal_type(const rh_journal *journal, int64_t seq)
{
    return journal->index.events[seq - 1].type;
}

bool rh_journal_at(rh_journal *journal, int64_t seq, rh_event *event)
{
    if (seq < 1 || seq > rh_journal_last(journal))
        return false;
    const rh_index_event *found = &journal->index.events[seq - 1];
    *event = (rh_event){
        .seq = seq,
        .time_us = found->time_us,
        .type = found->type,
        .key = found->key,
        .payload = found->payload,
        .replayed = seq <= journal->replayed,
    };
    if (!event->payload) {
        rh_buffer_clear(&journal->scratch);
        if (!journal->store->class->payload(journal->store, seq, &journal->scratch,
                                            &journal->failure))
            return false;
        event->payload = journal->scratch.data;
    }
    return true;
}

bool rh_journal_recall(rh_journal *journal, const char *type, const char *key, rh_event *event)
{
    return rh_journal_at(journal, rh_index_find(&journal->index, type, key), event);
}
