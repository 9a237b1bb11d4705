#include "run/secret_command.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "core/luaerror.h"
#include "core/secret.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 64 * 1024 };

/* What libuv holds; it outlives the op until its handles are closed. */
typedef struct child {
    uv_process_t process;
    uv_pipe_t pipe;
    int open;             /* handles */
    struct secret_op *op; /* NULL: done */
    char chunk[4096];
} child;

typedef struct secret_op {
    rh_op op;
    child *child;
    char *name, *program;
    rh_buffer text;
    int64_t status;
    int signal;
    bool exited, ended, too_much;
} secret_op;

static void on_closed(uv_handle_t *handle)
{
    child *one = handle->data;
    if (--one->open == 0) {
        explicit_bzero(one->chunk, sizeof one->chunk);
        free(one);
    }
}

static void end(secret_op *secret)
{
    child *one = secret->child;
    one->op = NULL;
    uv_close((uv_handle_t *)&one->pipe, on_closed);
    uv_close((uv_handle_t *)&one->process, on_closed);
    rh_op_done(&secret->op);
}

static void end_when_all_came(secret_op *secret)
{
    if (!secret->exited || !secret->ended)
        return;
    if (!secret->op.cancelled && (secret->status != 0 || secret->signal != 0))
        rh_fail(&secret->op.error, "secret",
                "secret \"%s\": %s ended with %s %d; run it by hand to see why", secret->name,
                secret->program, secret->signal ? "signal" : "status",
                secret->signal ? secret->signal : (int)secret->status);
    else if (secret->too_much)
        rh_fail(&secret->op.error, "secret", "secret \"%s\": %s printed more than a secret",
                secret->name, secret->program);
    end(secret);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
    secret_op *secret = ((child *)process->data)->op;
    secret->status = status;
    secret->signal = signal;
    secret->exited = true;
    end_when_all_came(secret);
}

static void give_chunk(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    (void)wanted;
    child *one = handle->data;
    *buffer = uv_buf_init(one->chunk, sizeof one->chunk);
}

static void on_output(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    secret_op *secret = ((child *)stream->data)->op;
    if (got > 0 && secret->text.size + (size_t)got <= LARGEST)
        rh_buffer_add(&secret->text, buffer->base, (size_t)got);
    else if (got > 0)
        secret->too_much = true;
    if (got < 0) {
        uv_read_stop(stream);
        secret->ended = true;
        end_when_all_came(secret);
    }
}

static void cancel(rh_op *op)
{
    secret_op *secret = (secret_op *)op;
    rh_fail(&op->error, "cancelled", "secret \"%s\": %s was cancelled", secret->name,
            secret->program);
    if (!secret->exited)
        uv_process_kill(&secret->child->process, SIGKILL);
    /* A grandchild that keeps the pipe is not waited for. */
    secret->ended = true;
    end_when_all_came(secret);
}

static int push(rh_op *op, lua_State *L)
{
    secret_op *secret = (secret_op *)op;
    size_t size = secret->text.size;
    const char *text = secret->text.data ? secret->text.data : "";
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    rh_error error = {0};
    if (!rh_secret_push(L, secret->name, text, size, &error))
        rh_raise(L, &error);
    return 1;
}

static void fini(rh_op *op)
{
    secret_op *secret = (secret_op *)op;
    free(secret->name);
    free(secret->program);
    rh_buffer_free(&secret->text);
}

static const rh_op_class secret_class = {
    .name = "secret", .size = sizeof(secret_op), .cancel = cancel, .push = push, .fini = fini};

rh_op *rh_secret_command(const char *name, const char *const *argv, rh_error *error)
{
    secret_op *secret = (secret_op *)rh_op_new(&secret_class);
    child *one = rh_alloc(sizeof *one);
    secret->child = one;
    secret->name = rh_strdup(name);
    secret->program = rh_strdup(argv[0]);
    one->op = secret;
    one->open = 2;
    one->process.data = one->pipe.data = one;
    uv_pipe_init(rh_loop(), &one->pipe, 0);
    uv_stdio_container_t streams[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&one->pipe},
        {.flags = UV_IGNORE}};
    uv_process_options_t options = {.file = argv[0],
                                    .args = (char **)(uintptr_t)argv,
                                    .exit_cb = on_exit_status,
                                    .stdio = streams,
                                    .stdio_count = 3};
    int status = uv_spawn(rh_loop(), &one->process, &options);
    if (status != 0) {
        rh_fail(error, "secret", "secret \"%s\": %s cannot be started: %s", name, argv[0],
                uv_strerror(status));
        uv_close((uv_handle_t *)&one->pipe, on_closed);
        uv_close((uv_handle_t *)&one->process, on_closed);
        rh_op_discard(&secret->op);
        return NULL;
    }
    uv_read_start((uv_stream_t *)&one->pipe, give_chunk, on_output);
    return &secret->op;
}
