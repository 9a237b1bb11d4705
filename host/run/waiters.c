#include "run/waiters.h"

#include <stddef.h>

struct rh_waiter {
    rh_op op;
    rh_waiters *list;
    struct rh_waiter *next;
};

static void cancel(rh_op *op)
{
    struct rh_waiter *waiter = (struct rh_waiter *)op;
    struct rh_waiter **link = &waiter->list->first;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    rh_fail(&op->error, "cancelled", "the wait was cancelled");
    rh_op_done(op);
}

rh_op *rh_waiters_add(rh_waiters *list, bool idle)
{
    static const rh_op_class pure = {
        .name = "wait", .size = sizeof(struct rh_waiter), .cancel = cancel, .idle = true};
    static const rh_op_class firm = {.name = "commit", .size = sizeof(struct rh_waiter)};
    struct rh_waiter *waiter = (struct rh_waiter *)rh_op_new(idle ? &pure : &firm);
    waiter->list = list;
    waiter->next = list->first;
    list->first = waiter;
    return &waiter->op;
}

void rh_waiters_wake(rh_waiters *list, const rh_error *error)
{
    struct rh_waiter *waiter = list->first;
    list->first = NULL; /* who is woken may wait again at once */
    while (waiter) {
        struct rh_waiter *next = waiter->next;
        if (error)
            rh_fail(&waiter->op.error, error->code, "%s", error->message);
        rh_op_done(&waiter->op);
        waiter = next;
    }
}
