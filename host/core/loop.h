/* The one event loop of the process. */
#ifndef RH_CORE_LOOP_H
#define RH_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

uv_loop_t *rh_loop(void); /* initialised on first use */

/* Called once at the end of every turn, when no task is ready: the place where the journal commits what
 * the turn appended. A hook returns true if it made something ready (the queue is drained again before
 * the loop sleeps). At most 8; registered once, at start. */
typedef bool (*rh_loop_hook)(void *data);
void rh_loop_at_turn_end(rh_loop_hook hook, void *data);

/* Runs turns until `*stop` is true or nothing is left to wait for. Returns false if it ran dry before. */
bool rh_loop_run(const bool *stop);
/* Closes the loop; returns uv_loop_close()'s status: 0, or UV_EBUSY if a handle leaked. */
int rh_loop_close(void);

/* Wall clock in milliseconds since 1970, and a monotonic clock in microseconds. */
int64_t rh_wall_ms(void);
int64_t rh_wall_us(void);
int64_t rh_mono_us(void);

#endif
