#include "core/event.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SUBSCRIBERS = 8 };

static struct {
    rh_event_fn fn;
    void *data;
} subscribers[SUBSCRIBERS];
static unsigned count;

struct held {
    struct held *next;
    rh_event event; /* its strings are its own */
};

static struct {
    struct held *first, **end;
    bool on;
} held;

void rh_event_subscribe(rh_event_fn fn, void *data)
{
    assert(count < SUBSCRIBERS);
    subscribers[count].fn = fn;
    subscribers[count++].data = data;
}

static void hand_out(const rh_event *event)
{
    for (unsigned i = 0; i < count; i++)
        subscribers[i].fn(subscribers[i].data, event);
}

static void keep(const rh_event *event)
{
    struct held *one = rh_alloc(sizeof *one);
    one->event = *event;
    one->event.type = rh_strdup(event->type);
    one->event.key = rh_strdup(event->key);
    one->event.payload = rh_strdup(event->payload);
    *held.end = one;
    held.end = &one->next;
}

void rh_event_emit(const rh_event *event)
{
    if (!held.on)
        hand_out(event);
    else if (count)
        keep(event);
}

void rh_event_hold(void)
{
    if (!held.on)
        held.end = &held.first;
    held.on = true;
}

void rh_event_release(void)
{
    held.on = false;
    for (struct held *one = held.first, *next; one; one = next) {
        next = one->next;
        hand_out(&one->event);
        free((char *)one->event.type);
        free((char *)one->event.key);
        free((char *)one->event.payload);
        free(one);
    }
    held.first = NULL;
}

const char *rh_event_held_begin(void)
{
    const char *key = NULL;
    for (const struct held *one = held.first; one; one = one->next)
        if (strstr(one->event.type, ".begin"))
            key = one->event.key;
    return key;
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
