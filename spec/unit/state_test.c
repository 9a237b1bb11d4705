#include "core/buffer.h"
#include "run/journal.h"
#include "run/state.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

static char *opened(const char *path)
{
    rh_error error = {0};
    char *state = rh_state_open(path, true, &error);
    if (!state)
        fail_msg("%s", error.message);
    return state;
}

static void assert_refused(const char *path, bool write, const char *expected)
{
    rh_error error = {0};
    char *state = rh_state_open(path, write, &error);
    if (state)
        fail_msg("%s was taken", state);
    if (!strstr(error.message, expected))
        fail_msg("%s", error.message);
    rh_error_clear(&error);
}

static mode_t mode_of(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *path = rh_vformat(format, args);
    va_end(args);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    free(path);
    return status.st_mode & 07777;
}

static void the_folder_is_chosen_in_order(void **state)
{
    char *home = rh_format("%s/home", (char *)*state), *xdg = rh_format("%s/xdg", (char *)*state),
         *set = rh_format("%s/set/deep/", (char *)*state);
    const bool has_shared = access("/var/lib/rollouthost", W_OK) == 0;
    setenv("ROLLOUTHOST_STATE", set, 1);
    char *found = opened(NULL);
    assert_true(strncmp(found, set, strlen(found)) == 0 && strlen(found) == strlen(set) - 1);
    free(found);
    unsetenv("ROLLOUTHOST_STATE");
    if (!has_shared) {
        setenv("XDG_STATE_HOME", xdg, 1);
        found = opened(NULL);
        assert_true(strstr(found, "/xdg/rollouthost") != NULL);
        free(found);
        unsetenv("XDG_STATE_HOME");
        setenv("HOME", home, 1);
        found = opened(NULL);
        assert_true(strstr(found, "/home/.local/state/rollouthost") != NULL);
        assert_int_equal(mode_of("%s", found), 0700);
        free(found);
    }
    free(home);
    free(xdg);
    free(set);
}

static void a_folder_that_proves_nothing_is_refused(void **state)
{
    char *path = rh_format("%s/state", (char *)*state);
    assert_refused(path, false, "No such file");
    free(opened(path));
    assert_int_equal(chmod(path, 0777), 0);
    assert_refused(path, true, "anyone can write");
    assert_int_equal(chmod(path, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 4321, 4321), 0);
        assert_refused(path, true, "belongs to uid 4321 and is not shared");
        assert_int_equal(chmod(path, 02770), 0); /* shared with a group */
        free(opened(path));
    } else {
        assert_int_equal(chmod(path, 0500), 0);
        assert_refused(path, true, "cannot be written");
        assert_int_equal(chmod(path, 0700), 0);
    }
    free(path);
    path = rh_format("%s/file", (char *)*state);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_refused(path, true, "is not a folder");
    char *below = rh_format("%s/below", path);
    assert_refused(below, true, "Not a directory");
    assert_refused("postgres://db/state", true, "kept in a folder");
    assert_refused("/proc/rollouthost", true, "cannot be made");
    free(path);
    free(below);
}

static void network_file_systems_are_known(void **state)
{
    (void)state;
    assert_string_equal(rh_state_unfit(NFS_SUPER_MAGIC, "nfs4"), "NFS");
    assert_string_equal(rh_state_unfit((long)CIFS_SUPER_MAGIC, "cifs"), "CIFS");
    assert_string_equal(rh_state_unfit((long)(int)SMB2_SUPER_MAGIC, "smb3"),
                        "SMB"); /* sign-extended */
    assert_string_equal(rh_state_unfit(V9FS_MAGIC, "9p"), "9p");
    assert_string_equal(rh_state_unfit(FUSE_SUPER_MAGIC, "fuse.sshfs"), "fuse.sshfs");
    assert_null(rh_state_unfit(FUSE_SUPER_MAGIC, "fuseblk"));
    assert_null(rh_state_unfit(EXT4_SUPER_MAGIC, "ext4"));
    assert_null(rh_state_unfit(TMPFS_MAGIC, "tmpfs"));
    assert_null(rh_state_unfit(OVERLAYFS_SUPER_MAGIC, "overlay"));
}

static void the_key_is_made_once(void **state)
{
    uint8_t first[RH_STATE_KEY], second[RH_STATE_KEY];
    rh_error error = {0};
    assert_true(rh_state_key(*state, first, &error));
    assert_true(rh_state_key(*state, second, &error));
    assert_memory_equal(first, second, RH_STATE_KEY);
    assert_int_equal(mode_of("%s/key", (char *)*state), 0600);
    char *path = rh_format("%s/key", (char *)*state);
    assert_int_equal(truncate(path, 5), 0);
    assert_false(rh_state_key(*state, first, &error));
    assert_non_null(strstr(error.message, "damaged"));
    rh_error_clear(&error);
    free(path);
}

/* A run whose journal holds these events; `id` replaces the one it was made with. */
static void make_run(const char *state, const char *id, const char *const *events)
{
    rh_error error = {0};
    char *made = rh_state_new_run(state, "shop", &error);
    assert_non_null(made);
    char *from = rh_state_run_dir(state, made), *to = rh_state_run_dir(state, id);
    assert_int_equal(rename(from, to), 0);
    rh_journal *journal = rh_journal_create(to, id, &error);
    for (; *events; events += 2)
        assert_true(
            rh_journal_append(journal, events[0], "", events[1], strlen(events[1]), &error) > 0);
    assert_true(rh_journal_commit(journal, &error));
    rh_journal_close(journal);
    free(made);
    free(from);
    free(to);
}

#define START "run.start", "{\"name\":\"shop\",\"environment\":\"staging\",\"operator\":\"dana\"}"
#define RESUME "run.resume", "{}"
#define PAUSED "run.pause", "{\"status\":\"paused\",\"exit\":5,\"error\":{\"message\":\"Ctrl-C\"}}"
#define SUCCEEDED "run.end", "{\"status\":\"succeeded\",\"exit\":0}"

static bool note_run(void *data, const rh_state_run *run)
{
    rh_buffer_addf(data, "%s %s %s/%s %s %lld %s%s\n", run->id, run->status, run->playbook,
                   run->environment, run->by, (long long)run->exit_code,
                   run->finished ? "finished" : "open", *run->error ? " with an error" : "");
    return true;
}

static void runs_are_listed_newest_first(void **state)
{
    rh_error error = {0};
    char *path = opened(*state);
    make_run(path, "shop-20260101-000000-0001", (const char *const[]){START, SUCCEEDED, NULL});
    make_run(path, "shop-20260103-000000-0001", (const char *const[]){START, PAUSED, NULL});
    make_run(path, "api-20260102-000000-0001", (const char *const[]){START, PAUSED, RESUME, NULL});
    make_run(path, "api-20260104-000000-0001",
             (const char *const[]){START, SUCCEEDED, RESUME, SUCCEEDED, NULL});
    char *damaged = rh_state_run_dir(path, "shop-20260105-000000-0001");
    char *hidden = rh_state_run_dir(path, "lost+found"); /* no run's name */
    assert_int_equal(mkdir(damaged, 0700) || mkdir(hidden, 0700), 0);
    rh_buffer list = {0};
    assert_true(rh_state_runs(path, 0, note_run, &list, &error));
    assert_string_equal(list.data,
                        "shop-20260105-000000-0001 damaged /  -1 finished with an error\n"
                        "api-20260104-000000-0001 succeeded shop/staging dana 0 finished\n"
                        "shop-20260103-000000-0001 paused shop/staging dana 5 open with an error\n"
                        "api-20260102-000000-0001 interrupted shop/staging dana -1 open\n"
                        "shop-20260101-000000-0001 succeeded shop/staging dana 0 finished\n");
    rh_buffer_clear(&list);
    assert_true(rh_state_runs(path, 2, note_run, &list, &error));
    assert_null(strstr(list.data, "shop-20260103"));

    char *open_dir = rh_state_run_dir(path, "shop-20260103-000000-0001");
    rh_journal *held = rh_journal_open(open_dir, &error);
    rh_buffer_clear(&list);
    assert_true(rh_state_runs(path, 3, note_run, &list, &error));
    assert_non_null(
        strstr(list.data, "shop-20260103-000000-0001 running shop/staging dana -1 open\n"));
    rh_journal_close(held);
    rh_buffer_free(&list);
    free(open_dir);
    free(damaged);
    free(hidden);
    free(path);
}

static void assert_finds(const char *state, const char *part, const char *expected,
                         const char *code)
{
    rh_error error = {0};
    char *run = part ? rh_state_find_run(state, part, &error) : rh_state_pick_run(state, &error);
    if (expected) {
        assert_non_null(run);
        assert_string_equal(run, expected);
    } else {
        assert_null(run);
        assert_string_equal(error.code, code);
    }
    rh_error_clear(&error);
    free(run);
}

static void a_run_is_found_by_a_part_of_its_name(void **state)
{
    char *path = opened(*state);
    assert_finds(path, NULL, NULL, "no_run");
    assert_finds(path, "shop", NULL, "no_run");
    make_run(path, "shop-20260101-000000-0001", (const char *const[]){START, SUCCEEDED, NULL});
    make_run(path, "shop-20260102-000000-abcd", (const char *const[]){START, SUCCEEDED, NULL});
    assert_finds(path, NULL, "shop-20260102-000000-abcd", NULL); /* the newest */
    assert_finds(path, "abcd", "shop-20260102-000000-abcd", NULL);
    assert_finds(path, "0101", "shop-20260101-000000-0001", NULL);
    assert_finds(path, "shop", NULL, "ambiguous");
    assert_finds(path, "none", NULL, "no_run");
    make_run(path, "x-shop-20260101-000000-0001", (const char *const[]){START, PAUSED, NULL});
    assert_finds(path, "shop-20260101-000000-0001", "shop-20260101-000000-0001",
                 NULL);                                            /* the whole of one */
    assert_finds(path, NULL, "x-shop-20260101-000000-0001", NULL); /* the only unfinished */
    make_run(path, "y-20260101-000000-0001", (const char *const[]){START, NULL});
    assert_finds(path, NULL, NULL, "ambiguous");
    free(path);
}

static void a_new_run_has_its_rooms(void **state)
{
    rh_error error = {0};
    char *path = opened(*state);
    char *run = rh_state_new_run(path, "../a b", &error);
    assert_non_null(run);
    assert_true(strncmp(run, "%2E.%2Fa%20b-20", 15) == 0);
    assert_int_equal(mode_of("%s/runs/%s", path, run), 0700);
    assert_int_equal(mode_of("%s/runs/%s/inbox", path, run), 01700);
    assert_int_equal(mode_of("%s/runs/%s/sources", path, run), 0700);
    free(run);
    assert_int_equal(chmod(path, 02770), 0);
    run = rh_state_new_run(path, "shop", &error);
    assert_int_equal(mode_of("%s/runs/%s", path, run), 02770);
    assert_int_equal(mode_of("%s/runs/%s/inbox", path, run), 03770);
    free(run);
    free(path);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    unsetenv("ROLLOUTHOST_STATE");
    const struct CMUnitTest tests[] = {
        SPEC(the_folder_is_chosen_in_order),  SPEC(a_folder_that_proves_nothing_is_refused),
        SPEC(network_file_systems_are_known), SPEC(the_key_is_made_once),
        SPEC(runs_are_listed_newest_first),   SPEC(a_run_is_found_by_a_part_of_its_name),
        SPEC(a_new_run_has_its_rooms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
