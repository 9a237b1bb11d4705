/* Questions at the run's terminal: one at a time, answered by a line. */
#ifndef RH_RUN_ASK_H
#define RH_RUN_ASK_H

#include "core/op.h"

/* An op to await: the question is its turn's `ask` event (key, payload: JSON text of an object; both copied),
 * which the display prints; what is typed after that is the answer. Its value is the line, or nil where the
 * terminal is gone. When it is over, an `ask.end` event says so. */
rh_op *rh_ask(const char *key, const char *payload);

#endif
