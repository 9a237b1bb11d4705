/* Tasks: Lua coroutines that wait for operations. task.c holds the only lua_resume of the host, and
 * rh_await() the only lua_yieldk. */
#ifndef RH_CORE_TASK_H
#define RH_CORE_TASK_H

#include "core/error.h"
#include "core/op.h"

#include <lua5.4/lua.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct rh_task rh_task;

/* Waits for `op` from a C function called by a task: `return rh_await(L, op, timeout)`. Takes over the
 * caller's interest; never returns to C normally. After the wait the op's values are returned to Lua, or
 * its error is raised. timeout in ms, <= 0: only the task's own deadline counts. Reaching it cancels the
 * op, awaits its end and raises "timeout". Raises at once (and cancels the op) where waiting is
 * impossible: in a table.sort comparison, a gsub callback, a user's own coroutine. A C function awaits
 * at most once, as its last act. */
int rh_await(lua_State *L, rh_op *op, int64_t timeout);
/* The same, but `k` runs after the wait with the op's values on the stack (from index `ctx`+1 on if the
 * caller passes its stack top as ctx) to shape the result. Errors are raised before k runs. */
int rh_await_k(lua_State *L, rh_op *op, int64_t timeout, lua_KContext ctx, lua_KFunction k);

/* The task that runs on L, or NULL outside of one. */
rh_task *rh_task_current(lua_State *L);

/* Starts a task with the function on top of L's stack (popped). It runs first in the next drain. The
 * state's main thread or another task may call it. Ends with a value or an error, kept for rh_task_take. */
rh_task *rh_task_spawn(lua_State *L);
bool rh_task_finished(const rh_task *task);
/* Where to set true when the task finishes: what rh_loop_run() is given as `stop`. */
void rh_task_watch(rh_task *task, bool *finished);
/* Pushes true + results or false + error of a finished task on L; returns the number pushed. Frees it. */
int rh_task_take(rh_task *task, lua_State *L);

/* Asks a task and all that it spawned to end with the error on top of L's stack (popped). now: the
 * operation in flight is cancelled as well; otherwise only a pure wait is, and an effect in flight is
 * finished first. A second call can only raise the urgency. */
void rh_task_cancel(rh_task *task, lua_State *L, bool now);

/* Pushes the Lua side, a table: spawn(fn) → task; join(task) → ok, values… (awaits); cancel(task, err,
 * now); root() → the task that C spawned; cancelled() → err or nil (a cancellation that waits to be raised); clear() drops it;
 * deadline([monotonic ms | false]) → old one or nil; sleep(ms); sleep_until(wall ms); locals() → a table
 * of the task's own, whose __index is that of the task that spawned it. Waits raise "cancelled" errors as
 * given to cancel, "deadline" when the task's deadline is reached, "timeout" when the wait's own is. */
int rh_task_open(lua_State *L);

/* Drains the ready queue; true if any task ran. Called by loop.c only. */
bool rh_tasks_drain(void);
/* The operation that the task waits for is done. Called by op.c only. */
void rh_task_ready(rh_task *task);

#endif
