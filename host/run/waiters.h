/* Tasks that wait for the same thing: a commit, a file in the inbox. */
#ifndef RH_RUN_WAITERS_H
#define RH_RUN_WAITERS_H

#include "core/op.h"

typedef struct rh_waiters {
    struct rh_waiter *first;
} rh_waiters;

/* An op on the list, to be awaited. `idle`: a pure wait, which may be cancelled; else its end is awaited. The
 * list must live as long as the op is on it. */
rh_op *rh_waiters_add(rh_waiters *list, bool idle);
/* Ends all of them, with a copy of `error` if it is not NULL. */
void rh_waiters_wake(rh_waiters *list, const rh_error *error);

#endif
