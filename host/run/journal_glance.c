#include "core/buffer.h"
#include "run/journal.h"
#include "run/journal_chain.h"

#include <stdlib.h>
#include <string.h>

struct look {
    const char *run;
    rh_journal_glance *glance;
    const rh_tip *tip;
    bool found, fits;
};

static bool fits(const struct look *look, const rh_store_row *row, const uint8_t *previous)
{
    uint8_t first[RH_STORE_HASH], hash[RH_STORE_HASH];
    if (row->seq == 1)
        rh_chain_first(look->run, first);
    else if (!previous)
        return false;
    rh_chain_next(row->seq == 1 ? first : previous, row, hash);
    return memcmp(hash, row->hash, sizeof hash) == 0;
}

static void take_start(void *data, const rh_store_row *row, const uint8_t *previous)
{
    struct look *look = data;
    look->fits = look->fits && fits(look, row, previous);
    look->glance->start = rh_strdup(row->payload);
    look->glance->begun_us = row->time_us;
}

static void take_last(void *data, const rh_store_row *row, const uint8_t *previous)
{
    struct look *look = data;
    look->fits = look->fits && fits(look, row, previous);
    look->glance->type = rh_strdup(row->type);
    look->glance->last = rh_strdup(row->payload);
    look->glance->last_us = row->time_us;
}

static void take_tip(void *data, const rh_store_row *row, const uint8_t *previous)
{
    (void)previous;
    struct look *look = data;
    look->found = true;
    look->fits = look->fits && memcmp(row->hash, look->tip->hash, sizeof row->hash) == 0;
}

bool rh_journal_glance_at(const char *run_dir, rh_journal_glance *glance, rh_error *error)
{
    static const char *const starts[] = {"run.start", NULL}, *const turns[] = {
                                                                 "run.start", "run.resume",
                                                                 "run.pause", "run.end", NULL};
    *glance = (rh_journal_glance){0};
    const rh_tip tip = rh_tip_read(run_dir);
    char *path = rh_format("%s/journal.db", run_dir);
    rh_store *store = rh_store_sqlite(path, NULL, RH_STORE_READ, error);
    free(path);
    if (!store)
        return false;
    struct look look = {.run = store->run, .glance = glance, .tip = &tip, .fits = true};
    bool ok =
        store->class->find(store, &(rh_store_query){.types = starts}, take_start, &look, error) &&
        store->class->find(store, &(rh_store_query){.types = turns, .newest = true}, take_last,
                           &look, error) &&
        (!tip.seq ||
         store->class->find(store, &(rh_store_query){.seq = tip.seq}, take_tip, &look, error));
    if (ok && (!look.fits || (tip.seq && !look.found)))
        ok = rh_fail(error, "journal",
                     "the journal of run %s was changed, cut or is damaged: `rollouthost show %s "
                     "--verify` says where",
                     store->run, store->run);
    store->class->close(store);
    if (!ok)
        rh_journal_glance_clear(glance);
    return ok;
}

void rh_journal_glance_clear(rh_journal_glance *glance)
{
    free(glance->start);
    free(glance->type);
    free(glance->last);
    *glance = (rh_journal_glance){0};
}
