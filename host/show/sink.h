/* Where output goes. Writing never blocks the run: what a slow reader (a pager, Ctrl-S) does not take waits in
 * memory, and a reader that is gone is forgotten. */
#ifndef RH_SHOW_SINK_H
#define RH_SHOW_SINK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rh_sink rh_sink;

rh_sink *rh_sink_open(int fd); /* fd stays the caller's */
void rh_sink_write(rh_sink *sink, const char *bytes, size_t size);
bool rh_sink_is_behind(const rh_sink *sink); /* something waits */
bool rh_sink_is_gone(const rh_sink *sink);   /* detached, or the reader went away */
void rh_sink_detach(rh_sink *sink);          /* quiet from now on */
/* Waits until the reader has taken the rest, then frees. The loop must run once more for its handle. */
void rh_sink_close(rh_sink *sink);

#endif
