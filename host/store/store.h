/* Where a run's events are kept: one interface, a backend per file. A store knows rows, order and
 * durability; what the rows mean, the hash chain and the index are run/journal.c's.
 *
 * Every failure of a store has the code "journal" and is final: the transaction is gone, nothing of it is
 * tried again, and what was appended before it is durable. */
#ifndef RH_STORE_STORE_H
#define RH_STORE_STORE_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { RH_STORE_HASH = 32 };

typedef struct rh_store_row {
    int64_t seq; /* from 1, without gaps */
    int64_t epoch;
    int64_t time_us;
    const char *type;
    const char *key;
    const char *payload;
    size_t payload_size;
    uint8_t hash[RH_STORE_HASH]; /* over the hash of the row before and everything above */
} rh_store_row;

typedef struct rh_store rh_store;

/* One row: that with `seq`, else the first (or newest) of those with an empty key and one of `types`, which ends in NULL. */
typedef struct rh_store_query {
    int64_t seq;
    const char *const *types; /* four at most */
    bool newest;
} rh_store_query;

typedef struct rh_store_class {
    /* Writes the rows that `next` gives (until it returns false) in one transaction that is on disk when
     * this returns true. */
    bool (*append)(rh_store *store, bool (*next)(void *data, rh_store_row *row), void *data,
                   rh_error *error);
    /* Calls fn for each row after `seq`, in order, until it returns false. The row is valid during the call. */
    bool (*read)(rh_store *store, int64_t seq, bool (*fn)(void *data, const rh_store_row *row),
                 void *data, rh_error *error);
    /* Calls fn for the row that is asked for, if there is one, with the hash of the row before it (NULL: there is none).
     * Rows that are not asked for are passed over unread. */
    bool (*find)(rh_store *store, const rh_store_query *query,
                 void (*fn)(void *data, const rh_store_row *row, const uint8_t *previous),
                 void *data, rh_error *error);
    /* Appends the payload of one row to `out`. */
    bool (*payload)(rh_store *store, int64_t seq, rh_buffer *out, rh_error *error);
    void (*close)(rh_store *store);
} rh_store_class;

struct rh_store {
    const rh_store_class *class;
    char *run; /* the run's id, as the store has it */
};

typedef enum { RH_STORE_CREATE, RH_STORE_WRITE, RH_STORE_READ } rh_store_mode;

/* SQLite, one file. CREATE makes it (it must not exist) for the run of that id; WRITE opens it for the one
 * process that holds the run; READ neither writes nor checkpoints, also while another process writes.
 * Refuses what is not a journal, and one of a newer schema by the version that wrote it. */
rh_store *rh_store_sqlite(const char *path, const char *run, rh_store_mode mode, rh_error *error);

#endif
