/* Many requests of one kind, measured: `concurrency` slots that send as fast as answers come, or, with a rate,
 * at fixed moments whatever the answers do (an open loop).
 *
 *      due moments   |----|----|----|----|----|      of request i: begin + i / rate
 *      slots         [====]  [==============]        a request that finds none free waits, and its
 *                       [=====]      [====]          duration counts from its due moment, so that a
 *                                                    server that stands still does not hide it
 *
 * Durations of answers, of timeouts and of requests that were due and found no slot before the end are in the
 * histogram; those of failures that took no time (a refused connection) would flatter, and are only counted.
 * Memory does not grow with the number of requests. */
#ifndef RH_MODULES_HTTP_SAMPLE_H
#define RH_MODULES_HTTP_SAMPLE_H

#include "histogram.h"
#include "http.h"

enum { RH_HTTP_KINDS = 32, RH_HTTP_MAX_CONCURRENCY = 10000 };

typedef struct rh_http_sample_spec {
    const rh_http_spec *request;
    int64_t count; /* how many, or 0: for `duration_us` */
    int64_t duration_us;
    unsigned concurrency; /* requests under way at most */
    double rate;          /* requests a second; 0: no open loop */
    const int *expect;    /* statuses that are fine; NULL: below 400 */
    size_t expect_size;
} rh_http_sample_spec;

typedef struct rh_http_sample {
    rh_op op;
    int64_t count, errors, bytes;
    int64_t elapsed_us;
    struct {
        char name[24]; /* "timeout", "connect", …, "503", "unsent" */
        int64_t count;
    } kinds[RH_HTTP_KINDS];
    rh_http_histogram histogram;
    struct rh_http_sampler *sampler;
} rh_http_sample;

/* Starts. False: the request cannot be sent; rh_op_discard() it. */
bool rh_http_sample_start(rh_http_sample *sample, const rh_http_sample_spec *spec, rh_error *error);
void rh_http_sample_cancel(rh_op *op); /* for the class: at once, with code "cancelled" */

#endif
