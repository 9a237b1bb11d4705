/* How far an effect is: rate and time left come of its successive `progress` events. */
#ifndef RH_SHOW_PROGRESS_H
#define RH_SHOW_PROGRESS_H

#include "core/buffer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct rh_progress {
    double done, total; /* total 0: not known */
    double rate;        /* units a second; 0: not known yet */
    char *unit;         /* "bytes", "rows", …, or NULL */
    char *beside;       /* the same work in other units, "12 of 40 tables", or NULL */
    double
        measured; /* `done` when the rate was measured last, and when that was; 0: nothing measured */
    int64_t measured_us;
    int64_t begun_us, told_us; /* the first event; when it was last due to be told */
} rh_progress;

/* Takes the payload { done, total, unit, beside = { done, total, unit } } of an event. Fewer done than before, another
 * total or unit is another piece of work, which begins anew. */
void rh_progress_take(rh_progress *progress, const json_t *payload, int64_t time_us);
/* True once in every `interval_us` of work: for displays that print lines. The first time that long after its
 * beginning, so that what is short says nothing. */
bool rh_progress_is_due(rh_progress *progress, int64_t time_us, int64_t interval_us);
bool rh_progress_is_known(const rh_progress *progress);
/* " 50%  6.1 GiB of 12.2 GiB, 12 of 40 tables  84.0 MiB/s  1m 14s left" */
void rh_progress_show(rh_buffer *out, const rh_progress *progress);
void rh_progress_clear(rh_progress *progress); /* frees what it holds */

#endif
