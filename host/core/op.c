#include "core/op.h"

#include "core/buffer.h"
#include "core/task.h"

#include <assert.h>
#include <stdlib.h>

rh_op *rh_op_new(const rh_op_class *class)
{
    assert(class->size >= sizeof(rh_op));
    rh_op *op = rh_alloc(class->size);
    op->class = class;
    op->owners = 1;
    return op;
}

void rh_op_retain(rh_op *op)
{
    op->held = true;
    if (op->unclaimed)
        op->unclaimed = false; /* takes over what the loop left */
    else
        op->owners++;
}

void rh_op_release(rh_op *op)
{
    assert(op->owners > 0);
    if (--op->owners > 0)
        return;
    if (op->class->fini)
        op->class->fini(op);
    rh_error_clear(&op->error);
    free(op);
}

void rh_op_done(rh_op *op)
{
    assert(!op->done);
    op->done = true;
    if (op->task)
        rh_task_ready(op->task);
    if (!op->held)
        op->unclaimed = true;
    else
        rh_op_release(op);
}

void rh_op_discard(rh_op *op)
{
    assert(op->owners == 1 && !op->task);
    rh_op_release(op);
}

void rh_op_cancel(rh_op *op)
{
    if (op->done || op->cancelled || !op->class->cancel)
        return;
    op->cancelled = true;
    op->class->cancel(op);
}
