#include "core/timer.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "core/luaerror.h"
#include "core/task.h"

#include <errno.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A timerfd serves both clocks: the wall clock's wakes when somebody sets the clock (CANCEL_ON_SET), so a wait
 * until 22:00 ends at 22:00, and a waiting host uses no CPU at all. */
typedef struct sleep_op {
    rh_op op;
    uv_poll_t *poll;
    int fd;
    int64_t until_ms; /* wall clock; 0: the fd's own expiry counts */
} sleep_op;

static void closed(uv_handle_t *handle) { free(handle); }

static void end(sleep_op *sleep)
{
    uv_poll_stop(sleep->poll);
    uv_close((uv_handle_t *)sleep->poll, closed);
    close(sleep->fd);
    rh_op_done(&sleep->op);
}

static void cancel(rh_op *op)
{
    rh_fail(&op->error, "cancelled", "the wait was cancelled");
    end((sleep_op *)op);
}

static const rh_op_class sleep_class = {
    .name = "wait", .size = sizeof(sleep_op), .cancel = cancel, .idle = true};

static bool arm(sleep_op *sleep, int64_t ms)
{
    struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000}};
    int flags = sleep->until_ms ? TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET : 0;
    if (ms <= 0)
        when.it_value.tv_nsec = 1;
    return timerfd_settime(sleep->fd, flags, &when, NULL) == 0;
}

static void readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    sleep_op *sleep = poll->data;
    uint64_t times;
    bool set = status == 0 && read(sleep->fd, &times, sizeof times) < 0 && errno == ECANCELED;
    if (set && rh_wall_ms() < sleep->until_ms && arm(sleep, sleep->until_ms))
        return;
    end(sleep);
}

static int wait_for(lua_State *L, int clock, int64_t ms, int64_t until_ms)
{
    rh_op *op = rh_op_new(&sleep_class);
    sleep_op *sleep = (sleep_op *)op;
    sleep->until_ms = until_ms;
    sleep->fd = timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK);
    if (sleep->fd < 0 || !arm(sleep, until_ms ? until_ms : ms)) {
        rh_error error = {0};
        rh_fail_errno(&error, errno, "a timer could not be set");
        if (sleep->fd >= 0)
            close(sleep->fd);
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    sleep->poll = rh_alloc(sizeof(uv_poll_t));
    uv_poll_init(rh_loop(), sleep->poll, sleep->fd);
    sleep->poll->data = sleep;
    uv_poll_start(sleep->poll, UV_READABLE, readable);
    return rh_await(L, op, 0);
}

int rh_sleep(lua_State *L)
{
    return wait_for(L, CLOCK_MONOTONIC, (int64_t)luaL_checknumber(L, 1), 0);
}

int rh_sleep_until(lua_State *L)
{
    int64_t until = (int64_t)luaL_checknumber(L, 1);
    return wait_for(L, CLOCK_REALTIME, 0, until > 0 ? until : 1);
}
