#include "core/buffer.h"
#include "run/lock.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

/* A state folder with its room for locks. */
static int make_state(void **state)
{
    if (folder_make(state) != 0)
        return -1;
    char *locks = rh_format("%s/locks", (char *)*state);
    int status = mkdir(locks, 0700);
    free(locks);
    return status;
}

/* A process that holds the environment until it is killed; returns once it does. */
static pid_t holder(const char *state, const char *run)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        rh_lock *lock = rh_lock_environment(state, "shop", "production", run, NULL);
        if (write(ends[1], lock ? "y" : "n", 1) == 1)
            pause();
        _exit(0);
    }
    char answer = 0;
    assert_int_equal(read(ends[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void assert_locked(const char *state, const char *environment, const char *run,
                          const char *const *words)
{
    rh_error error = {0};
    assert_null(rh_lock_environment(state, "shop", environment, run, &error));
    assert_string_equal(error.code, "locked");
    for (; *words; words++)
        if (!strstr(error.message, *words))
            fail_msg("\"%s\" is not in: %s", *words, error.message);
    rh_error_clear(&error);
}

static rh_lock *assert_free(const char *state, const char *environment, const char *run)
{
    rh_error error = {0};
    rh_lock *lock = rh_lock_environment(state, "shop", environment, run, &error);
    if (!lock)
        fail_msg("%s", error.message);
    return lock;
}

static void a_second_run_is_refused_and_told_why(void **state)
{
    pid_t child = holder(*state, "run-1");
    char *pid = rh_format("pid %d", (int)child);
    assert_locked(*state, "production", "run-2",
                  (const char *const[]){"production of shop", "run-1", pid, "since 20",
                                        "rollouthost pause run-1", NULL});
    rh_lock_release(assert_free(*state, "staging", "run-2"));
    free(pid);
    end(child);
}

static void the_kernel_frees_it_when_the_holder_is_killed(void **state)
{
    end(holder(*state, "run-1"));
    rh_lock_release(assert_free(*state, "production", "run-2"));
}

static void within_a_process_it_is_held_too(void **state)
{
    rh_lock *lock = assert_free(*state, "production", "run-1");
    assert_locked(*state, "production", "run-2", (const char *const[]){"run-1", NULL});
    rh_lock_release(lock);
    rh_lock_release(assert_free(*state, "production", "run-2"));
}

static void a_command_does_not_inherit_it(void **state)
{
    rh_lock *lock = assert_free(*state, "production", "run-1");
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[0], 0);
        close(ends[1]);
        execlp("cat", "cat", (char *)NULL); /* lives until the pipe is closed */
        _exit(127);
    }
    close(ends[0]);
    char *program = rh_format("/proc/%d/comm", (int)child);
    for (char name[16] = ""; strncmp(name, "cat", 3) != 0;) { /* until it has replaced the fork */
        int fd = open(program, O_RDONLY);
        assert_true(fd >= 0 && read(fd, name, sizeof name) > 0);
        close(fd);
    }
    rh_lock_release(lock);
    rh_lock_release(assert_free(*state, "production", "run-2"));
    close(ends[1]);
    waitpid(child, NULL, 0);
    free(program);
}

static void a_record_keeps_others_out_and_its_own_run_in(void **state)
{
    rh_error error = {0};
    assert_true(
        rh_lock_hold(*state, "shop", "production", "rolled back: 5% errors", "run-1", &error));
    assert_locked(*state, "production", "run-2",
                  (const char *const[]){"rolled back: 5% errors", "run-1",
                                        "rollouthost unlock shop production", NULL});
    rh_lock_release(assert_free(*state, "production", "run-1"));
    rh_lock_unhold_own(*state, "shop", "production", "run-2");
    rh_lock_info info = {0};
    assert_true(rh_lock_environment_is_held(*state, "shop", "production", &info));
    assert_string_equal(info.run, "run-1");
    rh_lock_info_clear(&info);
    assert_true(rh_lock_unhold(*state, "shop", "production", &error));
    assert_false(rh_lock_unhold(*state, "shop", "production", &error));
    assert_string_equal(error.code, "not_held");
    rh_error_clear(&error);
    rh_lock_release(assert_free(*state, "production", "run-2"));
}

static void a_record_that_is_garbage_still_locks(void **state)
{
    char *path = rh_format("%s/locks/shop@production.held", (char *)*state);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "{{{", 3), 3);
    close(fd);
    assert_locked(*state, "production", "run-2",
                  (const char *const[]){"no reason was given", NULL});
    free(path);
}

static void note_name(void *data, const char *playbook, const char *environment,
                      const rh_lock_info *info)
{
    rh_buffer_addf(data, "%s/%s %s %s;", playbook, environment, info->run ? info->run : "-",
                   info->reason ? info->reason : "-");
}

static void what_is_locked_is_listed(void **state)
{
    rh_error error = {0};
    rh_buffer list = {0};
    rh_buffer_adds(&list, "");
    assert_true(rh_lock_each(*state, note_name, &list, &error));
    assert_string_equal(list.data, "");
    pid_t child = holder(*state, "run-1");
    assert_true(rh_lock_each(*state, note_name, &list, &error));
    assert_string_equal(list.data, "shop/production run-1 -;");
    rh_buffer_clear(&list);
    assert_true(rh_lock_hold(*state, "a/b @", "x", "by hand", NULL,
                             &error)); /* any name is a file's name */
    end(child);
    assert_true(rh_lock_each(*state, note_name, &list, &error));
    assert_string_equal(list.data, "a/b @/x - by hand;");
    rh_buffer_free(&list);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, make_state, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPEC(a_second_run_is_refused_and_told_why),
        SPEC(the_kernel_frees_it_when_the_holder_is_killed),
        SPEC(within_a_process_it_is_held_too),
        SPEC(a_command_does_not_inherit_it),
        SPEC(a_record_keeps_others_out_and_its_own_run_in),
        SPEC(a_record_that_is_garbage_still_locks),
        SPEC(what_is_locked_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
