#include "core/event.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/loop.h"

#include <assert.h>
#include <string.h>

enum { SUBSCRIBERS = 8 };

static struct {
    rh_event_fn fn;
    void *data;
} subscribers[SUBSCRIBERS];
static unsigned count;

void rh_event_subscribe(rh_event_fn fn, void *data)
{
    assert(count < SUBSCRIBERS);
    subscribers[count].fn = fn;
    subscribers[count++].data = data;
}

void rh_event_emit(const rh_event *event)
{
    for (unsigned i = 0; i < count; i++)
        subscribers[i].fn(subscribers[i].data, event);
}

void rh_event_say(const char *type, const char *key, const char *payload)
{
    if (!count)
        return;
    rh_buffer masked = {0};
    rh_json_mask(payload, strlen(payload), &masked);
    rh_event event = {
        .time_us = rh_wall_us(), .type = type, .key = key ? key : "", .payload = masked.data};
    rh_event_emit(&event);
    rh_buffer_free(&masked);
}
