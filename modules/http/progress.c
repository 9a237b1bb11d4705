#include "transfer.h"

#include "core/event.h"
#include "core/loop.h"

#include <stdlib.h>

enum { INTERVAL_US = 250000 };

static int moved(void *data, curl_off_t down_whole, curl_off_t down, curl_off_t up_whole,
                 curl_off_t up)
{
    rh_http_transfer *t = data;
    (void)up_whole;
    int64_t now = rh_mono_us();
    int64_t whole = t->source ? t->whole : down_whole, done = t->source ? t->before + up : down;
    if (now - t->told_us < INTERVAL_US || whole <= 0 || done <= t->before)
        return 0;
    t->told_us = now;
    char *payload = rh_format("{\"done\":%lld,\"total\":%lld,\"unit\":\"bytes\"}", (long long)done,
                              (long long)whole);
    rh_event_say("progress", t->progress, payload);
    free(payload);
    return 0;
}

void rh_http_set_progress(rh_http_transfer *t, const rh_http_spec *spec)
{
    if (!spec->progress || (!t->source && !t->sink))
        return;
    t->progress = rh_strdup(spec->progress);
    t->before = t->source ? spec->file_offset : 0;
    t->whole = t->source ? rh_http_source_whole(t->source) : 0;
    t->told_us = rh_mono_us();
    curl_easy_setopt(t->easy, CURLOPT_XFERINFOFUNCTION, moved);
    curl_easy_setopt(t->easy, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(t->easy, CURLOPT_NOPROGRESS, 0L);
}
