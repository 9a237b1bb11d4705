#include "show/sink.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than that is not kept for a reader that does not read; the journal has it all. */
enum { KEEP = 4 << 20 };

struct rh_sink {
    uv_poll_t poll;
    int fd;
    bool own, polled, waiting, gone, skipped;
    rh_buffer pending;
};

/* Non-blocking belongs to the open file, which the shell shares: a terminal or a pipe is opened anew. */
static int open_anew(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !(S_ISCHR(info.st_mode) || S_ISFIFO(info.st_mode)))
        return -1;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

rh_sink *rh_sink_open(int fd)
{
    rh_sink *sink = rh_alloc(sizeof *sink);
    sink->fd = open_anew(fd);
    sink->own = sink->fd >= 0;
    if (!sink->own)
        sink->fd = fd;
    return sink;
}

static void on_writable(uv_poll_t *poll, int status, int events);

static void wait_writable(rh_sink *sink)
{
    if (sink->waiting)
        return;
    if (!sink->polled) {
        if (uv_poll_init(rh_loop(), &sink->poll, sink->fd) != 0)
            return;
        sink->polled = true;
        sink->poll.data = sink;
    }
    sink->waiting = uv_poll_start(&sink->poll, UV_WRITABLE, on_writable) == 0;
    uv_unref((uv_handle_t *)&sink->poll);
}

static void send_pending(rh_sink *sink)
{
    size_t sent = 0;
    while (sent < sink->pending.size) {
        const ssize_t n = write(sink->fd, sink->pending.data + sent, sink->pending.size - sent);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR) {
            rh_sink_detach(sink);
            return;
        }
    }
    const size_t rest = sink->pending.size - sent;
    if (sent > 0) {
        memmove(sink->pending.data, sink->pending.data + sent, rest);
        sink->pending.size = rest;
    }
    if (rest)
        wait_writable(sink);
    else if (sink->waiting) {
        uv_poll_stop(&sink->poll);
        sink->waiting = false;
    }
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    rh_sink *sink = poll->data;
    if (status < 0)
        rh_sink_detach(sink);
    else
        send_pending(sink);
}

void rh_sink_write(rh_sink *sink, const char *bytes, size_t size)
{
    if (sink->gone || size == 0)
        return;
    if (sink->pending.size > 0 && sink->pending.size + size > KEEP) {
        if (!sink->skipped)
            rh_buffer_adds(&sink->pending,
                           "\n… the reader is too slow: some output is left out here\n");
        sink->skipped = true;
        return;
    }
    sink->skipped = false;
    rh_buffer_add(&sink->pending, bytes, size);
    if (!sink->waiting)
        send_pending(sink);
}

bool rh_sink_is_behind(const rh_sink *sink) { return sink->pending.size > 0; }

bool rh_sink_is_gone(const rh_sink *sink) { return sink->gone; }

void rh_sink_detach(rh_sink *sink)
{
    sink->gone = true;
    rh_buffer_free(&sink->pending);
    if (sink->waiting)
        uv_poll_stop(&sink->poll);
    sink->waiting = false;
}

static void free_sink(uv_handle_t *handle)
{
    rh_sink *sink = handle->data;
    if (sink->own)
        close(sink->fd);
    free(sink);
}

void rh_sink_close(rh_sink *sink)
{
    while (!sink->gone && sink->pending.size > 0) {
        struct pollfd ready = {.fd = sink->fd, .events = POLLOUT};
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
            break;
        send_pending(sink);
    }
    rh_sink_detach(sink);
    if (sink->polled)
        uv_close((uv_handle_t *)&sink->poll, free_sink);
    else {
        if (sink->own)
            close(sink->fd);
        free(sink);
    }
}
