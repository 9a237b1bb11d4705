#include "sample.h"

#include "core/loop.h"
#include "multi.h"
#include "transfer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { OTHER_FILES = 64 }; /* that the host has open besides */

struct slot {
    rh_http_transfer *transfer;
    struct rh_http_sampler *sampler;
    int64_t due; /* of its request */
    bool busy;
    struct slot *next;
};

struct rh_http_sampler {
    rh_http_sample *sample;
    rh_http_multi *multi;
    struct slot *slots, *idle;
    unsigned concurrency, busy;
    int64_t begun, end; /* end: no request is begun after it; INT64_MAX where `left` decides */
    int64_t left;       /* to be begun; INT64_MAX where `end` decides */
    int64_t number;     /* begun */
    double interval;    /* µs between two due moments, or 0 */
    int alarm;          /* a timerfd: libuv's timers know milliseconds only */
    uv_poll_t *poll;
    int *expect;
    size_t expect_size;
    rh_http_request unused; /* what transfers would store goes nowhere */
};
typedef struct rh_http_sampler sampler;

static void free_handle(uv_handle_t *handle) { free(handle); }

static void free_sampler(sampler *s)
{
    if (s->poll) {
        uv_close((uv_handle_t *)s->poll, free_handle);
        close(s->alarm);
    }
    for (unsigned i = 0; s->slots && i < s->concurrency && s->slots[i].transfer; i++) {
        if (s->slots[i].busy)
            rh_http_multi_remove(s->multi, s->slots[i].transfer->easy);
        rh_http_transfer_free(s->slots[i].transfer);
    }
    rh_http_multi_free(s->multi);
    free(s->slots);
    free(s->expect);
    free(s);
}

/* ---- what is counted ---- */

static void count_error(rh_http_sample *sample, const char *kind, int64_t times)
{
    sample->errors += times;
    for (size_t i = 0; i < RH_HTTP_KINDS; i++) {
        bool last = i + 1 == RH_HTTP_KINDS;
        if (!sample->kinds[i].name[0] || last)
            snprintf(sample->kinds[i].name, sizeof sample->kinds[i].name, "%s",
                     last ? "other" : kind);
        if (last || strcmp(sample->kinds[i].name, kind) == 0) {
            sample->kinds[i].count += times;
            return;
        }
    }
}

static bool is_fine(const sampler *s, long status)
{
    for (size_t i = 0; i < s->expect_size; i++)
        if (s->expect[i] == status)
            return true;
    return s->expect_size == 0 && status < 400;
}

static void count_answer(sampler *s, const struct slot *slot, CURLcode curl)
{
    rh_http_sample *sample = s->sample;
    int64_t us = rh_mono_us() - slot->due;
    const char *code = curl == CURLE_OK ? NULL : rh_http_code(slot->transfer, curl);
    long status = 0;
    curl_easy_getinfo(slot->transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    sample->count++;
    if (!code || strcmp(code, "timeout") == 0)
        rh_http_histogram_add(&sample->histogram, us, 1);
    if (code) {
        count_error(sample, code, 1);
    } else if (!is_fine(s, status)) {
        char kind[24];
        snprintf(kind, sizeof kind, "%ld", status);
        count_error(sample, kind, 1);
    }
}

/* Those that were due and were never sent: each has waited from its moment until now. */
static void count_unsent(sampler *s)
{
    if (s->interval == 0 || s->end == INT64_MAX)
        return;
    int64_t missed = (int64_t)ceil((double)(s->end - s->begun) / s->interval) - s->number;
    int64_t now = rh_mono_us(), step = missed / 1000 + 1;
    if (missed <= 0)
        return;
    for (int64_t i = 0; i < missed; i += step) {
        int64_t due = s->begun + (int64_t)((double)(s->number + i) * s->interval);
        int64_t times = missed - i < step ? missed - i : step;
        rh_http_histogram_add(&s->sample->histogram, now - due, (uint64_t)times);
    }
    s->sample->count += missed;
    count_error(s->sample, "unsent", missed);
}

static void end(sampler *s)
{
    rh_http_sample *sample = s->sample;
    count_unsent(s);
    sample->elapsed_us = rh_mono_us() - s->begun;
    sample->sampler = NULL;
    free_sampler(s);
    rh_op_done(&sample->op);
}

/* ---- what is sent, and when ---- */

static void set_alarm(const sampler *s, int64_t moment)
{
    struct itimerspec when = {.it_value = {moment / 1000000, moment % 1000000 * 1000}};
    timerfd_settime(s->alarm, TFD_TIMER_ABSTIME, &when, NULL);
}

static void begin(sampler *s, int64_t due)
{
    struct slot *slot = s->idle;
    s->idle = slot->next;
    s->busy++;
    s->number++;
    s->left--;
    slot->due = due;
    slot->busy = true;
    rh_http_multi_add(s->multi, slot->transfer->easy);
}

/* late: a slot was free, and it is this process that came too late; what was due in time is sent still. */
static bool over(const sampler *s, int64_t now, bool late)
{
    return s->left == 0 || (now >= s->end && !late);
}

static void pump(sampler *s, bool late)
{
    int64_t now = rh_mono_us();
    while (s->idle && !over(s, now, late)) {
        int64_t due = s->interval > 0 ? s->begun + (int64_t)((double)s->number * s->interval) : now;
        if (due >= s->end)
            s->left = 0;
        else if (due > now) {
            set_alarm(s, due);
            return;
        } else
            begin(s, due);
    }
    if (s->busy == 0 && over(s, now, false))
        end(s);
}

static void alarm_rang(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    sampler *s = poll->data;
    uint64_t times;
    if (read(s->alarm, &times, sizeof times) > 0)
        pump(s, s->interval > 0);
}

static void answered(CURL *easy, CURLcode curl)
{
    struct slot *slot = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
    sampler *s = slot->sampler;
    count_answer(s, slot, curl);
    rh_http_multi_remove(s->multi, easy);
    slot->busy = false;
    slot->next = s->idle;
    s->idle = slot;
    s->busy--;
    pump(s, false);
}

static size_t swallow(char *bytes, size_t one, size_t size, void *data)
{
    (void)bytes, (void)one;
    *(int64_t *)data += (int64_t)size;
    return size;
}

static bool open_slots(sampler *s, const rh_http_sample_spec *spec, rh_error *error)
{
    char sha256[RH_SHA256_HEX];
    s->slots = rh_alloc(s->concurrency * sizeof *s->slots);
    for (unsigned i = 0; i < s->concurrency; i++) {
        struct slot *slot = &s->slots[i];
        slot->sampler = s;
        slot->transfer = rh_http_transfer_new(&s->unused, spec->request, error);
        if (!slot->transfer)
            return false;
        CURL *easy = slot->transfer->easy;
        rh_sha256_hex(slot->transfer->upload.data, slot->transfer->upload.size, sha256);
        rh_http_set_headers(slot->transfer, sha256);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, NULL);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, NULL);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &s->sample->bytes);
        slot->next = s->idle;
        s->idle = slot;
    }
    return true;
}

static bool open_alarm(sampler *s, rh_error *error)
{
    s->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->alarm < 0)
        return rh_fail(error, "http", "no timer is left to this process");
    s->poll = rh_alloc(sizeof *s->poll);
    uv_poll_init(rh_loop(), s->poll, s->alarm);
    s->poll->data = s;
    uv_poll_start(s->poll, UV_READABLE, alarm_rang);
    return true;
}

bool rh_http_sample_start(rh_http_sample *sample, const rh_http_sample_spec *spec, rh_error *error)
{
    if (spec->concurrency + OTHER_FILES > rh_http_open_files())
        return rh_fail(
            error, "limit",
            "%u requests at once need as many open files, and this process may have %zu: "
            "raise `ulimit -n`, or lower concurrency",
            spec->concurrency, rh_http_open_files());
    sampler *s = rh_alloc(sizeof *s);
    s->sample = sample;
    s->concurrency = spec->concurrency;
    s->multi = rh_http_multi_new(spec->concurrency, answered, error);
    if (!s->multi || !open_slots(s, spec, error) || !open_alarm(s, error)) {
        free_sampler(s);
        return false;
    }
    if (spec->expect_size > 0) {
        s->expect = rh_alloc(spec->expect_size * sizeof *s->expect);
        memcpy(s->expect, spec->expect, spec->expect_size * sizeof *s->expect);
        s->expect_size = spec->expect_size;
    }
    s->interval = spec->rate > 0 ? 1e6 / spec->rate : 0;
    s->begun = rh_mono_us();
    s->left = spec->count > 0 ? spec->count : INT64_MAX;
    s->end = spec->count > 0 ? INT64_MAX : s->begun + spec->duration_us;
    sample->sampler = s;
    set_alarm(s, s->begun); /* in the next turn: the caller does not wait yet */
    return true;
}

void rh_http_sample_cancel(rh_op *op)
{
    rh_http_sample *sample = (rh_http_sample *)op;
    sampler *s = sample->sampler;
    rh_fail(&op->error, "cancelled", "%s: cancelled", s->slots[0].transfer->label);
    rh_error_module(&op->error, "http");
    free_sampler(s);
    rh_op_done(op);
}
