/* Masking of output in which no secret stands, against copying it: what every byte that a command prints pays. */
#include "core/mask.h"
#include "spec/bench/bench.h"

#include <string.h>

enum { TURNS = 11, MIB = 8, CHUNK = 65536, SECRETS = 20 };

static double mask_all(const rh_mask *mask, const char *text, size_t size)
{
    rh_buffer out = {0};
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    const int64_t began = rh_mono_us();
    for (size_t at = 0; at < size; at += CHUNK) {
        rh_buffer_clear(&out);
        rh_mask_stream_feed(stream, text + at, CHUNK, &out);
    }
    const double took = (double)(rh_mono_us() - began);
    rh_mask_stream_free(stream);
    rh_buffer_free(&out);
    return took / MIB;
}

static double copy_all(const char *text, size_t size)
{
    rh_buffer out = {0};
    const int64_t began = rh_mono_us();
    for (size_t at = 0; at < size; at += CHUNK) {
        rh_buffer_clear(&out);
        rh_buffer_add(&out, text + at, CHUNK);
    }
    const double took = (double)(rh_mono_us() - began);
    rh_buffer_free(&out);
    return took / MIB;
}

int main(void)
{
    static const char line[] = "2026-11-20T22:03:04Z info  built apps/backend in 1204 ms\n";
    const size_t size = (size_t)MIB << 20;
    char *text = rh_alloc(size);
    for (size_t at = 0; at < size; at++)
        text[at] = line[at % (sizeof line - 1)];
    rh_mask *mask = rh_mask_new();
    for (int i = 0; i < SECRETS; i++) {
        char name[16], value[64];
        snprintf(name, sizeof name, "SECRET_%d", i);
        snprintf(value, sizeof value, "%c%xq7Zk-%d-s3cr3t", 'A' + i,
                 0x9e3779b9U * (unsigned)(i + 1), i * 7919);
        check(rh_mask_add(mask, name, value, strlen(value)), "a secret too short");
    }
    double ours[TURNS], least[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        ours[turn] = mask_all(mask, text, size);
        least[turn] = copy_all(text, size);
    }
    rh_mask_free(mask);
    free(text);
    row("mask 1 MiB, 20 secrets (floor: copy)", median(ours, TURNS), median(least, TURNS), "µs", 0);
    return 0;
}
