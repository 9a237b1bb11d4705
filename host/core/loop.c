#include "core/loop.h"

#include "core/task.h"

#include <assert.h>
#include <time.h>

#define MAX_HOOKS 8

static uv_loop_t loop;
static bool loop_open;
static struct {
    rh_loop_hook hook;
    void *data;
} hooks[MAX_HOOKS];
static int hook_count;

uv_loop_t *rh_loop(void)
{
    if (!loop_open) {
        int status = uv_loop_init(&loop);
        assert(status == 0);
        (void)status;
        loop_open = true;
    }
    return &loop;
}

void rh_loop_at_turn_end(rh_loop_hook hook, void *data)
{
    assert(hook_count < MAX_HOOKS);
    hooks[hook_count].hook = hook;
    hooks[hook_count++].data = data;
}

/* Tasks run until none is ready, then the hooks (a commit may make tasks ready again). */
static void settle(void)
{
    bool again;
    do {
        rh_tasks_drain();
        again = false;
        for (int i = 0; i < hook_count; i++)
            again |= hooks[i].hook(hooks[i].data);
    } while (again);
}

bool rh_loop_run(const bool *stop)
{
    for (;;) {
        settle();
        if (*stop)
            return true;
        if (!uv_loop_alive(rh_loop()))
            return false;
        uv_run(rh_loop(), UV_RUN_ONCE);
    }
}

int rh_loop_close(void)
{
    if (!loop_open)
        return 0;
    uv_run(&loop, UV_RUN_NOWAIT); /* close callbacks that are due */
    int status = uv_loop_close(&loop);
    if (status == 0) {
        loop_open = false;
        hook_count = 0;
    }
    return status;
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t rh_wall_us(void) { return clock_us(CLOCK_REALTIME); }
int64_t rh_wall_ms(void) { return rh_wall_us() / 1000; }
int64_t rh_mono_us(void) { return clock_us(CLOCK_MONOTONIC); }
