#include "core/task.h"

#include "core/buffer.h"
#include "core/cpu.h"
#include "core/loop.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "core/timer.h"

#include <assert.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>

typedef enum { URGE_NONE, URGE_SOON, URGE_NOW } urgency;

struct rh_task {
    lua_State *L;
    int ref;        /* anchors the coroutine */
    int locals_ref; /* table of task.locals() */
    int cancel_ref; /* the error that a cancellation raises */
    rh_task *parent;
    rh_task *next, *prev; /* all tasks */
    rh_task *next_ready;
    rh_op *op; /* what it waits for */
    rh_op *join;
    bool *watch;
    uv_timer_t *timer;
    int64_t deadline; /* monotonic µs, or 0 */
    lua_KFunction k;
    lua_KContext kctx;
    urgency urge;
    bool queued, finished, timer_fired, by_deadline;
};

/* What sits on the coroutine's stack while it waits: Lua's ownership of the operation. */
typedef struct box {
    rh_op *op;
} box;

static const char BOX[] = "rh_op", TASK[] = "rh_task";
static rh_task *all, *ready_head, *ready_tail, *running;

rh_task *rh_task_current(lua_State *L) { return running && running->L == L ? running : NULL; }

bool rh_task_finished(const rh_task *task) { return task->finished; }

void rh_task_watch(rh_task *task, bool *finished)
{
    task->watch = finished;
    *finished = task->finished;
}

void rh_task_ready(rh_task *task)
{
    if (task->queued || task->finished)
        return;
    task->queued = true;
    task->next_ready = NULL;
    if (ready_tail)
        ready_tail->next_ready = task;
    else
        ready_head = task;
    ready_tail = task;
}

/* ---- deadline ---- */

static void timer_closed(uv_handle_t *handle) { free(handle); }

static void timer_fired(uv_timer_t *timer)
{
    rh_task *task = timer->data;
    task->timer_fired = true;
    if (task->op)
        rh_op_cancel(task->op);
}

static void start_timer(rh_task *task, int64_t timeout_ms)
{
    int64_t end = timeout_ms > 0 ? rh_mono_us() + timeout_ms * 1000 : 0;
    task->timer_fired = false;
    task->by_deadline = task->deadline && (!end || task->deadline < end);
    if (task->by_deadline)
        end = task->deadline;
    if (!end)
        return;
    if (!task->timer) {
        task->timer = rh_alloc(sizeof(uv_timer_t));
        uv_timer_init(rh_loop(), task->timer);
        task->timer->data = task;
    }
    int64_t left = (end - rh_mono_us() + 999) / 1000;
    uv_update_time(rh_loop());
    uv_timer_start(task->timer, timer_fired, left > 0 ? (uint64_t)left : 0, 0);
}

/* ---- waiting ---- */

static int box_gc(lua_State *L)
{
    box *held = luaL_checkudata(L, 1, BOX);
    rh_op *op = held->op;
    held->op = NULL;
    if (op) {
        op->task = NULL;
        rh_op_cancel(op);
        rh_op_release(op);
    }
    return 0;
}

static void let_go(box *held)
{
    rh_op *op = held->op;
    held->op = NULL;
    rh_op_release(op);
}

static int finish_wait(lua_State *L, rh_task *task, box *held)
{
    rh_op *op = held->op;
    task->op = NULL;
    op->task = NULL;
    if (task->timer)
        uv_timer_stop(task->timer);
    lua_KFunction k = task->k;
    task->k = NULL;
    if (rh_error_is_set(&op->error)) {
        bool stopped = op->cancelled;
        rh_error error = {0};
        if (stopped && task->urge == URGE_NONE && task->timer_fired)
            rh_fail(&error, task->by_deadline ? "deadline" : "timeout", "%s: not finished in time",
                    op->class->name);
        rh_error_move(&error, &op->error);
        let_go(held);
        if (!stopped || task->urge == URGE_NONE)
            rh_raise(L, &error);
        rh_error_clear(&error);
        lua_rawgeti(L, LUA_REGISTRYINDEX, task->cancel_ref);
        return lua_error(L);
    }
    /* A push that raises leaves the op to the box, which is collected. */
    int count = op->class->push ? op->class->push(op, L) : 0;
    let_go(held);
    return k ? k(L, LUA_YIELD, task->kctx) : count;
}

static int resumed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    rh_task *task = running;
    assert(task && task->L == L && task->op && task->op->done);
    return finish_wait(L, task, lua_touserdata(L, (int)ctx));
}

int rh_await_k(lua_State *L, rh_op *op, int64_t timeout, lua_KContext ctx, lua_KFunction k)
{
    rh_task *task = rh_task_current(L);
    luaL_checkstack(L, 4, "await");
    box *held = lua_newuserdatauv(L, sizeof *held, 0);
    held->op = op;
    rh_op_retain(op);
    luaL_setmetatable(L, BOX);
    if (!task || !lua_isyieldable(L))
        rh_op_cancel(op);
    if (!task)
        rh_raisef(L, "misplaced",
                  running ? "%s cannot be awaited inside a coroutine of your own: use parallel{…}"
                          : "%s cannot be awaited here: no task is running",
                  op->class->name);
    if (!lua_isyieldable(L))
        rh_raisef(
            L, "misplaced",
            "%s cannot be awaited inside a sort comparison, a gsub callback, __tostring or require: "
            "compute the value first, then use it there",
            op->class->name);
    task->op = op;
    task->k = k;
    task->kctx = ctx;
    if (op->done)
        return finish_wait(L, task, held);
    if (task->urge == URGE_NOW || (task->urge == URGE_SOON && op->class->idle))
        rh_op_cancel(op);
    else
        start_timer(task, timeout);
    if (op->done)
        return finish_wait(L, task, held);
    op->task = task; /* not before: what ended already makes nobody ready */
    return lua_yieldk(L, 0, (lua_KContext)lua_gettop(L), resumed);
}

int rh_await(lua_State *L, rh_op *op, int64_t timeout)
{
    return rh_await_k(L, op, timeout, 0, NULL);
}

/* ---- life ---- */

static int add_traceback(lua_State *L)
{
    rh_error_normalise(L);
    if (lua_getfield(L, 1, "traceback") == LUA_TNIL) {
        luaL_traceback(L, L, NULL, 1);
        lua_setfield(L, 1, "traceback");
    }
    lua_settop(L, 1);
    return 1;
}

static int body_returned(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    bool ok = status == LUA_OK || status == LUA_YIELD;
    if (!ok)
        rh_error_normalise(L); /* the handler does not see "not enough memory" */
    lua_pushboolean(L, ok);
    lua_replace(L, 1); /* the message handler's place takes the outcome */
    return lua_gettop(L);
}

/* The coroutine's own frame: the body runs in a pcall inside of it, so that its __close handlers run
 * where they can still wait. Stack: fn. */
static int task_main(lua_State *L)
{
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, 1);
    return body_returned(L, lua_pcallk(L, 0, LUA_MULTRET, 1, 0, body_returned), 0);
}

rh_task *rh_task_spawn(lua_State *L)
{
    luaL_checktype(L, -1, LUA_TFUNCTION);
    rh_task *parent = rh_task_current(L);
    lua_State *co = lua_newthread(L); /* fn co */
    rh_luaenv_reserve(L, co);
    lua_newtable(L); /* fn co locals */
    if (parent) {
        lua_newtable(L);
        lua_rawgeti(L, LUA_REGISTRYINDEX, parent->locals_ref);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, -2);
    }
    int locals_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(co, task_main);
    lua_pushvalue(L, -2);
    lua_xmove(L, co, 1);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    /* From here on nothing raises. */
    rh_task *task = rh_alloc(sizeof *task);
    *task = (rh_task){.L = co,
                      .ref = ref,
                      .locals_ref = locals_ref,
                      .cancel_ref = LUA_NOREF,
                      .parent = parent,
                      .deadline = parent ? parent->deadline : 0,
                      .next = all};
    if (all)
        all->prev = task;
    all = task;
    rh_task_ready(task);
    return task;
}

static void finish(rh_task *task)
{
    task->finished = true;
    if (task->timer) {
        uv_close((uv_handle_t *)task->timer, timer_closed);
        task->timer = NULL;
    }
    if (task->watch)
        *task->watch = true;
    if (task->join) {
        rh_op *join = task->join;
        task->join = NULL;
        rh_op_done(join);
    }
}

static void resume(rh_task *task)
{
    int results = 0;
    rh_task *outer = running;
    running = task;
    rh_cpu_begin(task->L);
    int nargs = task->op ? 0 : lua_gettop(task->L) - 1;
    int status = lua_resume(task->L, NULL, nargs, &results);
    rh_cpu_end();
    running = outer;
    if (status == LUA_YIELD) {
        assert(task->op); /* coroutine.yield of the playbook cannot get here: luaenv.c refuses it */
        return;
    }
    if (status !=
        LUA_OK) { /* only out of memory gets past the task's own pcall; nothing may be allocated here */
        lua_pushboolean(task->L, 0);
        lua_insert(task->L, -2);
        lua_rotate(task->L, 1, 2);
        lua_settop(task->L, 2);
    }
    finish(task);
}

bool rh_tasks_drain(void)
{
    bool any = false;
    while (ready_head) {
        rh_task *task = ready_head;
        ready_head = task->next_ready;
        if (!ready_head)
            ready_tail = NULL;
        task->queued = false;
        any = true;
        resume(task);
    }
    return any;
}

int rh_task_take(rh_task *task, lua_State *L)
{
    assert(task->finished);
    int count = lua_gettop(task->L);
    luaL_checkstack(L, count + 1, "task");
    lua_xmove(task->L, L, count);
    if (task->next)
        task->next->prev = task->prev;
    if (task->prev)
        task->prev->next = task->next;
    else
        all = task->next;
    for (rh_task *other = all; other; other = other->next)
        if (other->parent == task)
            other->parent = task->parent;
    luaL_unref(L, LUA_REGISTRYINDEX, task->ref);
    luaL_unref(L, LUA_REGISTRYINDEX, task->locals_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, task->cancel_ref);
    free(task);
    return count;
}

static bool descends(const rh_task *task, const rh_task *from)
{
    for (; task; task = task->parent)
        if (task == from)
            return true;
    return false;
}

void rh_task_cancel(rh_task *task, lua_State *L, bool now)
{
    for (rh_task *each = all; each; each = each->next) {
        if (each->finished || !descends(each, task))
            continue;
        urgency urge = now ? URGE_NOW : URGE_SOON;
        if (each->urge == URGE_NONE) {
            lua_pushvalue(L, -1);
            each->cancel_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        }
        if (urge > each->urge)
            each->urge = urge;
        if (each->op && (now || each->op->class->idle))
            rh_op_cancel(each->op);
    }
    lua_pop(L, 1);
}

/* ---- the Lua side ---- */

typedef struct handle {
    rh_task *task;
} handle;

static rh_task *check_task(lua_State *L, int idx)
{
    handle *held = luaL_checkudata(L, idx, TASK);
    luaL_argcheck(L, held->task, idx, "this task was joined already");
    return held->task;
}

static int l_spawn(lua_State *L)
{
    lua_settop(L, 1);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    handle *held = lua_newuserdatauv(L, sizeof *held, 0);
    held->task = NULL;
    luaL_setmetatable(L, TASK);
    lua_pushvalue(L, 1);
    held->task = rh_task_spawn(L);
    return 1;
}

/* Not cancellable: who joins awaits the end of what it spawned, whatever happens to itself. */
static const rh_op_class join_class = {.name = "task.join", .size = sizeof(rh_op)};

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    handle *held = luaL_checkudata(L, 1, TASK);
    rh_task *task = held->task;
    held->task = NULL;
    return rh_task_take(task, L);
}

static int l_join(lua_State *L)
{
    rh_task *task = check_task(L, 1);
    if (task->finished)
        return joined(L, LUA_OK, 0);
    luaL_argcheck(L, !task->join, 1, "another task joins this one");
    rh_op *op = rh_op_new(&join_class);
    task->join = op;
    return rh_await_k(L, op, 0, 0, joined);
}

static int l_cancel(lua_State *L)
{
    handle *held = luaL_checkudata(L, 1, TASK);
    bool now = lua_toboolean(L, 3);
    lua_pushvalue(L, 2);
    if (held->task) /* joined already: there is nothing to cancel */
        rh_task_cancel(held->task, L, now);
    return 0;
}

static int l_cancelled(lua_State *L)
{
    rh_task *task = rh_task_current(L);
    if (!task || task->urge == URGE_NONE)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->cancel_ref);
    return 1;
}

static int l_clear(lua_State *L)
{
    rh_task *task = rh_task_current(L);
    if (task) {
        task->urge = URGE_NONE;
        luaL_unref(L, LUA_REGISTRYINDEX, task->cancel_ref);
        task->cancel_ref = LUA_NOREF;
    }
    return 0;
}

static int l_deadline(lua_State *L)
{
    rh_task *task = rh_task_current(L);
    if (!task)
        return 0;
    int64_t old = task->deadline;
    if (lua_gettop(L) > 0)
        task->deadline = lua_toboolean(L, 1) ? (int64_t)(luaL_checknumber(L, 1) * 1000) : 0;
    if (!old)
        return 0;
    lua_pushnumber(L, (lua_Number)old / 1000);
    return 1;
}

static int l_locals(lua_State *L)
{
    if (!running)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX,
                running->locals_ref); /* a coroutine of its own has them too */
    return 1;
}

/* The task that C spawned: its handle is for cancelling; C takes it. */
static int l_root(lua_State *L)
{
    rh_task *task = rh_task_current(L);
    while (task && task->parent)
        task = task->parent;
    handle *held = lua_newuserdatauv(L, sizeof *held, 0);
    held->task = task;
    luaL_setmetatable(L, TASK);
    return 1;
}

static int l_in_task(lua_State *L)
{
    lua_pushboolean(L, rh_task_current(L) != NULL);
    return 1;
}

int rh_task_open(lua_State *L)
{
    if (luaL_newmetatable(L, BOX)) {
        lua_pushcfunction(L, box_gc);
        lua_setfield(L, -2, "__gc");
    }
    luaL_newmetatable(L, TASK);
    lua_pop(L, 2);
    static const luaL_Reg functions[] = {{"spawn", l_spawn},
                                         {"join", l_join},
                                         {"cancel", l_cancel},
                                         {"cancelled", l_cancelled},
                                         {"clear", l_clear},
                                         {"deadline", l_deadline},
                                         {"locals", l_locals},
                                         {"in_task", l_in_task},
                                         {"root", l_root},
                                         {"sleep", rh_sleep},
                                         {"sleep_until", rh_sleep_until},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
