#include "log.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <stdlib.h>
#include <string.h>

static void work(uv_work_t *request)
{
    rh_log_work *self = request->data;
    if (self->log)
        rh_log_advance(self->log, &self->stop, &self->op.error);
    else
        rh_log_end(self->path, &self->place, &self->op.error);
}

static void after_work(uv_work_t *request, int status)
{
    rh_log_work *self = request->data;
    if (status != 0)
        rh_fail(&self->op.error, "cancelled", "reading %s was cancelled", self->path);
    if (self->log) { /* a copy: the next one may read on before this one's task has seen it */
        self->found = rh_alloc(sizeof *self->found);
        *self->found = *rh_log_results(self->log);
        rh_log_set_busy(self->log, false);
    }
    rh_error_module(&self->op.error, "log");
    rh_op_done(&self->op);
}

bool rh_log_work_start(rh_log_work *self, rh_log *log, const char *path, rh_error *error)
{
    self->path = rh_strdup(path);
    self->work.data = self;
    self->log = log;
    if (log)
        rh_log_retain(log);
    const int status = uv_queue_work(rh_loop(), &self->work, work, after_work);
    if (status != 0)
        return rh_fail_uv(error, status, "cannot read %s", path);
    if (log)
        rh_log_set_busy(log, true);
    return true;
}

void rh_log_work_cancel(rh_op *op)
{
    rh_log_work *self = (rh_log_work *)op;
    atomic_store(&self->stop, true);
    uv_cancel((uv_req_t *)&self->work); /* where it has not begun; else `stop` ends its loop */
}

void rh_log_work_fini(rh_op *op)
{
    rh_log_work *self = (rh_log_work *)op;
    rh_log_release(self->log);
    free(self->path);
    free(self->found);
}

/* Waiting ------------------------------------------------------------------------------------------ */

static void closed(uv_handle_t *handle) { free(handle); }

static void end(rh_log_wait *wait)
{
    if (!wait->timer)
        return;
    uv_close((uv_handle_t *)wait->timer, closed);
    wait->timer = NULL;
    if (wait->watch)
        uv_close((uv_handle_t *)wait->watch, closed);
    rh_op_done(&wait->op);
}

static void over(uv_timer_t *timer) { end(timer->data); }

static void changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    (void)file;
    (void)events;
    (void)status;
    end(watch->data);
}

static bool watch_folder(uv_fs_event_t *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? rh_strdup(path) : rh_strdup(".");
    if (slash)
        folder[slash == path ? 1 : slash - path] = '\0';
    const int status = uv_fs_event_start(watch, changed, folder, 0);
    free(folder);
    return status == 0;
}

void rh_log_wait_start(rh_log_wait *wait, const char *path, int64_t ms)
{
    wait->timer = rh_alloc(sizeof *wait->timer);
    wait->timer->data = wait;
    uv_timer_init(rh_loop(), wait->timer);
    uv_timer_start(wait->timer, over, ms > 0 ? (uint64_t)ms : 1, 0);
    if (!path)
        return;
    wait->watch = rh_alloc(sizeof *wait->watch);
    wait->watch->data = wait;
    uv_fs_event_init(rh_loop(), wait->watch);
    if (!watch_folder(wait->watch, path)) {
        uv_close((uv_handle_t *)wait->watch, closed);
        wait->watch = NULL;
    }
}

void rh_log_wait_cancel(rh_op *op)
{
    rh_fail(&op->error, "cancelled", "waiting for the log was cancelled");
    end((rh_log_wait *)op);
}
