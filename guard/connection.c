#include "guard/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CROWDED = 256 << 10, KEEP = 64 << 10 };

int rh_guard_host = -1;
unsigned rh_guard_connection;
rh_mask *rh_guard_mask;

static rh_buffer incoming, outgoing;

/* ── sending ──────────────────────────────────────────────────────────────────────────────────── */

bool rh_guard_has_to_send(void) { return outgoing.size > 0; }
bool rh_guard_is_crowded(void) { return outgoing.size > CROWDED; }

void rh_guard_send(void)
{
    while (outgoing.size && rh_guard_host >= 0) {
        ssize_t sent =
            send(rh_guard_host, outgoing.data, outgoing.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            /* It will not read this any more; what it had sent is still to be read, to its end. */
            rh_buffer_free(&outgoing);
            return;
        }
        if (sent < 0)
            return;
        memmove(outgoing.data, outgoing.data + sent, outgoing.size - (size_t)sent);
        outgoing.size -= (size_t)sent;
    }
    if (outgoing.capacity > KEEP)
        rh_buffer_free(&outgoing);
}

static void finish_frame(size_t mark)
{
    rh_frame_end(&outgoing, mark);
    rh_guard_send();
}

void rh_guard_send_started(const rh_guarded *command)
{
    size_t mark = rh_frame_begin(&outgoing, RH_FRAME_STARTED, command->handle);
    rh_frame_put(&outgoing, command->pid);
    rh_frame_put(&outgoing, command->flags);
    finish_frame(mark);
}

void rh_guard_send_output(const rh_guarded *command, int stream, const rh_buffer *text)
{
    size_t mark = rh_frame_begin(&outgoing, RH_FRAME_OUTPUT, command->handle);
    rh_frame_put(&outgoing, stream);
    rh_frame_put_bytes(&outgoing, text->data, text->size);
    finish_frame(mark);
}

void rh_guard_send_exited(const rh_guarded *command, uint32_t handle)
{
    size_t mark = rh_frame_begin(&outgoing, RH_FRAME_EXITED, handle);
    const rh_output *out = &command->out, *err = &command->err;
    bool is_short = rh_guard_output_is_short(command);
    rh_frame_put(&outgoing, command->flags | (is_short ? RH_EXIT_SHORT : 0));
    rh_frame_put(&outgoing, command->status);
    rh_frame_put(&outgoing, command->pid);
    rh_frame_put(&outgoing, command->ms);
    rh_frame_put(&outgoing, command->failure);
    rh_frame_put(&outgoing, (int64_t)out->raw);
    rh_frame_put(&outgoing, (int64_t)err->raw);
    rh_frame_put(&outgoing, (int64_t)out->kept);
    rh_frame_put(&outgoing, (int64_t)err->kept);
    rh_frame_put(&outgoing, (int64_t)out->capture);
    rh_frame_put_bytes(&outgoing, is_short ? out->first.data : NULL, out->first.size);
    rh_frame_put_bytes(&outgoing, is_short ? err->first.data : NULL, err->first.size);
    finish_frame(mark);
}

void rh_guard_send_error(uint32_t handle, rh_frame_failure what, const char *message)
{
    size_t mark = rh_frame_begin(&outgoing, RH_FRAME_ERROR, handle);
    rh_frame_put(&outgoing, what);
    rh_frame_put_text(&outgoing, message);
    finish_frame(mark);
}

/* ── receiving ────────────────────────────────────────────────────────────────────────────────── */

static void secrets(rh_frame *frame)
{
    for (int64_t count = rh_frame_get(frame); count > 0 && !frame->bad; count--) {
        size_t size;
        const char *name = rh_frame_get_bytes(frame, NULL);
        const char *user = rh_frame_get_bytes(frame, NULL);
        const char *value = rh_frame_get_bytes(frame, &size);
        if (!name || !value)
            frame->bad = true;
        else if (user)
            rh_mask_add_basic(rh_guard_mask, name, user, value, size);
        else
            rh_mask_add(rh_guard_mask, name, value, size);
    }
}

/* A list of texts, NULL-terminated; NULL if the frame does not hold one. free() it. */
static const char **texts(rh_frame *frame)
{
    int64_t count = rh_frame_get(frame);
    if (frame->bad || count < 0 || count > frame->end - frame->at) {
        frame->bad = true;
        return NULL;
    }
    const char **list = rh_alloc(((size_t)count + 1) * sizeof *list);
    for (int64_t i = 0; i < count; i++)
        if (!(list[i] = rh_frame_get_bytes(frame, NULL)))
            frame->bad = true;
    return list;
}

/* Part of a file's name, and a word in the ledger. */
static bool is_id(const char *id)
{
    size_t size = id ? strlen(id) : 0;
    if (size == 0 || size > 200 || id[0] == '.')
        return false;
    for (const char *at = id; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '/')
            return false;
    return true;
}

static void start(rh_frame *frame)
{
    rh_guard_start wanted = {.id = rh_frame_get_bytes(frame, NULL)};
    wanted.cwd = rh_frame_get_bytes(frame, NULL);
    wanted.input_path = rh_frame_get_bytes(frame, NULL);
    wanted.output_path = rh_frame_get_bytes(frame, NULL);
    wanted.log_path = rh_frame_get_bytes(frame, NULL);
    wanted.input = rh_frame_get_bytes(frame, &wanted.input_size);
    wanted.timeout = rh_frame_get(frame);
    wanted.grace = rh_frame_get(frame);
    wanted.capture = rh_frame_get(frame);
    wanted.service = rh_frame_get(frame) != 0;
    pid_t pid = (pid_t)rh_frame_get(frame);
    uint64_t start_time = (uint64_t)rh_frame_get(frame);
    wanted.argv = texts(frame);
    wanted.env = texts(frame);
    if (frame->bad || !is_id(wanted.id) || !wanted.argv[0] || wanted.capture < 2)
        rh_guard_send_error(frame->handle, RH_FAILURE_USAGE,
                            "the guardian was asked for no proper command");
    else if (rh_guard_ending)
        rh_guard_send_error(frame->handle, RH_FAILURE_IO, "the guardian is ending");
    else
        rh_guard_command_start(frame->handle, &wanted, pid, start_time);
    free(wanted.argv);
    free(wanted.env);
}

static void stop(rh_frame *frame)
{
    const char *id = rh_frame_get_bytes(frame, NULL);
    pid_t pid = (pid_t)rh_frame_get(frame);
    uint64_t start_time = (uint64_t)rh_frame_get(frame);
    int64_t grace = rh_frame_get(frame);
    if (frame->bad || !is_id(id))
        rh_guard_send_error(frame->handle, RH_FAILURE_USAGE,
                            "the guardian was asked to stop nothing");
    else
        rh_guard_command_stop(frame->handle, id, pid, start_time, grace);
}

static void act(rh_frame *frame)
{
    switch (frame->type) {
    case RH_FRAME_SECRETS:
        secrets(frame);
        break;
    case RH_FRAME_START:
        start(frame);
        break;
    case RH_FRAME_CANCEL:
        rh_guard_command_cancel(frame->handle);
        break;
    case RH_FRAME_STOP:
        stop(frame);
        break;
    case RH_FRAME_SHUTDOWN:
        rh_guard_end_all();
        break;
    default:
        frame->bad = true;
    }
}

static void hang_up(void)
{
    close(rh_guard_host);
    rh_guard_host = -1;
    rh_buffer_free(&incoming);
    rh_buffer_free(&outgoing);
    rh_guard_host_gone();
}

/* Acts on all whole frames; false: what came is no frame. Frames hold secrets: they are wiped at once. */
static bool act_on_all(void)
{
    size_t done = 0;
    rh_frame frame;
    int64_t size = 0;
    while ((size = rh_frame_read(incoming.data + done, incoming.size - done, &frame)) > 0) {
        act(&frame);
        done += (size_t)size;
        if (frame.bad)
            return false;
    }
    size_t rest = incoming.size - done;
    memmove(incoming.data, incoming.data + done, rest);
    explicit_bzero(incoming.data + rest, done);
    incoming.size = rest;
    if (rest == 0 && incoming.capacity > 2 * KEEP)
        rh_buffer_free(&incoming);
    return size == 0;
}

void rh_guard_receive(void)
{
    for (;;) {
        rh_buffer_reserve(&incoming, KEEP);
        size_t room = incoming.capacity - incoming.size - 1;
        ssize_t size = recv(rh_guard_host, incoming.data + incoming.size, room, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0) {
            hang_up();
            return;
        }
        incoming.size += (size_t)size;
        if (!act_on_all()) {
            hang_up();
            return;
        }
        if ((size_t)size < room)
            return;
    }
}

void rh_guard_accept(void)
{
    int fd = accept4(RH_GUARD_LISTENER, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
        (peer.uid != geteuid() && peer.uid != 0)) {
        close(fd);
        return;
    }
    rh_guard_host = fd;
    rh_guard_connection++;
    size_t mark = rh_frame_begin(&outgoing, RH_FRAME_HELLO, 0);
    rh_frame_put(&outgoing, RH_FRAME_PROTOCOL);
    rh_frame_put(&outgoing, getpid());
    finish_frame(mark);
}
