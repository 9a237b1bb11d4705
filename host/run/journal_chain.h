/* What holds a journal's events together: the hash chain, and beside it the tip, the newest event that was durable. */
#ifndef RH_RUN_JOURNAL_CHAIN_H
#define RH_RUN_JOURNAL_CHAIN_H

#include "store/store.h"

/* The first link: a journal cannot be passed off as another run's. */
void rh_chain_first(const char *run, uint8_t hash[RH_STORE_HASH]);
void rh_chain_next(const uint8_t previous[RH_STORE_HASH], const rh_store_row *row,
                   uint8_t hash[RH_STORE_HASH]);

/* RUN/journal.tip, in a file of its own: events that are cut off at the end leave a chain that fits. It is written
 * after each commit and never synced: after a power failure it may be older than the journal, never newer. */
typedef struct rh_tip {
    int64_t seq; /* 0: there is none, or it cannot be read */
    uint8_t hash[RH_STORE_HASH];
} rh_tip;

rh_tip rh_tip_read(const char *run_dir);
int rh_tip_open(const char *run_dir, bool shared); /* for writing; -1 where it cannot be kept */
void rh_tip_write(int fd, const rh_tip *tip);

#endif
