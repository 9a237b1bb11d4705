#include "run/sources.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#define RUN "shop-20260101-000000-0001"
#define SHA_ONE "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" /* of "one" */

static char *run_dir;

/* Where the run starts (a.lua is there), and its folder. */
static int make_start(void **state)
{
    if (folder_make(state) != 0)
        return -1;
    run_dir = rh_format("%s/run", (char *)*state);
    char *copies = rh_format("%s/sources", run_dir);
    int status = mkdir(run_dir, 0700) || mkdir(copies, 0700);
    free(copies);
    return status;
}

static int remove_start(void **state)
{
    free(run_dir);
    return folder_remove(state);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char *path = rh_format("%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    free(path);
}

static void assert_text(rh_sources *sources, const char *path, const char *expected)
{
    rh_buffer text = {0};
    rh_error error = {0};
    char sha256[RH_SHA256_HEX];
    if (!rh_sources_get(sources, path, &text, sha256, &error))
        fail_msg("%s", error.message);
    assert_string_equal(text.data, expected);
    assert_int_equal(strlen(sha256), 64);
    rh_buffer_free(&text);
}

static void assert_refused(rh_sources *sources, const char *path, const char *code)
{
    rh_buffer text = {0};
    rh_error error = {0};
    char sha256[RH_SHA256_HEX];
    assert_false(rh_sources_get(sources, path, &text, sha256, &error));
    assert_string_equal(error.code, code);
    rh_error_clear(&error);
    rh_buffer_free(&text);
}

static void finish(rh_sources *sources, rh_journal *journal)
{
    rh_error error = {0};
    assert_true(rh_sources_settle(sources, &error));
    assert_true(rh_journal_commit(journal, &error));
    rh_sources_free(sources);
    rh_journal_close(journal);
}

/* The run's first process: reads one file before it has a folder, and looks for one that is not there. */
static void first_process(const char *start)
{
    rh_error error = {0};
    write_file(start, "a.lua", "one");
    rh_sources *sources = rh_sources_new(start);
    assert_text(sources, "a.lua", "one");
    assert_false(rh_sources_exists(sources, "b.lua", &error));
    rh_journal *journal = rh_journal_create(run_dir, RUN, &error);
    assert_true(rh_sources_attach(sources, run_dir, journal, &error));
    write_file(start, "c.lua", "two");
    assert_true(rh_sources_exists(sources, "c.lua", &error));
    assert_text(sources, "c.lua", "two");
    write_file(start, "a.lua", "changed"); /* within the process, too */
    assert_text(sources, "a.lua", "one");
    finish(sources, journal);
}

static void a_run_goes_on_with_the_bytes_it_began_with(void **state)
{
    rh_error error = {0};
    first_process(*state);
    write_file(*state, "a.lua", "changed");
    write_file(*state, "b.lua", "new");
    char *gone = rh_format("%s/c.lua", (char *)*state);
    unlink(gone);
    free(gone);
    rh_journal *journal = rh_journal_open(run_dir, &error);
    rh_sources *sources = rh_sources_new(*state);
    assert_true(rh_sources_attach(sources, run_dir, journal, &error));
    assert_text(sources, "a.lua", "one");
    assert_text(sources, "c.lua", "two");
    assert_false(
        rh_sources_exists(sources, "b.lua", &error)); /* it was not there when the run began */
    assert_refused(sources, "b.lua", "source");
    write_file(*state, "d.lua", "later"); /* a place that the run had not come to */
    assert_text(sources, "d.lua", "later");
    finish(sources, journal);
}

static void copies_are_kept_by_content(void **state)
{
    first_process(*state);
    char *copy = rh_format("%s/sources/" SHA_ONE, run_dir);
    assert_int_equal(access(copy, F_OK), 0);
    free(copy);
}

static void a_copy_that_was_changed_or_lost_is_an_error(void **state)
{
    rh_error error = {0};
    first_process(*state);
    char *copies = rh_format("%s/sources", run_dir), *copy = rh_format("%s/" SHA_ONE, copies);
    write_file(copies, SHA_ONE, "One");
    rh_journal *journal = rh_journal_open(run_dir, &error);
    rh_sources *sources = rh_sources_new(*state);
    assert_true(rh_sources_attach(sources, run_dir, journal, &error));
    assert_refused(sources, "a.lua", "journal");
    unlink(copy);
    assert_refused(sources, "a.lua", "journal");
    finish(sources, journal);
    free(copies);
    free(copy);
}

static void without_a_run_files_are_only_read(void **state)
{
    write_file(*state, "a.lua", "one");
    rh_sources *sources = rh_sources_new(*state);
    assert_text(sources, "a.lua", "one");
    assert_refused(sources, "b.lua", "source");
    char *absolute = rh_format("%s/a.lua", (char *)*state);
    assert_text(sources, absolute, "one");
    free(absolute);
    rh_sources_free(sources);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, make_start, remove_start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPEC(a_run_goes_on_with_the_bytes_it_began_with),
        SPEC(copies_are_kept_by_content),
        SPEC(a_copy_that_was_changed_or_lost_is_an_error),
        SPEC(without_a_run_files_are_only_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
