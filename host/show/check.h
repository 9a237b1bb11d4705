/* What was measured, in words: "p95 312 ms, below 500 ms". */
#ifndef RH_SHOW_CHECK_H
#define RH_SHOW_CHECK_H

#include "core/buffer.h"

#include <jansson.h>

/* Appends a `check` event's payload: its expectations joined by "; ". Nothing if it holds none. */
void rh_check_show(rh_buffer *out, const json_t *payload);

#endif
