#include "docker.h"

#include "core/mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const rh_http_engine *http;

void rh_docker_use(const rh_http_engine *engine) { http = engine; }

static bool has_something(const rh_docker_stream *stream)
{
    return stream->out.size > 0 || stream->err.size > 0;
}

static void tell(rh_docker_stream *stream)
{
    rh_docker_next *next = stream->waiter;
    if (!next || !(stream->ended || has_something(stream)))
        return;
    stream->waiter = NULL;
    if (!has_something(stream))
        rh_error_move(&next->op.error, &stream->broken);
    rh_op_done(&next->op);
}

static void append_log(rh_docker_stream *stream, const char *bytes, size_t size)
{
    if (stream->log_path && stream->log < 0)
        stream->log =
            open(stream->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
    while (stream->log_path && size > 0) {
        ssize_t written = stream->log < 0 ? -1 : write(stream->log, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            rh_fail_errno(&stream->broken, errno, "cannot write %s", stream->log_path);
            return;
        }
        bytes += written;
        size -= (size_t)written;
    }
}

static void append_lines(rh_docker_stream *stream, size_t which, const char *bytes, size_t size)
{
    rh_buffer *rest = &stream->rest[which];
    const char *end = memrchr(bytes, '\n', size);
    size_t whole = end ? (size_t)(end - bytes) + 1 : 0;
    if (!end && rest->size + size > RH_DOCKER_WAITING)
        whole = size; /* no line that anybody reads: memory is bounded */
    if (whole > 0) {
        append_log(stream, rest->data, rest->size);
        append_log(stream, bytes, whole);
        rh_buffer_clear(rest);
    }
    rh_buffer_add(rest, bytes + whole, size - whole);
}

/* NULL: the end of both. */
static void mask_in(rh_docker_stream *stream, const rh_buffer *raw)
{
    rh_buffer *to[] = {&stream->out, &stream->err};
    for (size_t i = 0; i < 2; i++) {
        size_t before = to[i]->size;
        if (!raw)
            rh_mask_stream_end(stream->masks[i], to[i]);
        else if (raw[i].size > 0)
            rh_mask_stream_feed(stream->masks[i], raw[i].data, raw[i].size, to[i]);
        if (to[i]->size > before && stream->lines)
            append_lines(stream, i, to[i]->data + before, to[i]->size - before);
        else if (to[i]->size > before)
            append_log(stream, to[i]->data + before, to[i]->size - before);
    }
}

static void take_in(rh_docker_stream *stream, const char *bytes, size_t size)
{
    rh_buffer *raw = stream->raw;
    rh_buffer_clear(&raw[0]);
    rh_buffer_clear(&raw[1]);
    if (!stream->framed)
        rh_buffer_add(&raw[0], bytes, size);
    else if (!rh_docker_frames_feed(&stream->frames, bytes, size, &raw[0], &raw[1],
                                    &stream->broken))
        return;
    mask_in(stream, raw);
}

static void come_to_an_end(rh_docker_stream *stream)
{
    stream->ended = true;
    mask_in(stream, NULL);
    rh_error_move(&stream->broken, &stream->request.op.error);
    if (stream->framed && !rh_docker_frames_whole(&stream->frames))
        rh_fail(&stream->broken, "reset",
                "the engine broke off in the middle of a container's output");
    rh_error_module(&stream->broken, "docker");
}

static bool receive(void *data, const char *bytes, size_t size)
{
    rh_docker_stream *stream = data;
    if (!bytes) {
        come_to_an_end(stream);
        tell(stream);
        return true;
    }
    if (stream->out.size + stream->err.size >= RH_DOCKER_WAITING) {
        stream->paused = true;
        return false;
    }
    if (!rh_error_is_set(&stream->broken))
        take_in(stream, bytes, size);
    tell(stream);
    return true;
}

bool rh_docker_start(rh_docker_stream *stream, const rh_http_spec *spec, bool framed,
                     const char *log, bool lines, rh_error *error)
{
    rh_http_spec own = *spec;
    own.receive = receive;
    own.receive_data = stream;
    stream->framed = framed;
    stream->log_path = log ? rh_strdup(log) : NULL;
    stream->log = -1;
    stream->lines = lines;
    for (size_t i = 0; i < 2; i++)
        stream->masks[i] = rh_mask_stream_new(rh_mask_process());
    return http->start(&stream->request, &own, error);
}

void rh_docker_cancel(rh_op *op) { http->cancel(op); }

void rh_docker_fini(rh_op *op)
{
    rh_docker_stream *stream = (rh_docker_stream *)op;
    for (size_t i = 0; i < 2; i++)
        rh_mask_stream_free(stream->masks[i]);
    for (size_t i = 0; i < 2; i++) {
        rh_buffer_free(&stream->raw[i]);
        rh_buffer_free(&stream->rest[i]);
    }
    rh_buffer_free(&stream->out);
    rh_buffer_free(&stream->err);
    rh_error_clear(&stream->broken);
    free(stream->log_path);
    if (stream->log >= 0)
        close(stream->log);
    http->fini(op);
}

void rh_docker_next_start(rh_docker_next *next, rh_docker_stream *stream)
{
    rh_op_retain(&stream->request.op);
    next->stream = stream;
    stream->waiter = next;
    tell(stream);
}

void rh_docker_next_cancel(rh_op *op)
{
    rh_docker_next *next = (rh_docker_next *)op;
    next->stream->waiter = NULL;
    rh_fail(&op->error, "cancelled", "the wait for the engine's answer was cancelled");
    rh_op_done(op);
}

void rh_docker_next_fini(rh_op *op)
{
    rh_docker_next *next = (rh_docker_next *)op;
    if (next->stream)
        rh_op_release(&next->stream->request.op);
}

void rh_docker_taken(rh_docker_stream *stream)
{
    rh_buffer_clear(&stream->out);
    rh_buffer_clear(&stream->err);
    if (stream->paused) {
        stream->paused = false;
        http->go_on(&stream->request);
    }
}
