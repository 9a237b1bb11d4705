#include "run/guardian_link.h"

#include "core/event.h"
#include "core/frame.h"
#include "core/json.h"
#include "core/loop.h"
#include "run/guardian_process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEEP = 64 << 10 };

rh_guardian_link rh_link = {.dir = -1, .spool = -1, .fd = -1};

static void on_event(uv_poll_t *poll, int status, int events);

/* ── flights ──────────────────────────────────────────────────────────────────────────────────── */

rh_flight *rh_flight_begin(rh_command *command, const char *id)
{
    rh_flight *flight = rh_alloc(sizeof *flight);
    flight->command = command;
    flight->handle = ++rh_link.handles;
    flight->id = rh_strdup(id);
    flight->next = rh_link.flights;
    rh_link.flights = flight;
    command->impl = flight;
    if (rh_link.poll)
        uv_ref((uv_handle_t *)rh_link.poll);
    return flight;
}

/* The answer is there: the command's op is done, unless its start failed at once. */
static void land(rh_flight *flight, bool done)
{
    rh_flight **at = &rh_link.flights;
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    if (!rh_link.flights && rh_link.poll)
        uv_unref((uv_handle_t *)rh_link.poll);
    rh_command *command = flight->command;
    command->impl = NULL;
    free(flight->id);
    free(flight);
    if (done)
        rh_op_done(&command->op);
}

static rh_flight *find_flight(uint32_t handle)
{
    rh_flight *flight = rh_link.flights;
    while (flight && flight->handle != handle)
        flight = flight->next;
    return flight;
}

/* ── the connection ───────────────────────────────────────────────────────────────────────────── */

static void free_handle(uv_handle_t *handle) { free(handle); }

static void close_connection(void)
{
    if (rh_link.poll) {
        uv_close((uv_handle_t *)rh_link.poll, free_handle);
        rh_link.poll = NULL;
    }
    if (rh_link.fd >= 0)
        close(rh_link.fd);
    rh_link.fd = -1;
    rh_link.pid = 0;
    rh_link.secrets = 0;
    rh_buffer_free(&rh_link.in);
    rh_buffer_free(&rh_link.out);
}

void rh_link_close(void)
{
    int64_t pid = rh_link.pid;
    close_connection();
    if (pid > 0)
        waitpid((pid_t)pid, NULL, WNOHANG);
    while (rh_link.flights) {
        rh_flight *flight = rh_link.flights;
        rh_fail(
            &flight->command->op.error, "guardian_lost",
            "the guardian (pid %lld), which ran this command, is gone: how the command ended, or whether it "
            "has, is not known",
            (long long)pid);
        land(flight, true);
    }
}

static void watch(void)
{
    int events = UV_READABLE | (rh_link.out.size ? UV_WRITABLE : 0);
    uv_poll_start(rh_link.poll, events, on_event);
}

/* False: the connection is gone. */
static bool send_queued(void)
{
    while (rh_link.out.size) {
        ssize_t sent =
            send(rh_link.fd, rh_link.out.data, rh_link.out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        memmove(rh_link.out.data, rh_link.out.data + sent, rh_link.out.size - (size_t)sent);
        rh_link.out.size -= (size_t)sent;
        explicit_bzero(rh_link.out.data + rh_link.out.size, (size_t)sent);
    }
    if (rh_link.out.capacity > KEEP)
        rh_buffer_free(&rh_link.out);
    return true;
}

void rh_link_send(size_t begin)
{
    if (begin > 0)
        return; /* it waits behind earlier frames */
    if (!send_queued())
        rh_buffer_clear(&rh_link.out);
    if (rh_link.out.size)
        watch();
}

bool rh_link_open(rh_error *error)
{
    rh_link.fd = rh_guardian_connect(rh_link.dir, rh_link.run_dir, &rh_link.pid, error);
    if (rh_link.fd < 0)
        return false;
    free(rh_link.seen);
    rh_link.seen = rh_ledger_ids(rh_link.spool, &rh_link.seen_count);
    rh_link.poll = rh_alloc(sizeof *rh_link.poll);
    uv_poll_init(rh_loop(), rh_link.poll, rh_link.fd);
    uv_unref((uv_handle_t *)rh_link.poll);
    watch();
    return true;
}

/* ── answers ──────────────────────────────────────────────────────────────────────────────────── */

static void show(rh_flight *flight, int stream, const char *text, size_t size)
{
    if (!size || flight->quiet)
        return;
    rh_buffer payload = {0};
    rh_buffer_addf(&payload, "{\"stream\":\"%s\",\"text\":", stream == 1 ? "out" : "err");
    rh_json_quote(&payload, text, size);
    rh_buffer_adds(&payload, "}");
    rh_event_say("output", flight->id, payload.data);
    rh_buffer_free(&payload);
}

void rh_flight_end(rh_command *command, const char *id, const rh_ledger_entry *end, int failure,
                   bool whole)
{
    rh_error *error = &command->op.error;
    command->code = end->code;
    command->signal = end->signal;
    command->pid = end->pid;
    command->ms = end->ms;
    command->out_total = end->out_raw;
    command->err_total = end->err_raw;
    command->truncated = end->out > end->capture || end->err > end->capture;
    command->timed_out = end->flags & RH_EXIT_TIMED_OUT;
    command->held = end->flags & RH_EXIT_HELD;
    command->adopted = end->flags & RH_EXIT_ADOPTED;
    if (end->flags & RH_EXIT_CANCELLED)
        rh_fail(error, "cancelled", "the command was cancelled");
    if (end->flags & RH_EXIT_OUTPUT_LOST) {
        rh_fail(error, "output_lost",
                "the command ended with %s %d, but its output could not be kept: %s",
                end->signal ? "signal" : "status", end->signal ? end->signal : end->code,
                failure ? strerror(failure) : "its spool file or log could not be written");
        return;
    }
    if (!whole && !rh_spool_read(rh_link.spool, id, end, &command->out, &command->err))
        rh_fail(error, "output_lost",
                "the command ended with %s %d, but its output cannot be read from %s/spool/%s",
                end->signal ? "signal" : "status", end->signal ? end->signal : end->code,
                rh_link.run_dir, id);
}

static void on_exited(rh_flight *flight, rh_frame *frame)
{
    rh_command *command = flight->command;
    rh_ledger_entry end = {.flags = (unsigned)rh_frame_get(frame), .shared = -1};
    int status = (int)rh_frame_get(frame);
    size_t size;
    end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end.pid = rh_frame_get(frame);
    end.ms = rh_frame_get(frame);
    int failure = (int)rh_frame_get(frame);
    end.out_raw = (uint64_t)rh_frame_get(frame);
    end.err_raw = (uint64_t)rh_frame_get(frame);
    end.out = (uint64_t)rh_frame_get(frame);
    end.err = (uint64_t)rh_frame_get(frame);
    end.capture = (size_t)rh_frame_get(frame);
    bool whole = end.flags & RH_EXIT_SHORT;
    for (int stream = 1; stream <= 2; stream++) {
        const char *text = rh_frame_get_bytes(frame, &size);
        if (!whole || !text)
            continue;
        rh_buffer_add(stream == 1 ? &command->out : &command->err, text, size);
        if (!flight->shown)
            show(flight, stream, text, size);
    }
    if (flight->stopping) /* it was ended on request: that is no failure of the stopping */
        end.flags &= ~(unsigned)RH_EXIT_CANCELLED;
    rh_flight_end(command, flight->id, &end, failure, whole);
    land(flight, true);
}

static void on_error(rh_flight *flight, rh_frame *frame)
{
    static const char *const codes[] = {
        [RH_FAILURE_USAGE] = "guardian",   [RH_FAILURE_NOT_FOUND] = "command_not_found",
        [RH_FAILURE_CWD] = "cwd",          [RH_FAILURE_IO] = "io",
        [RH_FAILURE_UNKNOWN] = "guardian", [RH_FAILURE_LOST] = "guardian_lost",
    };
    int64_t what = rh_frame_get(frame);
    const char *message = rh_frame_get_bytes(frame, NULL);
    bool known = what > 0 && what < (int64_t)(sizeof codes / sizeof *codes);
    /* A service that is gone already is what its stopping wants. */
    if (!(flight->stopping && (what == RH_FAILURE_UNKNOWN || what == RH_FAILURE_LOST)))
        rh_fail(&flight->command->op.error, known ? codes[what] : "guardian", "%s",
                message ? message : "the guardian refused");
    land(flight, true);
}

static void on_frame(rh_frame *frame)
{
    rh_flight *flight = find_flight(frame->handle);
    if (frame->type == RH_FRAME_HELLO || !flight)
        return;
    size_t size;
    int stream;
    const char *text;
    switch (frame->type) {
    case RH_FRAME_STARTED:
        flight->command->pid = rh_frame_get(frame);
        flight->command->adopted = rh_frame_get(frame) & RH_EXIT_ADOPTED;
        if (flight->service)
            land(flight, true);
        break;
    case RH_FRAME_OUTPUT:
        stream = (int)rh_frame_get(frame);
        text = rh_frame_get_bytes(frame, &size);
        show(flight, stream, text, size);
        flight->shown = true;
        break;
    case RH_FRAME_EXITED:
        on_exited(flight, frame);
        break;
    case RH_FRAME_ERROR:
        on_error(flight, frame);
        break;
    default:
        break;
    }
}

/* False: the connection has ended. */
static bool receive(void)
{
    for (;;) {
        rh_buffer_reserve(&rh_link.in, KEEP);
        size_t room = rh_link.in.capacity - rh_link.in.size - 1;
        ssize_t size = recv(rh_link.fd, rh_link.in.data + rh_link.in.size, room, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (size <= 0)
            return false;
        rh_link.in.size += (size_t)size;
        size_t done = 0;
        int64_t length;
        rh_frame frame;
        while ((length = rh_frame_read(rh_link.in.data + done, rh_link.in.size - done, &frame)) >
               0) {
            on_frame(&frame);
            done += (size_t)length;
        }
        if (length < 0)
            return false;
        memmove(rh_link.in.data, rh_link.in.data + done, rh_link.in.size - done);
        rh_link.in.size -= done;
        if ((size_t)size < room)
            return true;
    }
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    if (status < 0 || ((events & UV_READABLE) && !receive())) {
        rh_link_close();
        return;
    }
    if (events & UV_WRITABLE) {
        if (!send_queued())
            rh_buffer_clear(&rh_link.out);
        watch();
    }
}
