/* What is true after the host, the guardian, both, or the machine went away. */
#include "guardian.h"

#include "core/frame.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Commands wait for the file "go" in the run's folder: a spec decides when they end. */
#define UNTIL_GO "while [ ! -e \"$GO\" ]; do sleep 0.01; done; "

static void set_go(void)
{
    char *go = in_run("go");
    setenv("GO", go, 1);
    free(go);
}

static void say_go(void) { close(open(getenv("GO"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); }

static void start_slow(void)
{
    launch(
        &(rh_command_spec){.id = "slow",
                           .argv = SH("echo early; echo $$ >> pids; " UNTIL_GO "echo late; exit 5"),
                           .cwd = run_dir});
}

static void see_slow_run(void) { AWAIT(has("pids", "\n") && has("spool/ledger", "pid slow ")); }

static void start_slow_and_see_it_run(void)
{
    start_slow();
    see_slow_run();
}

static pid_t slow_pid(void)
{
    char *pids = contents("pids");
    assert_non_null(pids);
    pid_t pid = (pid_t)strtol(pids, NULL, 10);
    assert_string_equal(strchr(pids, '\n'), "\n"); /* it ran once */
    free(pids);
    return pid;
}

static const rh_command_spec again = {.id = "slow", .argv = SH("echo it ran twice; exit 1")};

static void expect_slow(const rh_command *command)
{
    assert_null(command->op.error.code);
    assert_int_equal(command->code, 5);
    assert_string_equal(text_of(&command->out), "early\nlate\n");
    assert_true(command->adopted);
}

static void test_alive_is_attached(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ALIVE);
    assert_int_equal(rh_commands()->state("other"), RH_COMMAND_NEVER);
    rh_command *command = launch(&again);
    say_go();
    settle_all();
    expect_slow(command);
    slow_pid();
    release(command);
    host_leaves();
}

static void test_ended_is_adopted(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    say_go();
    AWAIT(is_gone(guardian_pid())); /* nobody is left to serve */
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ENDED);
    rh_command *command = execute(&again);
    expect_slow(command);
    release(command);
    command = sh("new", "echo new");
    expect_success(command, "new\n");
    assert_false(command->adopted);
    release(command);
    host_leaves();
}

/* It ends between the new host's look and its question. */
static void test_ended_after_the_new_host_looked(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ALIVE);
    say_go();
    AWAIT(rh_commands()->state("slow") == RH_COMMAND_ENDED);
    rh_command *command = execute(&again);
    expect_slow(command);
    release(command);
    host_leaves();
}

static void start_with_a_deadline(void)
{
    launch(&(rh_command_spec){.id = "slow", .argv = ARGV("sleep", "100"), .timeout_ms = 200});
    AWAIT(has("spool/ledger", "pid slow "));
}

static void test_deadline_without_a_host(void **state)
{
    (void)state;
    host_dies_after(start_with_a_deadline);
    AWAIT(is_gone(guardian_pid()));
    host_begins();
    rh_command *command = execute(&again);
    assert_true(command->timed_out);
    assert_true(command->adopted);
    assert_int_equal(command->signal, SIGTERM);
    release(command);
    host_leaves();
}

/* The host dies as soon as it has sent its request: the next one must not hear "never". */
static void test_request_in_the_socket_of_a_dead_host(void **state)
{
    (void)state;
    set_go();
    say_go();
    host_dies_after(start_slow);
    host_begins();
    rh_command_state seen = rh_commands()->state("slow");
    assert_true(seen == RH_COMMAND_ALIVE || seen == RH_COMMAND_ENDED);
    rh_command *command = execute(&again);
    expect_slow(command);
    slow_pid();
    release(command);
    host_leaves();
}

static void start_and_await_failure(void)
{
    launch(&(rh_command_spec){.id = "slow", .argv = ARGV("frobnicate")});
    settle_all();
}

static void test_what_could_not_start_never_started(void **state)
{
    (void)state;
    host_dies_after(start_and_await_failure);
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_NEVER);
    host_leaves();
}

static void test_cancel_of_an_attached_command(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    host_begins();
    rh_command *command = launch(&again);
    rh_op_cancel(&command->op);
    settle_all();
    expect_error(command, "cancelled", "cancelled");
    release(command);
    host_leaves();
}

static void kill_guardian(void)
{
    pid_t pid = guardian_pid();
    kill(pid, SIGKILL);
    AWAIT(waitpid(pid, NULL, WNOHANG) == pid || is_gone(pid));
}

static void test_guardian_killed(void **state)
{
    (void)state;
    set_go();
    host_begins();
    rh_command *command = launch(
        &(rh_command_spec){.id = "slow", .argv = SH("echo $$ >> pids; " UNTIL_GO), .cwd = run_dir});
    see_slow_run();
    kill(guardian_pid(), SIGKILL);
    settle_all();
    expect_error(command, "guardian_lost", "not known");
    release(command);
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ALIVE);
    /* The next command has a guardian of its own. */
    command = sh("next", "echo next");
    expect_success(command, "next\n");
    release(command);
    /* What is still alive is awaited, not started a second time; its status nobody knows. */
    command = launch(&again);
    say_go();
    settle_all();
    expect_error(command, "guardian_lost", "the only one to learn how");
    assert_true(is_gone(slow_pid()));
    release(command);
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_LOST);
    host_leaves();
}

static void test_orphan_is_cancelled(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    kill_guardian();
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ALIVE);
    pid_t pid = slow_pid();
    rh_command *command = launch(&again);
    rh_op_cancel(&command->op);
    settle_all();
    assert_non_null(command->op.error.code);
    AWAIT(is_gone(pid));
    release(command);
    host_leaves();
}

static void test_orphan_is_stopped(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    kill_guardian();
    host_begins();
    pid_t pid = slow_pid();
    rh_command *end = (rh_command *)rh_op_new(&command_class);
    rh_op_retain(&end->op);
    assert_true(rh_commands()->stop(end, "slow", NULL));
    settle_all();
    assert_null(end->op.error.code);
    AWAIT(is_gone(pid));
    release(end);
    host_leaves();
}

static void test_both_killed_and_the_command_ended(void **state)
{
    (void)state;
    set_go();
    host_dies_after(start_slow_and_see_it_run);
    kill_guardian();
    pid_t pid = slow_pid();
    kill(pid, SIGKILL);
    AWAIT(is_gone(pid));
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_LOST);
    assert_int_equal(rh_commands()->state("other"), RH_COMMAND_NEVER);
    /* Whoever decided to run it again may. */
    rh_command *command = execute(&again);
    assert_string_equal(text_of(&command->out), "it ran twice\n");
    assert_false(command->adopted);
    release(command);
    host_leaves();
}

static void write_boot_id(const char *id)
{
    char *path = in_run("boot_id");
    FILE *file = fopen(path, "w");
    fprintf(file, "%s\n", id);
    fclose(file);
    setenv("ROLLOUTHOST_BOOT_ID_FILE", path, 1);
    free(path);
}

static void test_reboot(void **state)
{
    (void)state;
    set_go();
    write_boot_id("first");
    host_dies_after(start_slow_and_see_it_run);
    kill_guardian();
    write_boot_id("second");
    /* The same pid and start time are another process's now; and a line may not have reached the disk. */
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_LOST);
    assert_int_equal(rh_commands()->state("other"), RH_COMMAND_LOST);
    rh_command *command = sh("new", "exit 0");
    expect_success(command, "");
    assert_int_equal(rh_commands()->state("new"), RH_COMMAND_ENDED);
    release(command);
    host_leaves();
    unsetenv("ROLLOUTHOST_BOOT_ID_FILE");
    kill(slow_pid(), SIGKILL);
}

static void test_a_cut_line_in_the_ledger(void **state)
{
    (void)state;
    char *spool = in_run("spool"), *path = in_run("spool/ledger");
    assert_int_equal(mkdir(spool, 0700), 0);
    FILE *file = fopen(path, "w");
    fputs("guardian 1 -\nstart done\npid done 1 1\nexit done 7 0 0 1 0 0 0 0 1024 -1\nstart cu",
          file);
    fclose(file);
    host_begins();
    assert_int_equal(rh_commands()->state("done"), RH_COMMAND_ENDED);
    rh_command *command = execute(&(rh_command_spec){.id = "done", .argv = ARGV("true")});
    assert_int_equal(command->code, 7);
    release(command);
    command = execute(&(rh_command_spec){.id = "cu", .argv = ARGV("true")});
    expect_success(command, "");
    assert_int_equal(rh_commands()->state("cu"), RH_COMMAND_ENDED);
    release(command);
    free(spool);
    free(path);
    host_leaves();
}

static void test_full_disk(void **state)
{
    (void)state;
    const struct rlimit limit = {32 << 10, RLIM_INFINITY};
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &limit); /* the guardian inherits it: a file that cannot grow */
    host_begins();
    setrlimit(RLIMIT_FSIZE, &before);
    rh_command *command = sh("a", "seq 1 10000; exit 3");
    expect_error(command, "output_lost",
                 "status 3, but its output could not be kept: File too large");
    release(command);
    command = sh("b", "echo small");
    expect_success(command, "small\n");
    release(command);
    host_leaves();
}

/* The log's folder is not there: the output is not lost in silence. */
static void test_log_cannot_be_written(void **state)
{
    (void)state;
    char *log = in_run("missing/step.log");
    host_begins();
    rh_command *command =
        execute(&(rh_command_spec){.id = "a", .argv = SH("echo x"), .log_path = log});
    expect_error(command, "output_lost", "No such file or directory");
    release(command);
    free(log);
    host_leaves();
}

static void test_nonsense_on_the_socket(void **state)
{
    (void)state;
    host_dies_after(start_slow_and_see_it_run);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.80s/guardian.sock", run_dir);
    static const char huge[] = "\xff\xff\xff\x7f\x02\x00\x00\x00\x01\x00\x00\x00";
    rh_buffer wrong = {0};
    rh_frame_end(&wrong, rh_frame_begin(&wrong, 99, 1));
    size_t mark = rh_frame_begin(&wrong, RH_FRAME_START, 2); /* its fields are missing */
    rh_frame_put_text(&wrong, "id");
    rh_frame_end(&wrong, mark);
    for (int i = 0; i < 3; i++) {
        char bytes[256];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        if (i == 0)
            assert_true(send(fd, huge, sizeof huge - 1, MSG_NOSIGNAL) > 0);
        else if (i == 1)
            assert_true(send(fd, wrong.data, wrong.size, MSG_NOSIGNAL) > 0);
        else
            assert_true(send(fd, wrong.data + 12, wrong.size - 12, MSG_NOSIGNAL) > 0);
        while (recv(fd, bytes, sizeof bytes, 0) > 0)
            continue; /* it hangs up */
        close(fd);
    }
    rh_buffer_free(&wrong);
    host_begins();
    assert_int_equal(rh_commands()->state("slow"), RH_COMMAND_ALIVE);
    rh_command *command = sh("a", "echo still there");
    expect_success(command, "still there\n");
    release(command);
    host_leaves();
}

static void test_guardian_told_to_end(void **state)
{
    (void)state;
    set_go();
    host_begins();
    rh_command *command =
        launch(&(rh_command_spec){.id = "slow", .argv = SH(UNTIL_GO), .grace_ms = 100});
    AWAIT(rh_commands()->state("slow") == RH_COMMAND_ALIVE);
    kill(guardian_pid(), SIGTERM);
    settle_all();
    expect_error(command, "cancelled", "cancelled");
    release(command);
    host_leaves();
}

int main(void)
{
#define SPEC(name) cmocka_unit_test_setup_teardown(name, begin_run, remove_run)
    const struct CMUnitTest tests[] = {
        SPEC(test_alive_is_attached),
        SPEC(test_ended_is_adopted),
        SPEC(test_ended_after_the_new_host_looked),
        SPEC(test_request_in_the_socket_of_a_dead_host),
        SPEC(test_deadline_without_a_host),
        SPEC(test_what_could_not_start_never_started),
        SPEC(test_cancel_of_an_attached_command),
        SPEC(test_guardian_killed),
        SPEC(test_orphan_is_cancelled),
        SPEC(test_orphan_is_stopped),
        SPEC(test_both_killed_and_the_command_ended),
        SPEC(test_reboot),
        SPEC(test_a_cut_line_in_the_ledger),
        SPEC(test_full_disk),
        SPEC(test_log_cannot_be_written),
        SPEC(test_nonsense_on_the_socket),
        SPEC(test_guardian_told_to_end),
    };
    find_guardian();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
