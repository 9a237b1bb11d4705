#include "run/guardian.h"

#include "core/command.h"
#include "core/event.h"
#include "core/frame.h"
#include "core/json.h"
#include "core/loop.h"
#include "core/mask.h"
#include "run/guardian_process.h"
#include "run/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CAPTURE = 1 << 20,
    INPUT_LIMIT = 64 << 20,
    KEEP = 64 << 10,
    END_TIMEOUT = 60, /* s */
};

/* A command, or the stopping of one, that the guardian owes an answer. */
struct flight {
    struct flight *next;
    rh_command *command;
    uint32_t handle;
    char *id;
    bool service, stopping;
    bool shown; /* some of its output came for display */
};

static struct {
    char *run_dir, *cwd;
    int dir, spool; /* RUN and RUN/spool */
    int fd;         /* the connection, or -1 */
    int64_t pid;
    uv_poll_t *poll;
    rh_buffer in, out;
    size_t secrets; /* how many of the mask's it has */
    uint32_t handles;
    struct flight *flights;
    uint64_t *seen; /* ids that were started before this connection, as sorted hashes */
    size_t seen_count;
} guardian = {.dir = -1, .spool = -1, .fd = -1};

extern char **environ;

static void on_event(uv_poll_t *poll, int status, int events);

/* ── flights ──────────────────────────────────────────────────────────────────────────────────── */

static struct flight *take_off(rh_command *command, const char *id)
{
    struct flight *flight = rh_alloc(sizeof *flight);
    flight->command = command;
    flight->handle = ++guardian.handles;
    flight->id = rh_strdup(id);
    flight->next = guardian.flights;
    guardian.flights = flight;
    command->impl = flight;
    if (guardian.poll)
        uv_ref((uv_handle_t *)guardian.poll);
    return flight;
}

/* The answer is there: the command's op is done, unless its start failed at once. */
static void land(struct flight *flight, bool done)
{
    struct flight **at = &guardian.flights;
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    if (!guardian.flights && guardian.poll)
        uv_unref((uv_handle_t *)guardian.poll);
    rh_command *command = flight->command;
    command->impl = NULL;
    free(flight->id);
    free(flight);
    if (done)
        rh_op_done(&command->op);
}

static struct flight *find_flight(uint32_t handle)
{
    struct flight *flight = guardian.flights;
    while (flight && flight->handle != handle)
        flight = flight->next;
    return flight;
}

/* ── the connection ───────────────────────────────────────────────────────────────────────────── */

static void free_handle(uv_handle_t *handle) { free(handle); }

static void close_connection(void)
{
    if (guardian.poll) {
        uv_close((uv_handle_t *)guardian.poll, free_handle);
        guardian.poll = NULL;
    }
    if (guardian.fd >= 0)
        close(guardian.fd);
    guardian.fd = -1;
    guardian.pid = 0;
    guardian.secrets = 0;
    rh_buffer_free(&guardian.in);
    rh_buffer_free(&guardian.out);
}

static void lost(void)
{
    int64_t pid = guardian.pid;
    close_connection();
    if (pid > 0)
        waitpid((pid_t)pid, NULL, WNOHANG);
    while (guardian.flights) {
        struct flight *flight = guardian.flights;
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
    int events = UV_READABLE | (guardian.out.size ? UV_WRITABLE : 0);
    uv_poll_start(guardian.poll, events, on_event);
}

/* False: the connection is gone. */
static bool send_queued(void)
{
    while (guardian.out.size) {
        ssize_t sent =
            send(guardian.fd, guardian.out.data, guardian.out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        memmove(guardian.out.data, guardian.out.data + sent, guardian.out.size - (size_t)sent);
        guardian.out.size -= (size_t)sent;
        explicit_bzero(guardian.out.data + guardian.out.size, (size_t)sent);
    }
    if (guardian.out.capacity > KEEP)
        rh_buffer_free(&guardian.out);
    return true;
}

/* Sends what was put behind `begin`. What cannot go now goes when the guardian reads; that the connection is
 * broken shows when it is read. */
static void send_from(size_t begin)
{
    if (begin > 0)
        return; /* it waits behind earlier frames */
    if (!send_queued())
        rh_buffer_clear(&guardian.out);
    if (guardian.out.size)
        watch();
}

static bool connect_to_guardian(rh_error *error)
{
    guardian.fd = rh_guardian_connect(guardian.dir, guardian.run_dir, &guardian.pid, error);
    if (guardian.fd < 0)
        return false;
    free(guardian.seen);
    guardian.seen = rh_ledger_ids(guardian.spool, &guardian.seen_count);
    guardian.poll = rh_alloc(sizeof *guardian.poll);
    uv_poll_init(rh_loop(), guardian.poll, guardian.fd);
    uv_unref((uv_handle_t *)guardian.poll);
    watch();
    return true;
}

/* ── answers ──────────────────────────────────────────────────────────────────────────────────── */

static void show(struct flight *flight, int stream, const char *text, size_t size)
{
    if (!size)
        return;
    rh_buffer payload = {0};
    rh_buffer_addf(&payload, "{\"stream\":\"%s\",\"text\":", stream == 1 ? "out" : "err");
    rh_json_quote(&payload, text, size);
    rh_buffer_adds(&payload, "}");
    rh_event_say("output", flight->id, payload.data);
    rh_buffer_free(&payload);
}

/* What a command's end means; output is there, or is read from the spool. */
static void fill(rh_command *command, const char *id, const rh_ledger_entry *end, int failure,
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
    if (!whole &&
        (!rh_spool_read(guardian.spool, id, "out", end->out, end->capture, &command->out) ||
         !rh_spool_read(guardian.spool, id, "err", end->err, end->capture, &command->err)))
        rh_fail(error, "output_lost",
                "the command ended with %s %d, but its output cannot be read from %s/spool/%s",
                end->signal ? "signal" : "status", end->signal ? end->signal : end->code,
                guardian.run_dir, id);
}

static void on_exited(struct flight *flight, rh_frame *frame)
{
    rh_command *command = flight->command;
    rh_ledger_entry end = {.flags = (unsigned)rh_frame_get(frame)};
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
    fill(command, flight->id, &end, failure, whole);
    land(flight, true);
}

static void on_error(struct flight *flight, rh_frame *frame)
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
    struct flight *flight = find_flight(frame->handle);
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
        rh_buffer_reserve(&guardian.in, KEEP);
        size_t room = guardian.in.capacity - guardian.in.size - 1;
        ssize_t size = recv(guardian.fd, guardian.in.data + guardian.in.size, room, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (size <= 0)
            return false;
        guardian.in.size += (size_t)size;
        size_t done = 0;
        int64_t length;
        rh_frame frame;
        while ((length = rh_frame_read(guardian.in.data + done, guardian.in.size - done, &frame)) >
               0) {
            on_frame(&frame);
            done += (size_t)length;
        }
        if (length < 0)
            return false;
        memmove(guardian.in.data, guardian.in.data + done, guardian.in.size - done);
        guardian.in.size -= done;
        if ((size_t)size < room)
            return true;
    }
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    if (status < 0 || ((events & UV_READABLE) && !receive())) {
        lost();
        return;
    }
    if (events & UV_WRITABLE) {
        if (!send_queued())
            rh_buffer_clear(&guardian.out);
        watch();
    }
}

/* ── requests ─────────────────────────────────────────────────────────────────────────────────── */

struct handing {
    size_t skip, at, count;
};

static void count_secret(void *data, const char *name, const char *user, const char *value,
                         size_t size)
{
    struct handing *handing = data;
    (void)name, (void)user, (void)value, (void)size;
    handing->count++;
}

static void hand_secret(void *data, const char *name, const char *user, const char *value,
                        size_t size)
{
    struct handing *handing = data;
    if (handing->at++ < handing->skip)
        return;
    rh_frame_put_text(&guardian.out, name);
    rh_frame_put_text(&guardian.out, user);
    rh_frame_put_bytes(&guardian.out, value, size);
}

static void hand_secrets(void)
{
    struct handing handing = {.skip = guardian.secrets};
    if (rh_mask_generation(rh_mask_process()) == guardian.secrets)
        return;
    rh_mask_each(rh_mask_process(), count_secret, &handing);
    size_t mark = rh_frame_begin(&guardian.out, RH_FRAME_SECRETS, 0);
    rh_frame_put(&guardian.out, (int64_t)(handing.count - handing.skip));
    rh_mask_each(rh_mask_process(), hand_secret, &handing);
    rh_frame_end(&guardian.out, mark);
    guardian.secrets = handing.count;
}

static bool is_connected(rh_error *error)
{
    if (guardian.dir < 0)
        return rh_fail(error, "guardian", "no run has begun");
    return guardian.fd >= 0 || connect_to_guardian(error);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool was_started(const char *id)
{
    uint64_t hash = rh_ledger_hash(id, strlen(id));
    return guardian.seen_count &&
           bsearch(&hash, guardian.seen, guardian.seen_count, sizeof hash, compare);
}

static void put_list(const char *const *list)
{
    size_t count = 0;
    while (list[count])
        count++;
    rh_frame_put(&guardian.out, (int64_t)count);
    for (size_t i = 0; i < count; i++)
        rh_frame_put_text(&guardian.out, list[i]);
}

/* Relative paths start where the host was started; the guardian may have been started elsewhere. */
static void put_path(const char *path)
{
    if (!path || *path == '/') {
        rh_frame_put_text(&guardian.out, path);
        return;
    }
    char *whole = rh_format("%s/%s", guardian.cwd, path);
    rh_frame_put_text(&guardian.out, whole);
    free(whole);
}

static bool check(const rh_command_spec *spec, rh_error *error)
{
    if (!spec->id || !*spec->id || *spec->id == '.' || strlen(spec->id) > 200 ||
        strpbrk(spec->id, "/ \n\t"))
        return rh_fail(error, "guardian", "\"%s\" cannot be a command's id",
                       spec->id ? spec->id : "");
    if (!spec->argv || !spec->argv[0] || !*spec->argv[0])
        return rh_fail(error, "usage", "a command needs a program");
    if (spec->input && spec->input_size > INPUT_LIMIT)
        return rh_fail(error, "usage",
                       "%zu bytes of standard input are more than the %d MiB that go without a "
                       "file (input_path)",
                       spec->input_size, INPUT_LIMIT >> 20);
    return true;
}

static void send_start(const struct flight *flight, const rh_command_spec *spec,
                       const rh_ledger_entry *old)
{
    rh_buffer *out = &guardian.out;
    size_t begin = out->size;
    hand_secrets();
    size_t mark = rh_frame_begin(out, RH_FRAME_START, flight->handle);
    rh_frame_put_text(out, spec->id);
    put_path(spec->cwd ? spec->cwd : guardian.cwd);
    put_path(spec->input_path);
    put_path(spec->output_path);
    put_path(spec->log_path);
    rh_frame_put_bytes(out, spec->input, spec->input_size);
    rh_frame_put(out, spec->timeout_ms);
    rh_frame_put(out, spec->grace_ms);
    rh_frame_put(out, (int64_t)(spec->capture ? spec->capture + spec->capture % 2 : CAPTURE));
    rh_frame_put(out, spec->service);
    bool orphan = old->state == RH_COMMAND_ALIVE && !old->ours;
    rh_frame_put(out, orphan ? old->pid : 0);
    rh_frame_put(out, orphan ? (int64_t)old->start_time : 0);
    put_list(spec->argv);
    put_list(spec->env ? spec->env : (const char *const *)environ);
    rh_frame_end(out, mark);
    send_from(begin);
}

static bool start(rh_command *command, const rh_command_spec *spec, rh_error *error)
{
    if (!check(spec, error) || !is_connected(error))
        return false;
    rh_ledger_entry old = {.state = RH_COMMAND_NEVER};
    if (was_started(spec->id))
        old = rh_ledger_look(guardian.spool, spec->id, guardian.pid);
    if (old.state == RH_COMMAND_ENDED && !spec->service) {
        old.flags |= RH_EXIT_ADOPTED;
        fill(command, spec->id, &old, 0, false);
        rh_op_done(&command->op);
        return true;
    }
    struct flight *flight = take_off(command, spec->id);
    flight->service = spec->service;
    send_start(flight, spec, &old);
    return true;
}

static void cancel(rh_op *op)
{
    const struct flight *flight = ((rh_command *)op)->impl;
    if (!flight || guardian.fd < 0)
        return;
    size_t begin = guardian.out.size;
    rh_frame_end(&guardian.out, rh_frame_begin(&guardian.out, RH_FRAME_CANCEL, flight->handle));
    send_from(begin);
}

static void fini(rh_op *op)
{
    rh_command *command = (rh_command *)op;
    rh_buffer_free(&command->out);
    rh_buffer_free(&command->err);
}

static bool stop(rh_command *command, const char *id, rh_error *error)
{
    if (!is_connected(error))
        return false;
    rh_ledger_entry old = rh_ledger_look(guardian.spool, id, guardian.pid);
    if (old.state != RH_COMMAND_ALIVE) {
        if (old.state == RH_COMMAND_ENDED)
            fill(command, id, &old, 0, false);
        rh_op_done(&command->op);
        return true;
    }
    struct flight *flight = take_off(command, id);
    flight->stopping = true;
    size_t mark = rh_frame_begin(&guardian.out, RH_FRAME_STOP, flight->handle);
    rh_frame_put_text(&guardian.out, id);
    rh_frame_put(&guardian.out, old.ours ? 0 : old.pid);
    rh_frame_put(&guardian.out, old.ours ? 0 : (int64_t)old.start_time);
    rh_frame_put(&guardian.out, 0);
    rh_frame_end(&guardian.out, mark);
    send_from(mark);
    return true;
}

static rh_command_state state(const char *id)
{
    if (guardian.spool < 0)
        return RH_COMMAND_NEVER;
    return rh_ledger_look(guardian.spool, id, guardian.pid).state;
}

/* ── the turn of this host ────────────────────────────────────────────────────────────────────── */

bool rh_guardian_start(const char *run_dir, rh_error *error)
{
    static const rh_command_provider provider = {start, cancel, fini, stop, state};
    guardian.dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guardian.dir < 0)
        return rh_fail_errno(error, errno, "cannot open the run's folder %s", run_dir);
    guardian.run_dir = rh_strdup(run_dir);
    guardian.cwd = getcwd(NULL, 0);
    if (!guardian.cwd)
        return rh_fail_errno(error, errno, "the working directory is gone");
    if ((mkdirat(guardian.dir, "spool", 0700) < 0 && errno != EEXIST) ||
        (guardian.spool = openat(guardian.dir, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return rh_fail_errno(error, errno, "cannot open %s/spool", run_dir);
    rh_commands_provide(&provider);
    return connect_to_guardian(error);
}

void rh_guardian_leave(bool end_commands)
{
    if (guardian.fd >= 0 && end_commands) {
        rh_frame_end(&guardian.out, rh_frame_begin(&guardian.out, RH_FRAME_SHUTDOWN, 0));
        if (rh_guardian_await_end(guardian.fd, &guardian.out, END_TIMEOUT))
            waitpid((pid_t)guardian.pid, NULL, 0);
    }
    lost();
    rh_commands_provide(NULL);
    if (guardian.dir >= 0)
        close(guardian.dir);
    if (guardian.spool >= 0)
        close(guardian.spool);
    free(guardian.run_dir);
    free(guardian.cwd);
    free(guardian.seen);
    guardian.dir = guardian.spool = -1;
    guardian.run_dir = guardian.cwd = NULL;
    guardian.seen = NULL;
    guardian.seen_count = 0;
}
