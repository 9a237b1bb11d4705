/* Durations in a fixed amount of memory: 128 buckets to each doubling, so that a percentile is off by at most
 * 0.8 %, however many there are. Microseconds, up to 19 hours; longer ones count as that. */
#ifndef RH_MODULES_HTTP_HISTOGRAM_H
#define RH_MODULES_HTTP_HISTOGRAM_H

#include <stdint.h>

enum { RH_HTTP_BUCKETS = 128 * 31 };

typedef struct rh_http_histogram {
    uint64_t counts[RH_HTTP_BUCKETS];
    uint64_t count;
    int64_t min, max;
    double sum;
} rh_http_histogram;

void rh_http_histogram_add(rh_http_histogram *histogram, int64_t us, uint64_t times);
/* The duration that `share` (0 … 1) of them do not exceed, in µs; 0 where there are none. */
int64_t rh_http_histogram_at(const rh_http_histogram *histogram, double share);
/* The longest duration that counts in that bucket, in µs. */
int64_t rh_http_histogram_upper(unsigned bucket);

#endif
