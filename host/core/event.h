/* The one event stream. What the journal gets, and ephemeral events besides (progress, output lines, what
 * is being waited for), goes to every subscriber: terminal, plain lines, JSON lines. */
#ifndef RH_CORE_EVENT_H
#define RH_CORE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rh_event {
    int64_t seq;         /* journal sequence number; 0: ephemeral, in no journal */
    int64_t time_us;     /* wall clock */
    const char *type;    /* "step.begin", … see docs/design.md */
    const char *key;     /* whose: the path of a step, effect, … */
    const char *payload; /* JSON object text, masked */
    bool replayed;       /* read back from the journal on resume, not happening now */
} rh_event;

typedef void (*rh_event_fn)(void *data, const rh_event *event);
void rh_event_subscribe(rh_event_fn fn, void *data); /* at most 8; for the life of the process */
void rh_event_emit(const rh_event *event);
/* From here on every event waits, in order, until rh_event_release(): nobody is told of what a crash could still
 * undo, or is asked what another process cannot find in the journal yet. */
void rh_event_hold(void);
void rh_event_release(void);
/* The key of what began last and is not shown yet, or NULL. For a signal's handler, too. */
const char *rh_event_held_begin(void);
/* An ephemeral event; `payload` is masked here. */
void rh_event_say(const char *type, const char *key, const char *payload);

#endif
