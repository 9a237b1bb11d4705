#include "run/secret_command.h"

#include "core/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 64 * 1024 };

/* ---- the command ---- */

static void one_closed(uv_handle_t *handle)
{
    rh_secret_child *child = handle->data;
    child->open--;
    if (child->open == 1) /* the timer */
        uv_close((uv_handle_t *)&child->timer, one_closed);
    else if (child->open == 0)
        child->ended(child);
}

static void close_one(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, one_closed);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
    rh_secret_child *child = process->data;
    child->status = status;
    child->signal = signal;
    close_one((uv_handle_t *)process);
}

static void give_chunk(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    (void)wanted;
    rh_secret_child *child = handle->data;
    *buffer = uv_buf_init(child->chunk, sizeof child->chunk);
}

static void on_output(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    rh_secret_child *child = stream->data;
    if (got > 0 && child->text.size + (size_t)got <= LARGEST)
        rh_buffer_add(&child->text, buffer->base, (size_t)got);
    else if (got > 0)
        child->too_much = true;
    if (got < 0)
        close_one((uv_handle_t *)stream);
}

/* A grandchild that keeps the pipe is not waited for any longer. */
static void end_now(rh_secret_child *child)
{
    if (!uv_is_closing((uv_handle_t *)&child->process))
        uv_kill(-child->process.pid, SIGKILL); /* its session's group */
    close_one((uv_handle_t *)&child->pipe);
}

static void on_timeout(uv_timer_t *timer)
{
    rh_secret_child *child = timer->data;
    child->too_long = true;
    end_now(child);
}

static void begin(rh_secret_child *child, uv_loop_t *loop, const char *const *argv,
                  uint64_t timeout_ms)
{
    child->process.data = child->pipe.data = child->timer.data = child;
    child->open = 3;
    uv_pipe_init(loop, &child->pipe, 0);
    uv_timer_init(loop, &child->timer);
    uv_timer_start(&child->timer, on_timeout, timeout_ms, 0);
    uv_stdio_container_t streams[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->pipe},
        {.flags = UV_IGNORE}};
    uv_process_options_t options = {.file = argv[0],
                                    .args = (char **)(uintptr_t)argv,
                                    .exit_cb = on_exit_status,
                                    .stdio = streams,
                                    .stdio_count = 3,
                                    .flags = UV_PROCESS_DETACHED};
    child->spawned = uv_spawn(loop, &child->process, &options);
    if (child->spawned == 0) {
        uv_read_start((uv_stream_t *)&child->pipe, give_chunk, on_output);
    } else {
        close_one((uv_handle_t *)&child->process);
        close_one((uv_handle_t *)&child->pipe);
    }
}

static bool judge(rh_secret_child *child, const char *name, const char *program,
                  uint64_t timeout_ms, rh_error *error)
{
    rh_buffer *text = &child->text;
    explicit_bzero(child->chunk, sizeof child->chunk);
    while (text->size > 0 && strchr("\r\n", text->data[text->size - 1]))
        text->data[--text->size] = '\0';
    if (child->spawned != 0)
        return rh_fail(error, "secret", "secret \"%s\": %s cannot be started: %s", name, program,
                       uv_strerror(child->spawned));
    if (child->too_long)
        return rh_fail(error, "secret", "secret \"%s\": %s had not ended after %d s", name, program,
                       (int)(timeout_ms / 1000));
    if (child->status != 0 || child->signal != 0)
        return rh_fail(error, "secret",
                       "secret \"%s\": %s ended with %s %d; run it by hand to see why", name,
                       program, child->signal ? "signal" : "status",
                       child->signal ? child->signal : (int)child->status);
    return !child->too_much ||
           rh_fail(error, "secret", "secret \"%s\": %s printed more than a secret", name, program);
}

/* ---- to its end ---- */

static void nobody_waits(rh_secret_child *child) { (void)child; }

bool rh_secret_command(const char *name, const char *const *argv, uint64_t timeout_ms,
                       rh_buffer *text, rh_error *error)
{
    uv_loop_t loop;
    rh_secret_child child = {.ended = nobody_waits};
    child.spawned = uv_loop_init(&loop);
    if (child.spawned == 0) {
        begin(&child, &loop, argv, timeout_ms);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
    const bool ok = judge(&child, name, argv[0], timeout_ms, error);
    if (ok)
        rh_buffer_add(text, child.text.data ? child.text.data : "", child.text.size);
    rh_secret_command_forget(&child.text);
    return ok;
}

void rh_secret_command_forget(rh_buffer *text)
{
    if (text->data)
        explicit_bzero(text->data, text->capacity);
    rh_buffer_free(text);
}

/* ---- on the loop ---- */

static rh_secret_op *under_way;

static void op_ended(rh_secret_child *child)
{
    rh_secret_op *op = (rh_secret_op *)(void *)((char *)child - offsetof(rh_secret_op, child));
    rh_secret_op **link = &under_way;
    while (*link != op)
        link = &(*link)->next;
    *link = op->next;
    if (!rh_error_is_set(&op->op.error))
        judge(child, op->name, op->program, op->timeout_ms, &op->op.error);
    rh_op_retain(&op->op);
    rh_op_done(&op->op); /* its task goes first, and makes the secret known to the others */
    rh_waiters_wake(&op->others, NULL);
    rh_op_release(&op->op);
}

void rh_secret_op_start(rh_secret_op *op, const char *name, const char *const *argv,
                        uint64_t timeout_ms)
{
    op->name = rh_strdup(name);
    op->program = rh_strdup(argv[0]);
    op->timeout_ms = timeout_ms;
    op->child.ended = op_ended;
    op->next = under_way;
    under_way = op;
    begin(&op->child, rh_loop(), argv, timeout_ms);
}

void rh_secret_op_cancel(rh_op *op)
{
    rh_secret_op *self = (rh_secret_op *)op;
    rh_fail(&op->error, "cancelled", "secret \"%s\": its command was ended", self->name);
    end_now(&self->child);
}

void rh_secret_op_fini(rh_op *op)
{
    rh_secret_op *self = (rh_secret_op *)op;
    rh_secret_command_forget(&self->child.text);
    free(self->name);
    free(self->program);
}

rh_op *rh_secret_op_join(const char *name)
{
    for (rh_secret_op *each = under_way; each; each = each->next)
        if (strcmp(each->name, name) == 0)
            return rh_waiters_add(&each->others, true);
    return NULL;
}
