/* The events of a journal in memory: all of them by seq, and the newest of each (type, key). Texts live in
 * an arena; a payload that is long stays in the store. */
#ifndef RH_RUN_JOURNAL_INDEX_H
#define RH_RUN_JOURNAL_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RH_INDEX_INLINE = 4096
}; /* longer payloads are read from the store when they are asked for */

typedef struct rh_index_event {
    int64_t time_us;
    const char *type; /* interned */
    const char *key;
    char *payload; /* NULL: in the store only */
    uint32_t size;
} rh_index_event;

typedef struct rh_index {
    rh_index_event *events; /* events[seq - 1] */
    size_t count, capacity;
    uint32_t *slots; /* seq of the newest event of a (type, key); 0: free */
    size_t slot_count, used;
    struct rh_index_block *blocks;
    const char **types;
    size_t type_count;
} rh_index;

/* The event gets the seq count + 1. `keep`: its payload is kept although it is long, in memory of its own,
 * until rh_index_settle(). */
rh_index_event *rh_index_add(rh_index *index, int64_t time_us, const char *type, const char *key,
                             const char *payload, size_t size, bool keep);
void rh_index_settle(rh_index_event *event); /* it is in the store now */
int64_t rh_index_find(const rh_index *index, const char *type, const char *key); /* seq, or 0 */
void rh_index_free(rh_index *index);

#endif
