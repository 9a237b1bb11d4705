#include "guardian.h"

static void test_status_and_output(void **state)
{
    (void)state;
    host_begins();
    rh_command *command = sh("a", "echo out; echo err >&2; exit 3");
    assert_null(command->op.error.code);
    assert_int_equal(command->code, 3);
    assert_string_equal(text_of(&command->out), "out\n");
    assert_string_equal(text_of(&command->err), "err\n");
    assert_int_equal(command->out_total, 4);
    assert_true(command->pid > 1);
    assert_false(command->truncated || command->held || command->adopted || command->timed_out);
    assert_int_equal(rh_commands()->state("a"), RH_COMMAND_ENDED);
    assert_int_equal(rh_commands()->state("b"), RH_COMMAND_NEVER);
    release(command);
    command = sh("k", "kill -9 $$");
    assert_int_equal(command->code, -1);
    assert_int_equal(command->signal, SIGKILL);
    release(command);
    host_leaves();
}

static void test_many_at_once(void **state)
{
    (void)state;
    rh_command *commands[20];
    host_begins();
    for (int i = 0; i < 20; i++) {
        char *id = rh_format("c%d", i), *text = rh_format("echo %d", i);
        const rh_command_spec spec = {.id = id, .argv = SH(text)};
        commands[i] = launch(&spec);
        free(id);
        free(text);
    }
    settle_all();
    for (int i = 0; i < 20; i++) {
        char *out = rh_format("%d\n", i);
        expect_success(commands[i], out);
        free(out);
        release(commands[i]);
    }
    host_leaves();
}

static void expect_refusal(const rh_command_spec *spec, const char *code, const char *part)
{
    rh_command *command = execute(spec);
    expect_error(command, code, part);
    assert_int_equal(rh_commands()->state(spec->id), RH_COMMAND_NEVER);
    release(command);
}

static void test_what_cannot_start(void **state)
{
    (void)state;
    char *script = in_run("script"), *plain = in_run("plain"), *missing = in_run("missing");
    FILE *file = fopen(script, "w");
    fputs("#!/no/such/interpreter\n", file);
    fclose(file);
    chmod(script, 0755);
    file = fopen(plain, "w");
    fputs("echo plain $1\n", file);
    fclose(file);
    host_begins();
    const char *const env[] = {"PATH=/nowhere:/usr/bin", NULL};
    expect_refusal(
        &(rh_command_spec){.id = "a", .argv = ARGV("frobnicate"), .env = env}, "command_not_found",
        "\"frobnicate\" is not installed: it is in none of PATH's folders (/nowhere:/usr/bin)");
    expect_refusal(&(rh_command_spec){.id = "b", .argv = ARGV(missing)}, "command_not_found",
                   "is not there");
    expect_refusal(&(rh_command_spec){.id = "c", .argv = ARGV(plain)}, "command_not_found",
                   "not an executable file");
    expect_refusal(&(rh_command_spec){.id = "d", .argv = ARGV(run_dir)}, "command_not_found",
                   "not an executable file");
    expect_refusal(&(rh_command_spec){.id = "e", .argv = ARGV(script)}, "command_not_found",
                   "interpreter");
    expect_refusal(&(rh_command_spec){.id = "f", .argv = ARGV("true"), .cwd = missing}, "cwd",
                   missing);
    expect_refusal(&(rh_command_spec){.id = "g", .argv = ARGV("true"), .input_path = missing}, "io",
                   missing);
    expect_refusal(&(rh_command_spec){.id = "h", .argv = ARGV("true"), .output_path = plain}, "io",
                   "File exists");
    char *huge = rh_alloc(200 << 10);
    memset(huge, 'x', (200 << 10) - 1);
    expect_refusal(
        &(rh_command_spec){.id = "i", .argv = ARGV("true", huge), .output_path = missing}, "io",
        "Argument list too long");
    free(huge);
    assert_int_not_equal(access(missing, F_OK), 0);
    chmod(plain, 0755);
    rh_command *command = execute(&(rh_command_spec){.id = "j", .argv = ARGV(plain, "text")});
    expect_success(command, "plain text\n");
    release(command);
    rh_error error = {0};
    rh_op *op = rh_op_new(&command_class);
    assert_false(rh_commands()->start(
        (rh_command *)op, &(rh_command_spec){.id = "../x", .argv = ARGV("true")}, &error));
    assert_non_null(strstr(error.message, "../x"));
    rh_error_clear(&error);
    rh_op_discard(op);
    free(script);
    free(plain);
    free(missing);
    host_leaves();
}

static void test_input_and_output_files(void **state)
{
    (void)state;
    char *input = in_run("input"), *output = in_run("output");
    FILE *file = fopen(input, "w");
    fputs("from a file", file);
    fclose(file);
    host_begins();
    rh_command *command =
        execute(&(rh_command_spec){.id = "a", .argv = ARGV("cat"), .input_path = input});
    expect_success(command, "from a file");
    release(command);
    command = execute(
        &(rh_command_spec){.id = "b", .argv = ARGV("cat"), .input = "a\0b", .input_size = 3});
    assert_int_equal(command->out.size, 3);
    assert_memory_equal(command->out.data, "a\0b", 3);
    release(command);
    command = execute(&(rh_command_spec){.id = "c", .argv = ARGV("cat")});
    expect_success(command, "");
    release(command);
    const size_t size = 8 << 20;
    char *large = rh_alloc(size);
    memset(large, 'y', size);
    command = execute(&(rh_command_spec){
        .id = "d", .argv = ARGV("wc", "-c"), .input = large, .input_size = size});
    expect_success(command, "8388608\n");
    release(command);
    free(large);
    command = execute(&(rh_command_spec){
        .id = "e", .argv = SH("echo dump; echo note >&2"), .output_path = output, .cwd = "/"});
    expect_success(command, "");
    assert_string_equal(text_of(&command->err), "note\n");
    release(command);
    char *dumped = contents("output");
    assert_string_equal(dumped, "dump\n");
    struct stat about;
    assert_int_equal(stat(output, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    free(dumped);
    free(input);
    free(output);
    host_leaves();
}

static void test_environment_and_signals_are_clean(void **state)
{
    (void)state;
    host_begins();
    const char *const env[] = {"PATH=/usr/bin:/bin", "ONLY=this", NULL};
    rh_command *command = execute(&(rh_command_spec){.id = "a", .argv = ARGV("env"), .env = env});
    expect_success(command, "PATH=/usr/bin:/bin\nONLY=this\n");
    release(command);
    /* 32 and 33 are glibc's own, and posix_spawn leaves them ignored. */
    command = sh(
        "b",
        "grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/$$/fd/* | grep -vE '^(pipe|/dev/null)'; true");
    expect_success(command, "SigBlk:\t0000000000000000\nSigIgn:\t0000000180000000\n");
    release(command);
    host_leaves();
}

static void test_masking(void **state)
{
    (void)state;
    char *log = in_run("step.log");
    assert_true(rh_mask_add(rh_mask_process(), "TOKEN", "hunter22-secret", 15));
    host_begins();
    rh_command *command = execute(&(rh_command_spec){
        .id = "a",
        .argv = SH(
            "printf 'x hunter22-'; sleep 0.02; printf 'secret y\\n'; printf hunter22-secret | base64 >&2"),
        .log_path = log});
    expect_success(command, "x ‹secret TOKEN› y\n");
    assert_string_equal(text_of(&command->err), "‹secret TOKEN›\n");
    release(command);
    /* One that becomes known later is masked in later commands. */
    assert_true(rh_mask_add(rh_mask_process(), "LATER", "another-secret", 14));
    command = execute(&(rh_command_spec){
        .id = "b", .argv = SH("echo another-secret hunter22-secret"), .log_path = log});
    expect_success(command, "‹secret LATER› ‹secret TOKEN›\n");
    release(command);
    char *text = contents("step.log");
    assert_non_null(strstr(text, "x ‹secret TOKEN› y\n"));
    assert_non_null(strstr(text, "‹secret LATER› ‹secret TOKEN›\n"));
    free(text);
    char *search = rh_format(
        "grep -rqE 'hunter22|another-sec|aHVudGVyMjI' '%s' /proc/%d/environ /proc/%d/cmdline",
        run_dir, (int)guardian_pid(), (int)guardian_pid());
    assert_int_not_equal(system(search), 0);
    free(search);
    free(log);
    host_leaves();
}

static void test_masking_of_what_runs_already(void **state)
{
    (void)state;
    const bool at_once = true;
    host_begins();
    rh_command *command = launch(&(rh_command_spec){
        .id = "a",
        .argv = SH("while [ ! -e go ]; do sleep 0.01; done; echo grown-up-secret"),
        .cwd = run_dir});
    assert_true(rh_mask_add(rh_mask_process(), "GROWN", "grown-up-secret", 15));
    rh_loop_run(&at_once); /* the end of a turn */
    char *go = in_run("go");
    close(open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    free(go);
    settle_all();
    expect_success(command, "‹secret GROWN›\n");
    release(command);
    host_leaves();
}

static void test_large_output_is_bounded(void **state)
{
    (void)state;
    char *log = in_run("step.log");
    host_begins();
    rh_command *command = execute(&(rh_command_spec){
        .id = "a",
        .argv = SH("echo begin; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end"),
        .capture = 1001,
        .log_path = log});
    assert_null(command->op.error.code);
    assert_int_equal(command->code, 0);
    assert_true(command->truncated);
    assert_int_equal(command->out_total, 50000011);
    assert_true(command->out.size > 1000 && command->out.size < 1100);
    assert_memory_equal(command->out.data, "begin\nxxx", 9);
    assert_non_null(strstr(command->out.data, "xx\n[49999009 bytes are left out here]\nxx"));
    assert_string_equal(command->out.data + command->out.size - 8, "xxx\nend\n");
    release(command);
    struct stat about;
    assert_int_equal(stat(log, &about), 0);
    assert_int_equal(about.st_size, 50000011);
    char *status = rh_format("/proc/%d/status", (int)guardian_pid());
    FILE *file = fopen(status, "r");
    char line[200];
    long peak = 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            peak = strtol(line + 6, NULL, 10);
    fclose(file);
    free(status);
    free(log);
#ifdef __SANITIZE_ADDRESS__
    (void)peak; /* its shadow is not ours */
#else
    assert_in_range(peak, 1, 8 << 10);
#endif
    /* What is longer than a frame carries, and shorter than what is kept, comes whole. */
    command = sh("b", "seq 1 20000");
    assert_int_equal(command->out.size, 108894);
    assert_false(command->truncated);
    assert_string_equal(command->out.data + command->out.size - 12, "19999\n20000\n");
    release(command);
    host_leaves();
}

static void test_characters_at_the_gap_stay_whole(void **state)
{
    (void)state;
    host_begins();
    for (int shift = 0; shift < 3; shift++) {
        char *id = rh_format("s%d", shift);
        char *text =
            rh_format("printf '%.*s'; for i in $(seq 100); do printf '€'; done", shift, "ab");
        rh_command *command =
            execute(&(rh_command_spec){.id = id, .argv = SH(text), .capture = 64});
        assert_true(command->truncated);
        for (size_t i = (size_t)shift; i < command->out.size;) {
            if (command->out.data[i] == '\n')
                i = (size_t)(strchr(command->out.data + i + 1, '\n') - command->out.data) + 1;
            else {
                assert_memory_equal(command->out.data + i, "€", 3);
                i += 3;
            }
        }
        release(command);
        free(id);
        free(text);
    }
    host_leaves();
}

static void test_timeout_ends_the_whole_group(void **state)
{
    (void)state;
    host_begins();
    int64_t began = rh_mono_us();
    rh_command *command =
        execute(&(rh_command_spec){.id = "a",
                                   .argv = SH("echo $$; trap '' TERM; sleep 100 & sleep 100"),
                                   .timeout_ms = 100,
                                   .grace_ms = 200});
    assert_true(command->timed_out);
    assert_int_equal(command->signal, SIGKILL);
    assert_null(command->op.error.code);
    assert_in_range((rh_mono_us() - began) / 1000, 300, 20000); /* it would sleep for 100 s */
    pid_t group = (pid_t)strtol(command->out.data, NULL, 10);
    AWAIT(kill(-group, 0) < 0);
    release(command);
    /* The leader obeys, its child does not. */
    command = execute(&(rh_command_spec){.id = "b",
                                         .argv = SH("echo $$; (trap '' TERM; sleep 100) & wait"),
                                         .timeout_ms = 100,
                                         .grace_ms = 200});
    assert_true(command->timed_out);
    assert_int_equal(command->signal, SIGTERM);
    group = (pid_t)strtol(command->out.data, NULL, 10);
    AWAIT(kill(-group, 0) < 0);
    release(command);
    host_leaves();
}

/* What left the group and the session is found as well, */
static void test_timeout_reaches_another_session(void **state)
{
    (void)state;
    host_begins();
    rh_command *command = execute(&(rh_command_spec){
        .id = "a",
        .argv = SH("setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.01; done' & wait"),
        .timeout_ms = 100,
        .grace_ms = 200});
    assert_true(command->timed_out);
    pid_t escaped = (pid_t)strtol(command->out.data, NULL, 10);
    AWAIT(is_gone(escaped));
    release(command);
    host_leaves();
}

static bool is_enclosed(pid_t pid)
{
    char line[4096];
    char *path = rh_format("/proc/%d/cgroup", (int)pid);
    FILE *file = fopen(path, "r");
    free(path);
    bool found = false;
    while (file && fgets(line, sizeof line, file))
        found |= strstr(line, "/rollouthost-") != NULL;
    if (file)
        fclose(file);
    return found;
}

static bool may_enclose(void)
{
    return system("p=$(sed -n 's/^0:://p' /proc/self/cgroup); "
                  "m=$(awk '$3 == \"cgroup2\" { print $2; exit }' /proc/self/mounts); "
                  "[ -n \"$p\" ] && [ -n \"$m\" ] && mkdir \"$m$p/spec-$$\" 2>/dev/null && "
                  "rmdir \"$m$p/spec-$$\"") == 0;
}

/* and, where a cgroup can be made, a daemon that has no living parent to be found by. */
static void test_cancel_reaches_a_daemon(void **state)
{
    (void)state;
    if (!may_enclose()) {
        print_message("skipped: no cgroup can be made here\n");
        skip();
    }
    host_begins();
    rh_command *command = launch(&(rh_command_spec){
        .id = "a",
        .argv = SH("echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; "
                   "(setsid sh -c 'echo $$ > daemon; while :; do sleep 0.01; done' &); sleep 100"),
        .cwd = run_dir});
    AWAIT(has("pid", "\n"));
    char *text = contents("pid");
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    AWAIT(is_enclosed(pid));
    char *go = in_run("go");
    close(open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    free(go);
    AWAIT(has("daemon", "\n"));
    text = contents("daemon");
    pid_t daemon = (pid_t)strtol(text, NULL, 10);
    free(text);
    assert_true(is_enclosed(daemon));
    rh_op_cancel(&command->op);
    settle_all();
    expect_error(command, "cancelled", "cancelled");
    AWAIT(is_gone(daemon));
    release(command);
    host_leaves();
}

static void test_cancel(void **state)
{
    (void)state;
    host_begins();
    rh_command *command = launch(&(rh_command_spec){.id = "a", .argv = ARGV("sleep", "100")});
    rh_op_cancel(&command->op);
    settle_all();
    expect_error(command, "cancelled", "cancelled");
    assert_int_equal(command->signal, SIGTERM);
    release(command);
    host_leaves();
}

static void test_a_daemon_that_holds_the_pipe(void **state)
{
    (void)state;
    host_begins();
    int64_t began = rh_mono_us();
    rh_command *command = sh("a", "sleep 100 & echo $!");
    assert_null(command->op.error.code);
    assert_true(command->held);
    assert_in_range((rh_mono_us() - began) / 1000, 900, 20000);
    pid_t daemon = (pid_t)strtol(command->out.data, NULL, 10);
    assert_int_equal(kill(daemon, 0), 0); /* it was not ours to end */
    kill(daemon, SIGKILL);
    AWAIT(is_gone(daemon)); /* reaped by the guardian */
    release(command);
    host_leaves();
}

static void test_service(void **state)
{
    (void)state;
    host_begins();
    rh_command *command =
        execute(&(rh_command_spec){.id = "a",
                                   .argv = SH("trap 'exit 4' TERM; while :; do sleep 0.01; done"),
                                   .service = true});
    pid_t pid = (pid_t)command->pid;
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(rh_commands()->state("a"), RH_COMMAND_ALIVE);
    release(command);
    rh_command *end = (rh_command *)rh_op_new(&command_class);
    rh_op_retain(&end->op);
    /* The trap is set when the shell has read it: its first sleep is a sign of that. */
    char *children = rh_format("/proc/%d/task/%d/children", (int)pid, (int)pid);
    struct stat about;
    AWAIT(stat(children, &about) < 0 || ({
              FILE *file = fopen(children, "r");
              int byte = fgetc(file);
              fclose(file);
              byte != EOF;
          }));
    free(children);
    assert_true(rh_commands()->stop(end, "a", NULL));
    settle_all();
    assert_null(end->op.error.code);
    assert_int_equal(end->code, 4);
    assert_true(is_gone(pid));
    release(end);
    /* Stopping what has ended is no error; what still runs ends with the run. */
    end = (rh_command *)rh_op_new(&command_class);
    rh_op_retain(&end->op);
    assert_true(rh_commands()->stop(end, "a", NULL));
    settle_all();
    assert_true(end->op.done);
    assert_null(end->op.error.code);
    release(end);
    command = execute(&(rh_command_spec){.id = "b", .argv = ARGV("sleep", "100"), .service = true});
    pid = (pid_t)command->pid;
    release(command);
    host_leaves();
    assert_true(is_gone(pid));
}

static void test_long_run_folder(void **state)
{
    (void)state;
    size_t root = strlen(run_dir);
    for (int i = 0; i < 3; i++) {
        strcat(run_dir, "/a-folder-whose-name-is-longer-than-one-would-like-it-to-be");
        assert_int_equal(mkdir(run_dir, 0700), 0);
    }
    host_begins();
    rh_command *command = sh("a", "echo fine");
    expect_success(command, "fine\n");
    release(command);
    host_leaves();
    run_dir[root] = '\0';
}

static void test_no_guardian(void **state)
{
    (void)state;
    if (getenv("SPEC_SLOW") != NULL)
        skip(); /* valgrind's posix_spawn does not tell that exec failed */
    char *real = rh_strdup(getenv("ROLLOUTHOST_GUARDIAN"));
    rh_error error = {0};
    setenv("ROLLOUTHOST_GUARDIAN", "/no/such/guardian", 1);
    assert_false(rh_guardian_start(run_dir, &error));
    assert_non_null(strstr(error.message, "/no/such/guardian"));
    rh_error_clear(&error);
    setenv("ROLLOUTHOST_GUARDIAN", real, 1);
    free(real);
    host_leaves();
}

int main(void)
{
#define SPEC(name) cmocka_unit_test_setup_teardown(name, begin_run, remove_run)
    const struct CMUnitTest tests[] = {
        SPEC(test_status_and_output),
        SPEC(test_many_at_once),
        SPEC(test_what_cannot_start),
        SPEC(test_input_and_output_files),
        SPEC(test_environment_and_signals_are_clean),
        SPEC(test_masking),
        SPEC(test_masking_of_what_runs_already),
        SPEC(test_large_output_is_bounded),
        SPEC(test_characters_at_the_gap_stay_whole),
        SPEC(test_timeout_ends_the_whole_group),
        SPEC(test_timeout_reaches_another_session),
        SPEC(test_cancel_reaches_a_daemon),
        SPEC(test_cancel),
        SPEC(test_a_daemon_that_holds_the_pipe),
        SPEC(test_service),
        SPEC(test_long_run_folder),
        SPEC(test_no_guardian),
    };
    find_guardian();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
