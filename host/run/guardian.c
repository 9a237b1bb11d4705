#include "run/guardian.h"

#include "core/command.h"
#include "core/frame.h"
#include "core/loop.h"
#include "core/mask.h"
#include "run/guardian_link.h"
#include "run/guardian_process.h"
#include "run/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CAPTURE = 1 << 20,
    INPUT_LIMIT = 64 << 20,
    WORDS_LIMIT = 8 << 20, /* the kernel takes a quarter of it */
    END_TIMEOUT = 60,      /* s */
};

extern char **environ;

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
    rh_frame_put_text(&rh_link.out, name);
    rh_frame_put_text(&rh_link.out, user);
    rh_frame_put_bytes(&rh_link.out, value, size);
}

static void hand_secrets(void)
{
    struct handing handing = {.skip = rh_link.secrets};
    if (rh_mask_generation(rh_mask_process()) == rh_link.secrets)
        return;
    rh_mask_each(rh_mask_process(), count_secret, &handing);
    size_t mark = rh_frame_begin(&rh_link.out, RH_FRAME_SECRETS, 0);
    rh_frame_put(&rh_link.out, (int64_t)(handing.count - handing.skip));
    rh_mask_each(rh_mask_process(), hand_secret, &handing);
    rh_frame_end(&rh_link.out, mark);
    rh_link.secrets = handing.count;
}

/* A secret that became known is masked in what already runs, too. */
static bool hand_over_at_turn_end(void *data)
{
    (void)data;
    size_t begin = rh_link.out.size;
    if (rh_link.fd >= 0)
        hand_secrets();
    if (rh_link.out.size > begin)
        rh_link_send(begin);
    return false;
}

static bool is_connected(rh_error *error)
{
    if (rh_link.dir < 0)
        return rh_fail(error, "guardian", "no run has begun");
    return rh_link.fd >= 0 || rh_link_open(error);
}

static void put_list(const char *const *list)
{
    size_t count = 0;
    while (list[count])
        count++;
    rh_frame_put(&rh_link.out, (int64_t)count);
    for (size_t i = 0; i < count; i++)
        rh_frame_put_text(&rh_link.out, list[i]);
}

/* Relative paths start where the host was started; the guardian may have been started elsewhere. */
static void put_path(const char *path)
{
    if (!path || *path == '/') {
        rh_frame_put_text(&rh_link.out, path);
        return;
    }
    char *whole = rh_format("%s/%s", rh_link.cwd, path);
    rh_frame_put_text(&rh_link.out, whole);
    free(whole);
}

static size_t size_of(const char *const *list)
{
    size_t size = 0;
    for (; list && *list; list++)
        size += strlen(*list) + 1;
    return size;
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
    if (size_of(spec->argv) + size_of(spec->env) > WORDS_LIMIT)
        return rh_fail(error, "usage",
                       "%s: its arguments and variables are larger than the system takes: use "
                       "stdin, or a file",
                       spec->argv[0]);
    return true;
}

static void send_start(const rh_flight *flight, const rh_command_spec *spec,
                       const rh_ledger_entry *old)
{
    rh_buffer *out = &rh_link.out;
    size_t begin = out->size;
    hand_secrets();
    size_t mark = rh_frame_begin(out, RH_FRAME_START, flight->handle);
    rh_frame_put_text(out, spec->id);
    put_path(spec->cwd ? spec->cwd : rh_link.cwd);
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
    rh_link_send(begin);
}

static bool start(rh_command *command, const rh_command_spec *spec, rh_error *error)
{
    if (!check(spec, error) || !is_connected(error))
        return false;
    rh_ledger_entry old = {.state = RH_COMMAND_NEVER};
    if (rh_ledger_has(rh_link.seen, rh_link.seen_count, spec->id))
        old = rh_ledger_look(rh_link.spool, spec->id, rh_link.pid);
    if (old.state == RH_COMMAND_ENDED && !spec->service) {
        old.flags |= RH_EXIT_ADOPTED;
        rh_flight_end(command, spec->id, &old, 0, false);
        rh_op_done(&command->op);
        return true;
    }
    rh_flight *flight = rh_flight_begin(command, spec->id);
    flight->service = spec->service;
    flight->quiet = !spec->log_path;
    send_start(flight, spec, &old);
    return true;
}

static void cancel(rh_op *op)
{
    const rh_flight *flight = ((rh_command *)op)->impl;
    if (!flight || rh_link.fd < 0)
        return;
    size_t begin = rh_link.out.size;
    rh_frame_end(&rh_link.out, rh_frame_begin(&rh_link.out, RH_FRAME_CANCEL, flight->handle));
    rh_link_send(begin);
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
    rh_ledger_entry old = rh_ledger_look(rh_link.spool, id, rh_link.pid);
    if (old.state != RH_COMMAND_ALIVE) {
        if (old.state == RH_COMMAND_ENDED)
            rh_flight_end(command, id, &old, 0, false);
        rh_op_done(&command->op);
        return true;
    }
    rh_flight *flight = rh_flight_begin(command, id);
    flight->stopping = true;
    size_t mark = rh_frame_begin(&rh_link.out, RH_FRAME_STOP, flight->handle);
    rh_frame_put_text(&rh_link.out, id);
    rh_frame_put(&rh_link.out, old.ours ? 0 : old.pid);
    rh_frame_put(&rh_link.out, old.ours ? 0 : (int64_t)old.start_time);
    rh_frame_put(&rh_link.out, 0);
    rh_frame_end(&rh_link.out, mark);
    rh_link_send(mark);
    return true;
}

static rh_command_state state(const char *id)
{
    if (rh_link.spool < 0)
        return RH_COMMAND_NEVER;
    return rh_ledger_look(rh_link.spool, id, rh_link.pid).state;
}

/* ── the turn of this host ────────────────────────────────────────────────────────────────────── */

static bool begin(const char *run_dir, rh_error *error)
{
    static const rh_command_provider provider = {start, cancel, fini, stop, state};
    rh_link.dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rh_link.dir < 0)
        return rh_fail_errno(error, errno, "cannot open the run's folder %s", run_dir);
    rh_link.run_dir = rh_strdup(run_dir);
    rh_link.cwd = getcwd(NULL, 0);
    if (!rh_link.cwd)
        return rh_fail_errno(error, errno, "the working directory is gone");
    if ((mkdirat(rh_link.dir, "spool", 0700) < 0 && errno != EEXIST) ||
        (rh_link.spool = openat(rh_link.dir, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return rh_fail_errno(error, errno, "cannot open %s/spool", run_dir);
    rh_commands_provide(&provider);
    rh_loop_at_turn_end(hand_over_at_turn_end, NULL);
    return rh_link_open(error);
}

bool rh_guardian_start(const char *run_dir, rh_error *error)
{
    bool ok = begin(run_dir, error);
    if (!ok)
        rh_guardian_leave(false);
    return ok;
}

/* The provider stays: results that Lua has yet to collect are freed through it. */
void rh_guardian_leave(bool end_commands)
{
    if (rh_link.fd >= 0 && end_commands) {
        rh_frame_end(&rh_link.out, rh_frame_begin(&rh_link.out, RH_FRAME_SHUTDOWN, 0));
        if (rh_guardian_await_end(rh_link.fd, &rh_link.out, END_TIMEOUT))
            waitpid((pid_t)rh_link.pid, NULL, 0);
    }
    rh_link_close();
    if (rh_link.dir >= 0)
        close(rh_link.dir);
    if (rh_link.spool >= 0)
        close(rh_link.spool);
    free(rh_link.run_dir);
    free(rh_link.cwd);
    free(rh_link.seen);
    rh_link.dir = rh_link.spool = -1;
    rh_link.run_dir = rh_link.cwd = NULL;
    rh_link.seen = NULL;
    rh_link.seen_count = 0;
}
