/* A command through host and guardian against the least that can be done: posix_spawn and capture. Both are
 * measured in turns, so that the machine's mood is the same for both. */
#include "core/command.h"
#include "run/guardian.h"
#include "spec/bench/bench.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TURNS = 20, COMMANDS = 50 };

extern char **environ;

static void fini(rh_op *op) { rh_commands()->fini(op); }
static const rh_op_class class = {.name = "bench", .size = sizeof(rh_command), .fini = fini};

static void through_guardian(char *const *argv)
{
    static int number;
    char id[32];
    const bool never = false;
    snprintf(id, sizeof id, "c%d", number++);
    rh_command *command = (rh_command *)rh_op_new(&class);
    rh_op_retain(&command->op);
    check(rh_commands()->start(
              command, &(rh_command_spec){.id = id, .argv = (const char *const *)argv}, NULL),
          "start");
    rh_loop_run(&never);
    check(command->op.done && !command->op.error.code && command->code == 0, "end");
    rh_op_release(&command->op);
}

static void directly(char *const *argv)
{
    int out[2], err[2], status;
    pid_t pid;
    char chunk[4096];
    posix_spawn_file_actions_t actions;
    check(pipe(out) == 0 && pipe(err) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    for (int i = 0; i < 2; i++) {
        posix_spawn_file_actions_addclose(&actions, out[i]);
        posix_spawn_file_actions_addclose(&actions, err[i]);
    }
    check(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0, "posix_spawnp");
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    while (read(out[0], chunk, sizeof chunk) > 0)
        continue;
    while (read(err[0], chunk, sizeof chunk) > 0)
        continue;
    close(out[0]);
    close(err[0]);
    check(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
}

static double measure(void (*run)(char *const *), char *const *argv)
{
    int64_t began = rh_mono_us();
    for (int i = 0; i < COMMANDS; i++)
        run(argv);
    return (double)(rh_mono_us() - began) / COMMANDS;
}

/* The benches are in a folder beside it. */
static void find_guardian(const char *self)
{
    const char *slash = strrchr(self, '/');
    char *path =
        rh_format("%.*s../rollouthost-guardian", slash ? (int)(slash - self + 1) : 0, self);
    setenv("ROLLOUTHOST_GUARDIAN", path, 0);
    free(path);
}

int main(int argc, char **argv)
{
    char plain[] = "/bin/true", *standard[] = {plain, NULL},
         folder[] = "/tmp/rollouthost-bench-XXXXXX";
    char *const *command = argc > 1 ? argv + 1 : standard;
    double guarded[TURNS], direct[TURNS];
    rh_error error = {0};
    find_guardian(argv[0]);
    check(mkdtemp(folder) && rh_guardian_start(folder, &error),
          error.message ? error.message : "mkdtemp");
    for (int turn = 0; turn < TURNS; turn++) {
        direct[turn] = measure(directly, command);
        guarded[turn] = measure(through_guardian, command);
    }
    rh_guardian_leave(true);
    row("a command, no journal (floor: posix_spawn)", median(guarded, TURNS), median(direct, TURNS),
        "µs", 0);
    char *remove = rh_format("rm -rf '%s'", folder);
    const int status = system(remove);
    free(remove);
    return status != 0;
}
