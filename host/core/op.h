/* One wait. An rh_op is an operation under way: a request, a query, a command, a timer.
 *
 *      binding                        loop (libuv callback)
 *      -------                        ---------------------
 *      op = rh_op_new(&class)
 *      engine_start(op, …)            … bytes arrive: store, close …
 *      return rh_await(L, op, ms)     rh_op_done(op)   -> its task is put on the ready queue
 *      (coroutine sleeps)
 *      class.push(op, L)      <-      the queue is drained between two turns of the loop
 *
 * Two owners hold it, the Lua box on the coroutine's stack and the loop; the last one frees it. A
 * libuv, libcurl or libpq callback does three things at most: store, close, done. It never touches
 * Lua. All Lua allocation for a result happens in `push`, inside the resume's protection.
 *
 * An engine embeds rh_op as the FIRST member of its own struct and is told the class (with its size)
 * by the binding, so that an engine never sees lua.h. */
#ifndef RH_CORE_OP_H
#define RH_CORE_OP_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct rh_task;
typedef struct rh_op rh_op;

typedef struct rh_op_class {
    const char *name; /* for messages: "http.request" */
    size_t size;      /* of the struct that embeds rh_op */
    /* Asks the operation to end early. It must lead to rh_op_done() soon (at once, or after a bounded
     * clean-up such as TERM, grace, KILL). Called at most once, never after done. NULL: it cannot be
     * cancelled and its end is awaited. */
    void (*cancel)(rh_op *op);
    /* Pushes the result's values on L and returns their number. Only called when op->error is empty.
     * NULL: no values. May raise. */
    int (*push)(rh_op *op, struct lua_State *L);
    /* Frees what the struct holds (not the struct). Runs when both owners have let go. May be NULL. */
    void (*fini)(rh_op *op);
    /* A pure wait (a timer, the inbox): a task that is asked to stop after its effect in flight need not
     * finish it, it is cancelled at once. */
    bool idle;
} rh_op_class;

struct rh_op {
    const rh_op_class *class;
    rh_error error;       /* set by the engine before rh_op_done(): raised in the task */
    struct rh_task *task; /* who waits, or NULL */
    uint8_t owners;
    bool done;
    bool cancelled;
    bool held;      /* somebody besides the loop has owned it */
    bool unclaimed; /* done before anybody did: the loop's ownership waits for rh_await() */
};

/* A new operation, zeroed, owned by the caller on behalf of the loop (one owner). */
rh_op *rh_op_new(const rh_op_class *class);
/* The loop's side is finished: result or op->error is stored. Drops the loop's ownership; do not touch
 * the op afterwards. Call it exactly once, from the loop's thread; it may be called before rh_await. */
void rh_op_done(rh_op *op);
/* The operation never started (engine_start returned false): frees it. */
void rh_op_discard(rh_op *op);
/* Cancels if it is not done and not yet cancelled. */
void rh_op_cancel(rh_op *op);
/* For a second owner that is not the Lua box (rare). */
void rh_op_retain(rh_op *op);
void rh_op_release(rh_op *op);

#endif
