#include "histogram.h"

/* Values below 256 have a bucket each; above, the 8 highest bits of a value choose its bucket. */
static unsigned bucket_of(int64_t us)
{
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    if (value < 256)
        return (unsigned)value;
    unsigned shift = (unsigned)(63 - __builtin_clzll(value)) - 7;
    unsigned bucket = shift * 128 + (unsigned)(value >> shift);
    return bucket < RH_HTTP_BUCKETS ? bucket : RH_HTTP_BUCKETS - 1;
}

int64_t rh_http_histogram_upper(unsigned bucket)
{
    if (bucket < 256)
        return bucket;
    unsigned shift = bucket / 128 - 1;
    return (int64_t)(((uint64_t)(bucket - shift * 128) + 1) << shift) - 1;
}

void rh_http_histogram_add(rh_http_histogram *histogram, int64_t us, uint64_t times)
{
    if (histogram->count == 0 || us < histogram->min)
        histogram->min = us;
    if (us > histogram->max)
        histogram->max = us;
    histogram->counts[bucket_of(us)] += times;
    histogram->count += times;
    histogram->sum += (double)us * (double)times;
}

int64_t rh_http_histogram_at(const rh_http_histogram *histogram, double share)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < RH_HTTP_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= share * (double)histogram->count) {
            int64_t upper = rh_http_histogram_upper(i);
            return upper < histogram->max ? upper : histogram->max;
        }
    }
    return histogram->max;
}
