#include "run/secret_command.h"

#include <signal.h>
#include <string.h>
#include <uv.h>

enum { LARGEST = 64 * 1024 };

/* A command on a loop of its own. */
typedef struct child {
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t timer;
    rh_buffer *text;
    int64_t status;
    int signal;
    bool too_much, too_long;
    char chunk[4096];
} child;

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
    child *one = process->data;
    one->status = status;
    one->signal = signal;
    uv_close((uv_handle_t *)process, NULL);
}

static void give_chunk(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    (void)wanted;
    child *one = handle->data;
    *buffer = uv_buf_init(one->chunk, sizeof one->chunk);
}

static void on_output(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    child *one = stream->data;
    if (got > 0 && one->text->size + (size_t)got <= LARGEST)
        rh_buffer_add(one->text, buffer->base, (size_t)got);
    else if (got > 0)
        one->too_much = true;
    if (got < 0)
        uv_close((uv_handle_t *)stream, NULL);
}

/* A grandchild that keeps the pipe is not waited for any longer. */
static void on_timeout(uv_timer_t *timer)
{
    child *one = timer->data;
    one->too_long = true;
    if (!uv_is_closing((uv_handle_t *)&one->process))
        uv_process_kill(&one->process, SIGKILL);
    if (!uv_is_closing((uv_handle_t *)&one->pipe))
        uv_close((uv_handle_t *)&one->pipe, NULL);
}

static int run(uv_loop_t *loop, child *one, const char *const *argv, uint64_t timeout_ms)
{
    one->process.data = one->pipe.data = one->timer.data = one;
    uv_pipe_init(loop, &one->pipe, 0);
    uv_timer_init(loop, &one->timer);
    uv_timer_start(&one->timer, on_timeout, timeout_ms, 0);
    uv_unref((uv_handle_t *)&one->timer);
    uv_stdio_container_t streams[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&one->pipe},
        {.flags = UV_IGNORE}};
    uv_process_options_t options = {.file = argv[0],
                                    .args = (char **)(uintptr_t)argv,
                                    .exit_cb = on_exit_status,
                                    .stdio = streams,
                                    .stdio_count = 3};
    const int status = uv_spawn(loop, &one->process, &options);
    if (status == 0) {
        uv_read_start((uv_stream_t *)&one->pipe, give_chunk, on_output);
    } else {
        uv_close((uv_handle_t *)&one->process, NULL);
        uv_close((uv_handle_t *)&one->pipe, NULL);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&one->timer, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    return status;
}

bool rh_secret_command(const char *name, const char *const *argv, uint64_t timeout_ms,
                       rh_buffer *text, rh_error *error)
{
    uv_loop_t loop;
    child one = {.text = text};
    int status = uv_loop_init(&loop);
    if (status == 0) {
        status = run(&loop, &one, argv, timeout_ms);
        uv_loop_close(&loop);
    }
    explicit_bzero(one.chunk, sizeof one.chunk);
    while (text->size > 0 && strchr("\r\n", text->data[text->size - 1]))
        text->data[--text->size] = '\0';
    if (status != 0)
        return rh_fail(error, "secret", "secret \"%s\": %s cannot be started: %s", name, argv[0],
                       uv_strerror(status));
    if (one.too_long)
        return rh_fail(error, "secret", "secret \"%s\": %s had not ended after %d s", name, argv[0],
                       (int)(timeout_ms / 1000));
    if (one.status != 0 || one.signal != 0)
        return rh_fail(
            error, "secret", "secret \"%s\": %s ended with %s %d; run it by hand to see why", name,
            argv[0], one.signal ? "signal" : "status", one.signal ? one.signal : (int)one.status);
    return !one.too_much ||
           rh_fail(error, "secret", "secret \"%s\": %s printed more than a secret", name, argv[0]);
}

void rh_secret_command_forget(rh_buffer *text)
{
    if (text->data)
        explicit_bzero(text->data, text->capacity);
    rh_buffer_free(text);
}
