#include "guard/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

rh_guarded *rh_guard_commands;
bool rh_guard_ending;

static rh_guarded *new_command(uint32_t handle, const char *id)
{
    rh_guarded *command = rh_alloc(sizeof *command);
    command->id = rh_strdup(id);
    command->handle = handle;
    command->connection = rh_guard_connection;
    command->pidfd = command->log = -1;
    command->out.fd = command->err.fd = command->out.spool = command->err.spool = -1;
    command->started = rh_guard_now_us();
    command->grace = RH_GUARD_GRACE;
    return command;
}

static void free_command(rh_guarded *command)
{
    rh_guard_output_free(&command->out);
    rh_guard_output_free(&command->err);
    if (command->pidfd >= 0)
        close(command->pidfd);
    if (command->log >= 0)
        close(command->log);
    rh_guard_family_free(command);
    free(command->log_path);
    free(command->id);
    free(command);
}

static void forget(rh_guarded *command)
{
    rh_guarded **at = &rh_guard_commands;
    while (*at != command)
        at = &(*at)->next;
    *at = command->next;
    free_command(command);
}

static void remember(rh_guarded *command)
{
    command->next = rh_guard_commands;
    rh_guard_commands = command;
}

rh_guarded *rh_guard_find(const char *id)
{
    for (rh_guarded *command = rh_guard_commands; command; command = command->next)
        if (strcmp(command->id, id) == 0)
            return command;
    return NULL;
}

static bool is_ours(const rh_guarded *command)
{
    return rh_guard_host >= 0 && command->connection == rh_guard_connection;
}

bool rh_guard_any_alive(void)
{
    for (const rh_guarded *command = rh_guard_commands; command; command = command->next)
        if (!command->ended)
            return true;
    return false;
}

/* A process that an earlier guardian started: it can be watched and ended, its exit status is not ours. */
static rh_guarded *take_over(uint32_t handle, const char *id, pid_t pid, uint64_t start_time)
{
    int pidfd = pid > 1 ? pidfd_open(pid, 0) : -1;
    if (pidfd < 0)
        return NULL;
    if (rh_guard_start_time(pid) != start_time) {
        close(pidfd);
        return NULL;
    }
    rh_guarded *command = new_command(handle, id);
    command->pid = pid;
    command->pidfd = pidfd;
    command->flags = RH_EXIT_ADOPTED;
    remember(command);
    return command;
}

static void attach(rh_guarded *command, uint32_t handle)
{
    if (is_ours(command) && !command->ended) {
        rh_guard_send_error(handle, RH_FAILURE_USAGE, "a command with this id is running already");
        return;
    }
    command->handle = handle;
    command->connection = rh_guard_connection;
    command->flags |= RH_EXIT_ADOPTED;
    if (command->service || !command->ended)
        rh_guard_send_started(command);
    if (!command->ended)
        return;
    rh_guard_send_exited(command, handle);
    if (!command->service)
        forget(command);
}

void rh_guard_command_start(uint32_t handle, const rh_guard_start *start, pid_t pid,
                            uint64_t start_time)
{
    rh_guarded *command = rh_guard_find(start->id);
    if (command && command->ended && start->service) { /* to be running is what is asked for */
        forget(command);
        command = NULL;
    }
    if (command) {
        attach(command, handle);
        return;
    }
    if (pid) {
        command = take_over(handle, start->id, pid, start_time);
        if (!command) {
            rh_guard_send_error(handle, RH_FAILURE_LOST, "it ended, and nobody saw how");
            return;
        }
        command->service = start->service;
        rh_guard_send_started(command);
        return;
    }
    rh_buffer error = {0};
    command = new_command(handle, start->id);
    command->service = start->service;
    command->log_path = start->log_path ? rh_strdup(start->log_path) : NULL;
    command->out.capture = command->err.capture = (size_t)start->capture;
    if (start->grace > 0)
        command->grace = start->grace;
    if (start->timeout > 0)
        command->deadline = rh_guard_now() + start->timeout;
    rh_frame_failure failure = rh_guard_spawn(command, start, &error);
    if (failure) {
        rh_guard_send_error(handle, failure, error.data);
        free_command(command);
    } else {
        remember(command);
        command->enclose_at = rh_guard_now() + RH_GUARD_ENCLOSE;
        if (command->service)
            rh_guard_send_started(command);
    }
    rh_buffer_free(&error);
}

static void terminate(rh_guarded *command, unsigned why)
{
    if (command->kill_at || command->ended)
        return;
    command->flags |= why;
    command->kill_at = rh_guard_now() + command->grace;
    rh_guard_family_signal(command, SIGTERM);
    rh_guard_family_signal(command, SIGCONT); /* one that is stopped could not act on it */
}

void rh_guard_command_cancel(uint32_t handle)
{
    for (rh_guarded *command = rh_guard_commands; command; command = command->next)
        if (command->handle == handle && is_ours(command))
            terminate(command, RH_EXIT_CANCELLED);
}

void rh_guard_command_stop(uint32_t handle, const char *id, pid_t pid, uint64_t start_time,
                           int64_t grace)
{
    rh_guarded *command = rh_guard_find(id);
    if (command && command->ended) {
        rh_guard_send_exited(command, handle);
        forget(command);
        return;
    }
    if (!command)
        command = take_over(0, id, pid, start_time);
    if (!command) {
        rh_guard_send_error(handle, RH_FAILURE_UNKNOWN, "no such command is running");
        return;
    }
    command->stopper = handle;
    if (grace > 0)
        command->grace = grace;
    terminate(command, 0);
}

void rh_guard_end_all(void)
{
    rh_guard_ending = true;
    for (rh_guarded *command = rh_guard_commands; command; command = command->next)
        terminate(command, RH_EXIT_CANCELLED);
}

void rh_guard_host_gone(void)
{
    for (rh_guarded *command = rh_guard_commands; command; command = command->next) {
        command->connection = 0;
        command->handle = command->stopper = 0;
    }
}

void rh_guard_reap(void)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (rh_guarded *command = rh_guard_commands; command; command = command->next)
            if (command->pid == pid && !command->exited && command->pidfd < 0) {
                command->exited = true;
                command->status = status;
                command->ms = (rh_guard_now_us() - command->started) / 1000;
                command->drain_until = rh_guard_now() + RH_GUARD_DRAIN;
            }
}

static void show_live(rh_guarded *command)
{
    command->live_at = 0;
    for (int stream = 1; stream <= 2; stream++) {
        rh_output *output = stream == 1 ? &command->out : &command->err;
        if (output->live.size && is_ours(command) && !rh_guard_is_crowded()) {
            rh_guard_send_output(command, stream, &output->live);
            command->shown = true;
        }
        rh_buffer_clear(&output->live);
    }
}

static void finish(rh_guarded *command)
{
    bool waited_for = is_ours(command) && command->handle;
    if (command->pidfd < 0) {
        rh_guard_output_end(command);
        rh_guard_ledger_exit(command);
    }
    command->ended = true;
    if (command->shown || !rh_guard_output_is_short(command))
        show_live(command); /* else the host shows what EXITED carries */
    if (command->stopper)
        rh_guard_send_exited(command, command->stopper);
    if (waited_for && command->pidfd >= 0)
        rh_guard_send_error(
            command->handle, RH_FAILURE_LOST,
            "it ended, and its guardian, the only one to learn how, had been killed");
    else if (waited_for && !command->service)
        rh_guard_send_exited(command, command->handle);
    if (command->stopper || (waited_for && !command->service)) {
        forget(command);
        return;
    }
    /* Somebody may still ask: a STOP of a service, or the next host, which saw it alive in the ledger. */
    rh_guard_family_free(command);
    if (command->log >= 0)
        close(command->log);
    command->log = -1;
}

/* Acts on what is due for one command; it may be gone afterwards. Returns when it is due again, or 0. */
static int64_t tick(rh_guarded *command, int64_t now)
{
    if (command->live_at && command->live_at <= now)
        show_live(command);
    if (!command->exited && !command->kill_at && command->deadline && command->deadline <= now)
        terminate(command, RH_EXIT_TIMED_OUT);
    if (command->kill_at && !command->killed && command->kill_at <= now) {
        rh_guard_family_signal(command, SIGKILL);
        command->killed = true;
    }
    if (command->enclose_at && command->enclose_at <= now) {
        command->enclose_at = 0;
        if (!command->exited)
            rh_guard_family_enclose(command);
    }
    int64_t next = command->live_at;
    if (command->enclose_at && (!next || command->enclose_at < next))
        next = command->enclose_at;
    int64_t due = !command->kill_at ? (command->exited ? 0 : command->deadline)
                                    : (command->killed ? 0 : command->kill_at);
    if (due && (!next || due < next))
        next = due;
    if (!command->exited)
        return next;
    bool open = command->out.fd >= 0 || command->err.fd >= 0;
    bool family = command->kill_at && !command->killed && rh_guard_family_alive(command);
    if (!family && (!open || command->drain_until <= now)) {
        finish(command);
        return 0;
    }
    due = family ? now + 10 : command->drain_until;
    return !next || due < next ? due : next;
}

int rh_guard_tick(void)
{
    int64_t now = rh_guard_now(), next = 0;
    for (rh_guarded *command = rh_guard_commands, *following; command; command = following) {
        following = command->next;
        if (command->ended)
            continue;
        int64_t due = tick(command, now);
        if (due && (!next || due < next))
            next = due;
    }
    if (!rh_guard_ledger_flush() && (!next || next > now + 1000))
        next = now + 1000;
    return !next ? -1 : next <= now ? 0 : (int)(next - now);
}
