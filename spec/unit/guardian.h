/* A host in small for the guardian's specs: a run folder, a loop, commands that are started and awaited. */
#ifndef RH_SPEC_GUARDIAN_H
#define RH_SPEC_GUARDIAN_H

#include "core/command.h"
#include "core/loop.h"
#include "core/mask.h"
#include "run/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char run_dir[PATH_MAX];

static inline void find_guardian(void)
{
    char self[PATH_MAX], path[PATH_MAX + 32];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(size > 0);
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(path, sizeof path, "%s/../rollouthost-guardian", self);
    assert_int_equal(setenv("ROLLOUTHOST_GUARDIAN", path, 0), 0);
}

static inline int begin_run(void **state)
{
    (void)state;
    snprintf(run_dir, sizeof run_dir, "%s/rollouthost-spec-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(run_dir) ? 0 : -1;
}

static inline void host_begins(void)
{
    rh_error error = {0};
    if (!rh_guardian_start(run_dir, &error))
        fail_msg("%s", error.message);
}

/* Every spec ends with this: nothing may be left open. */
static inline void host_leaves(void)
{
    rh_guardian_leave(true);
    assert_int_equal(rh_loop_close(), 0);
}

static inline void finish_command(rh_op *op) { rh_commands()->fini(op); }
static inline void cancel_command(rh_op *op) { rh_commands()->cancel(op); }
static const rh_op_class command_class = {.name = "spec.command",
                                          .size = sizeof(rh_command),
                                          .cancel = cancel_command,
                                          .fini = finish_command};

/* Starts it; the caller owns the op until release(). */
static inline rh_command *launch(const rh_command_spec *spec)
{
    rh_error error = {0};
    rh_command *command = (rh_command *)rh_op_new(&command_class);
    rh_op_retain(&command->op);
    if (!rh_commands()->start(command, spec, &error))
        fail_msg("%s", error.message);
    return command;
}

static inline void release(rh_command *command) { rh_op_release(&command->op); }

/* Runs the loop until everything in flight has landed. */
static inline void settle_all(void)
{
    const bool never = false;
    rh_loop_run(&never);
}

static inline rh_command *execute(const rh_command_spec *spec)
{
    rh_command *command = launch(spec);
    settle_all();
    assert_true(command->op.done);
    return command;
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SH(text) ARGV("sh", "-c", text)

static inline rh_command *sh(const char *id, const char *text)
{
    const rh_command_spec spec = {.id = id, .argv = SH(text)};
    return execute(&spec);
}

static inline const char *text_of(const rh_buffer *buffer)
{
    return buffer->data ? buffer->data : "";
}

static inline void expect_success(const rh_command *command, const char *out)
{
    if (command->op.error.code)
        fail_msg("%s: %s", command->op.error.code, command->op.error.message);
    assert_int_equal(command->signal, 0);
    assert_int_equal(command->code, 0);
    assert_string_equal(text_of(&command->out), out);
}

static inline void expect_error(const rh_command *command, const char *code, const char *part)
{
    if (!command->op.error.code)
        fail_msg("no error, but status %d", command->code);
    assert_string_equal(command->op.error.code, code);
    if (!strstr(command->op.error.message, part))
        fail_msg("\"%s\" does not say \"%s\"", command->op.error.message, part);
}

static inline char *in_run(const char *name) { return rh_format("%s/%s", run_dir, name); }

/* A file of the run's folder, whole; NULL if it is not there. free() it. */
static inline char *contents(const char *name)
{
    char *path = in_run(name);
    FILE *file = fopen(path, "r");
    free(path);
    if (!file)
        return NULL;
    rh_buffer text = {0};
    char chunk[4096];
    for (size_t size; (size = fread(chunk, 1, sizeof chunk, file)) > 0;)
        rh_buffer_add(&text, chunk, size);
    fclose(file);
    return rh_buffer_take(&text);
}

static inline bool has(const char *name, const char *part)
{
    char *text = contents(name);
    bool found = text && strstr(text, part);
    free(text);
    return found;
}

static inline int remove_run(void **state)
{
    (void)state;
    if (rh_commands()) { /* a spec that failed half-way */
        rh_guardian_leave(true);
        rh_loop_close();
    }
    char *complaints = contents("spool/stderr"); /* a sanitizer's, too */
    bool quiet = !complaints || !*complaints;
    if (!quiet)
        print_error("%s", complaints);
    free(complaints);
    char *command = rh_format("rm -rf '%s'", run_dir);
    int status = system(command);
    free(command);
    return quiet ? status : -1;
}

static inline long ledger_number(const char *before)
{
    char *ledger = contents("spool/ledger");
    assert_non_null(ledger);
    const char *at = NULL;
    for (const char *next = ledger; (next = strstr(next, before)); next++)
        at = next + strlen(before);
    assert_non_null(at);
    long number = strtol(at, NULL, 10);
    free(ledger);
    return number;
}

static inline pid_t guardian_pid(void) { return (pid_t)ledger_number("guardian "); }

/* Waits for a condition that another process brings about; there is nothing to be woken by. */
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        int64_t until_ = rh_mono_us() + 10000000;                                                  \
        while (!(condition)) {                                                                     \
            if (rh_mono_us() > until_)                                                             \
                fail_msg("never: %s", #condition);                                                 \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

/* A zombie is gone: in a container nobody may reap it. */
static inline bool is_gone(pid_t pid)
{
    char *path = rh_format("/proc/%d/stat", (int)pid), state = 'Z';
    FILE *file = fopen(path, "r");
    free(path);
    if (!file)
        return true;
    int read = fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return read != 1 || state == 'Z';
}

/* Another process that begins as the host and dies without a word once `fn` returns. */
static inline void host_dies_after(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        rh_error error = {0};
        if (!rh_guardian_start(run_dir, &error))
            _exit(9);
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#endif
