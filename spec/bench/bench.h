/* For programs that measure: each prints rows for spec/bench/run. */
#ifndef RH_SPEC_BENCH_H
#define RH_SPEC_BENCH_H

#include "core/buffer.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

/* One thing, ours and the floor in `unit`; `aim`: at most that many times the floor, 0 for none. */
static inline void row(const char *what, double ours, double least, const char *unit, double aim)
{
    printf("%s\t%.3f\t%.3f\t%s\t%.2f\n", what, ours, least, unit, aim);
}

static inline void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static inline int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

#endif
