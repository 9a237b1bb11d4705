#include "run/journal.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "run/journal_index.h"
#include "run/lock.h"
#include "store/store.h"

#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

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
    rh_buffer scratch;          /* a long payload, read from the store */
    rh_error failure;
};

/* The chain. -------------------------------------------------------------------------------------- */

static void hash_number(struct sha256_ctx *context, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    sha256_update(context, sizeof bytes, bytes);
}

static void hash_text(struct sha256_ctx *context, const char *text, size_t size)
{
    hash_number(context, size); /* so that no two rows give the same bytes */
    sha256_update(context, size, (const uint8_t *)text);
}

static void hash_row(const uint8_t previous[RH_STORE_HASH], const rh_store_row *row,
                     uint8_t hash[RH_STORE_HASH])
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, RH_STORE_HASH, previous);
    hash_number(&context, (uint64_t)row->seq);
    hash_number(&context, (uint64_t)row->epoch);
    hash_number(&context, (uint64_t)row->time_us);
    hash_text(&context, row->type, strlen(row->type));
    hash_text(&context, row->key, strlen(row->key));
    hash_text(&context, row->payload, row->payload_size);
    sha256_digest(&context, RH_STORE_HASH, hash);
}

/* Opening. ---------------------------------------------------------------------------------------- */

static bool load_row(void *data, const rh_store_row *row)
{
    rh_journal *journal = data;
    uint8_t hash[RH_STORE_HASH];
    hash_row(journal->tip, row, hash);
    if (!journal->broken && (row->seq != (int64_t)journal->index.count + 1 ||
                             memcmp(hash, row->hash, sizeof hash) != 0))
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

/* The first link: a journal cannot be passed off as another run's. */
static void begin_chain(rh_journal *journal)
{
    struct sha256_ctx context;
    sha256_init(&context);
    hash_text(&context, journal->store->run, strlen(journal->store->run));
    sha256_digest(&context, RH_STORE_HASH, journal->tip);
}

static bool open_store(rh_journal *journal, const char *run_dir, const char *run,
                       rh_store_mode mode, rh_error *error)
{
    char *path = path_in(run_dir, "journal.db");
    char *lock = path_in(run_dir, "journal.lock");
    bool ok = true;
    if (mode != RH_STORE_READ) {
        const char *name = strrchr(run_dir, '/');
        char *what = rh_format("run %s", run ? run : name ? name + 1 : run_dir);
        journal->lock = rh_lock_take(lock, what, NULL, error);
        ok = journal->lock != NULL;
        free(what);
    }
    ok = ok && (journal->store = rh_store_sqlite(path, run, mode, error));
    if (ok) {
        begin_chain(journal);
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
    if (!open_store(journal, run_dir, run, mode, error) ||
        (mode == RH_STORE_WRITE && !rh_journal_verify(journal, error))) {
        rh_journal_close(journal);
        return NULL;
    }
    journal->replayed = rh_journal_last(journal);
    journal->epoch += mode != RH_STORE_READ;
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
    rh_lock_release(
        journal->lock); /* after the store: whoever takes it next finds the file settled */
    rh_index_free(&journal->index);
    rh_buffer_free(&journal->scratch);
    rh_error_clear(&journal->failure);
    free(journal);
}

bool rh_journal_verify(const rh_journal *journal, rh_error *error)
{
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
    hash_row(journal->tip, row, row->hash);
    memcpy(journal->tip, row->hash, sizeof journal->tip);
    return true;
}

bool rh_journal_commit(rh_journal *journal, rh_error *error)
{
    if (!is_usable(journal, error))
        return false;
    if (!rh_journal_is_pending(journal))
        return true;
    journal->sending = journal->durable;
    if (!journal->store->class->append(journal->store, next_row, journal, &journal->failure))
        return is_usable(journal, error);
    while (journal->durable < journal->sending)
        rh_index_settle(&journal->index.events[journal->durable++]);
    return true;
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
