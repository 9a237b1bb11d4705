/* The file engine, without Lua. */
#include "modules/fs/fs.h"

#include "core/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const rh_op_class fs_class = {
    .name = "fs", .size = sizeof(rh_fs), .cancel = rh_fs_cancel, .fini = rh_fs_fini};

static char folder[] = "/tmp/rh-fs-XXXXXX";

static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Runs it to its end; the caller releases. */
static rh_fs *run(rh_fs_request request, bool cancel)
{
    rh_error error = {0};
    rh_fs *fs = (rh_fs *)rh_op_new(&fs_class);
    rh_op_retain(&fs->op);
    assert_true(rh_fs_start(fs, &request, &error));
    if (cancel)
        rh_op_cancel(&fs->op);
    while (!fs->op.done)
        uv_run(rh_loop(), UV_RUN_ONCE);
    return fs;
}

static void expect_ok(rh_fs *fs)
{
    if (rh_error_is_set(&fs->op.error))
        fail_msg("%s: %s", fs->op.error.code, fs->op.error.message);
    rh_op_release(&fs->op);
}

static void expect_error(rh_fs *fs, const char *code, const char *message)
{
    assert_true(rh_error_is_set(&fs->op.error));
    assert_string_equal(fs->op.error.code, code);
    if (strstr(fs->op.error.message, message) == NULL)
        fail_msg("wanted \"%s\", got \"%s\"", message, fs->op.error.message);
    rh_op_release(&fs->op);
}

static rh_fs *write_text(const char *name, const char *text, int mode)
{
    return run((rh_fs_request){.verb = RH_FS_WRITE,
                               .path = in_folder(name),
                               .data = text,
                               .data_size = strlen(text),
                               .mode = mode},
               false);
}

static void expect_content(const char *name, const char *text)
{
    rh_fs *fs =
        run((rh_fs_request){.verb = RH_FS_READ, .path = in_folder(name), .limit = 1 << 20}, false);
    assert_int_equal(fs->data.size, strlen(text));
    assert_memory_equal(fs->data.data, text, strlen(text));
    expect_ok(fs);
}

static mode_t mode_of(const char *name)
{
    struct stat found;
    assert_int_equal(stat(in_folder(name), &found), 0);
    return found.st_mode & 07777;
}

static size_t count_files(void)
{
    rh_fs *fs = run((rh_fs_request){.verb = RH_FS_LIST, .path = folder}, false);
    const size_t count = fs->names_count;
    expect_ok(fs);
    return count;
}

static void writes_whole_and_keeps_the_mode(void **state)
{
    (void)state;
    rh_fs *fs = write_text("a", "abc", -1);
    assert_string_equal(fs->digest,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(fs->size, 3);
    expect_ok(fs);
    expect_content("a", "abc");
    assert_int_equal(mode_of("a"), 0644);
    expect_ok(write_text("a", "", 0600));
    expect_content("a", "");
    assert_int_equal(mode_of("a"), 0600);
    expect_ok(write_text("a", "again", -1));
    assert_int_equal(mode_of("a"), 0600);
    assert_int_equal(count_files(), 1); /* no temporary file is left */
    unlink(in_folder("a"));
}

static void writes_through_a_link(void **state)
{
    (void)state;
    struct stat found;
    expect_ok(write_text("real", "old", -1));
    assert_int_equal(symlink("real", in_folder("link")), 0);
    expect_ok(write_text("link", "new", -1));
    expect_content("real", "new");
    assert_int_equal(lstat(in_folder("link"), &found), 0);
    assert_true(S_ISLNK(found.st_mode));
    unlink(in_folder("link"));
    unlink(in_folder("real"));
}

static void says_why_it_cannot_write(void **state)
{
    (void)state;
    expect_error(write_text("no/such/folder", "x", -1), "io", "no/such/folder: No such file");
    rh_fs_request request = {
        .verb = RH_FS_WRITE, .path = folder, .data = "x", .data_size = 1, .mode = -1};
    expect_error(run(request, false), "io", "not a regular file");
    request.path = "/dev/null";
    expect_error(run(request, false), "io", "not a regular file");
}

static void copies_and_reads_back(void **state)
{
    (void)state;
    expect_ok(write_text("from", "content", 0640));
    rh_fs_request request = {
        .verb = RH_FS_COPY, .path = in_folder("from"), .to = in_folder("to"), .mode = -1};
    rh_fs *fs = run(request, false);
    assert_string_equal(fs->digest,
                        "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73");
    expect_ok(fs);
    expect_content("to", "content");
    assert_int_equal(mode_of("to"), 0640);
    request.path = folder;
    expect_error(run(request, false), "io", "not a regular file");
    expect_content("to", "content"); /* untouched */
    unlink(in_folder("from"));
    unlink(in_folder("to"));
}

static void limits_what_it_reads(void **state)
{
    (void)state;
    expect_ok(write_text("big", "0123456789", -1));
    expect_error(
        run((rh_fs_request){.verb = RH_FS_READ, .path = in_folder("big"), .limit = 9}, false),
        "too_large", "more than 9 bytes");
    expect_ok(
        run((rh_fs_request){.verb = RH_FS_READ, .path = in_folder("big"), .limit = 10}, false));
    expect_error(
        run((rh_fs_request){.verb = RH_FS_READ, .path = "/dev/zero", .limit = 1 << 20}, false),
        "too_large", "/dev/zero");
    unlink(in_folder("big"));
}

static void makes_folders_and_looks(void **state)
{
    (void)state;
    const char *deep = in_folder("x/y//z");
    rh_fs *fs = run((rh_fs_request){.verb = RH_FS_MKDIR, .path = deep, .mode = 0700}, false);
    assert_false(fs->found);
    expect_ok(fs);
    assert_int_equal(mode_of("x/y/z"), 0700);
    assert_int_equal(mode_of("x/y"), 0755);
    fs = run((rh_fs_request){.verb = RH_FS_MKDIR, .path = deep, .mode = -1}, false);
    assert_true(fs->found);
    expect_ok(fs);
    fs = run((rh_fs_request){.verb = RH_FS_STAT, .path = in_folder("none")}, false);
    assert_false(fs->found);
    expect_ok(fs);
    expect_error(run((rh_fs_request){.verb = RH_FS_REMOVE, .path = in_folder("x")}, false),
                 "directory", "is a folder");
    expect_ok(write_text("x/f", "", -1));
    expect_error(
        run((rh_fs_request){.verb = RH_FS_MKDIR, .path = in_folder("x/f/g"), .mode = -1}, false),
        "io", "cannot make the folder");
    fs = run((rh_fs_request){.verb = RH_FS_REMOVE, .path = in_folder("x/f")}, false);
    assert_true(fs->found);
    expect_ok(fs);
    fs = run((rh_fs_request){.verb = RH_FS_REMOVE, .path = in_folder("x/f")}, false);
    assert_false(fs->found);
    expect_ok(fs);
    rmdir(in_folder("x/y/z"));
    rmdir(in_folder("x/y"));
    rmdir(in_folder("x"));
}

static void lists_in_order(void **state)
{
    (void)state;
    static const char *const names[] = {"b", "a", "C", "\xc3\xa4", "10", "9"};
    static const char *const sorted[] = {"10", "9", "C", "a", "b", "\xc3\xa4"};
    for (size_t i = 0; i < 6; i++)
        expect_ok(write_text(names[i], "", -1));
    rh_fs *fs = run((rh_fs_request){.verb = RH_FS_LIST, .path = folder}, false);
    assert_int_equal(fs->names_count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(fs->names[i], sorted[i]);
    expect_ok(fs);
    fs = run((rh_fs_request){.verb = RH_FS_GLOB, .path = in_folder("[a-c]")}, false);
    assert_int_equal(fs->names_count, 2);
    assert_string_equal(fs->names[1], in_folder("b"));
    expect_ok(fs);
    fs = run((rh_fs_request){.verb = RH_FS_GLOB, .path = in_folder("*.none")}, false);
    assert_int_equal(fs->names_count, 0);
    expect_ok(fs);
    expect_error(run((rh_fs_request){.verb = RH_FS_LIST, .path = in_folder("none")}, false), "io",
                 "cannot list");
    for (size_t i = 0; i < 6; i++)
        unlink(in_folder(names[i]));
}

static void cancels_what_would_take_for_ever(void **state)
{
    (void)state;
    rh_fs *fs = run((rh_fs_request){.verb = RH_FS_SHA256, .path = "/dev/zero"}, true);
    expect_error(fs, "cancelled", "cancelled");
}

static void tells_free_space(void **state)
{
    (void)state;
    rh_fs *fs = run((rh_fs_request){.verb = RH_FS_FREE, .path = folder}, false);
    assert_true(fs->size > 0);
    expect_ok(fs);
    expect_error(run((rh_fs_request){.verb = RH_FS_FREE, .path = in_folder("none")}, false), "io",
                 "free space");
}

static int make_folder(void **state)
{
    (void)state;
    umask(022);
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder) != 0 || rh_loop_close() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_whole_and_keeps_the_mode),
        cmocka_unit_test(writes_through_a_link),
        cmocka_unit_test(says_why_it_cannot_write),
        cmocka_unit_test(copies_and_reads_back),
        cmocka_unit_test(limits_what_it_reads),
        cmocka_unit_test(makes_folders_and_looks),
        cmocka_unit_test(lists_in_order),
        cmocka_unit_test(cancels_what_would_take_for_ever),
        cmocka_unit_test(tells_free_space),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
