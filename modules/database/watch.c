#include "watch.h"

#include "core/loop.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POLL_MS = 5, WINDOW = 1 << 16 };

struct look {
    uv_timer_t timer;
    rh_database_watch *watch;
    int64_t until_us;
    int fd;
    off_t at;
    char window[WINDOW];
};

static void on_closed(uv_handle_t *timer)
{
    struct look *look = timer->data;
    if (look->fd >= 0)
        close(look->fd);
    free(look);
}

static void end(rh_database_watch *watch, rh_database_seen seen)
{
    struct look *look = watch->impl;
    watch->seen = seen;
    uv_close((uv_handle_t *)&look->timer, on_closed);
    rh_op_done(&watch->op);
}

/* Reads on from where the last look ended, less the text's length: it may lie across. */
static bool holds_text(struct look *look)
{
    const char *text = look->watch->text;
    const size_t length = strlen(text);
    if (look->fd < 0)
        look->fd = open(look->watch->path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; look->fd >= 0 && (n = pread(look->fd, look->window, WINDOW, look->at)) > 0;) {
        if (memmem(look->window, (size_t)n, text, length))
            return true;
        if (n < WINDOW)
            break;
        look->at += n - (ssize_t)length;
    }
    return false;
}

static void on_tick(uv_timer_t *timer)
{
    struct look *look = timer->data;
    rh_database_watch *watch = look->watch;
    if (watch->text && holds_text(look))
        end(watch, RH_WATCH_FOUND);
    else if (watch->command->op.done)
        end(watch, RH_WATCH_ENDED);
    else if (rh_mono_us() >= look->until_us)
        end(watch, RH_WATCH_TICK);
}

void rh_database_watch_start(rh_database_watch *watch, rh_command *command, int64_t ms,
                             const char *path, const char *text)
{
    struct look *look = rh_alloc(sizeof *look);
    watch->impl = look;
    watch->command = command;
    rh_op_retain(&command->op);
    watch->path = path ? rh_strdup(path) : NULL;
    watch->text = path ? rh_strdup(text) : NULL;
    look->watch = watch;
    look->fd = -1;
    look->until_us = rh_mono_us() + ms * 1000;
    uv_timer_init(rh_loop(), &look->timer);
    look->timer.data = look;
    uv_timer_start(&look->timer, on_tick, 0, POLL_MS);
}

void rh_database_watch_cancel(rh_op *op)
{
    rh_fail(&op->error, "cancelled", "cancelled");
    end((rh_database_watch *)op, RH_WATCH_TICK);
}

void rh_database_watch_fini(rh_op *op)
{
    rh_database_watch *watch = (rh_database_watch *)op;
    rh_op_release(&watch->command->op);
    free(watch->path);
    free(watch->text);
}
