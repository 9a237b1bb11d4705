#include "modules/git/git.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER "# branch.oid 1234abcd\0# branch.head main\0"
#define CHANGED "1 .M N... 100644 100644 100644 aa bb a file.txt\0"
#define RENAMED "2 R. N... 100644 100644 100644 aa bb R100 new name\0old name\0"
#define UNMERGED "u UU N... 100644 100644 100644 100644 aa bb cc both\0"
#define MODULE "1 .M SC.. 160000 160000 160000 aa bb vendor/lib\0"

static rh_git_entry entries[8];
static size_t count;

static void keep(void *data, const rh_git_entry *entry)
{
    (void)data;
    if (count < 8)
        entries[count] = *entry;
    count++;
}

/* From a heap copy of exactly that size, so that ASan sees a read beyond it. The entries' texts die with it. */
static bool parse(const char *text, size_t size, rh_git_status *status, char **copy)
{
    rh_error error = {0};
    *copy = malloc(size + 1);
    assert_non_null(*copy);
    memcpy(*copy, text, size);
    (*copy)[size] = '\0';
    count = 0;
    const bool ok = rh_git_status_read(*copy, size, status, keep, NULL, &error);
    assert_int_equal(ok, !rh_error_is_set(&error));
    if (!ok)
        assert_string_equal(error.code, "protocol");
    rh_error_clear(&error);
    return ok;
}

static void every_kind_of_entry(void **state)
{
    (void)state;
    static const char text[] = HEADER "# branch.upstream origin/main\0# branch.ab +3 -12\0"
                                      "# stash 2\0" CHANGED RENAMED UNMERGED MODULE "? ? odd";
    rh_git_status status;
    char *copy;
    assert_true(parse(text, sizeof text, &status, &copy));
    assert_int_equal(status.commit_size, 8);
    assert_memory_equal(status.branch, "main", 4);
    assert_int_equal(status.upstream_size, 11);
    assert_true(status.compared);
    assert_int_equal(status.ahead, 3);
    assert_int_equal(status.behind, 12);
    assert_int_equal(status.total, 5);
    assert_int_equal(status.staged, 1);
    assert_int_equal(status.changed, 2);
    assert_int_equal(status.unmerged, 1);
    assert_int_equal(status.untracked, 1);
    assert_int_equal(count, 5);
    assert_string_equal(entries[0].path, "a file.txt");
    assert_string_equal(entries[1].path, "new name");
    assert_string_equal(entries[1].renamed, "old name");
    assert_string_equal(entries[2].path, "both");
    assert_true(entries[3].submodule);
    assert_false(entries[0].submodule);
    assert_string_equal(entries[4].path, "? odd");
    free(copy);
}

static void no_commit_and_no_branch(void **state)
{
    (void)state;
    static const char text[] = "# branch.oid (initial)\0# branch.head (detached)";
    rh_git_status status;
    char *copy;
    assert_true(parse(text, sizeof text, &status, &copy));
    assert_null(status.commit);
    assert_null(status.branch);
    assert_null(status.upstream);
    assert_false(status.compared);
    free(copy);
    assert_true(parse("", 0, &status, &copy));
    assert_int_equal(status.total, 0);
    free(copy);
}

static void what_is_not_its_format(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
    } bad[] = {
#define TEXT(literal) {literal, sizeof literal}
        TEXT("fatal: not a git repository"),
        TEXT("1 .M N... 100644"),
        TEXT("1"),
        TEXT("? "),
        TEXT(""),
        TEXT("1        "),
        TEXT("x .M N... 1 2 3 a b c"),
        TEXT("# branch.ab +x"),
        TEXT("2 R. N... 1 2 3 a b R1 new"), /* and no old name */
#undef TEXT
        {"? cut of", 8}, /* no NUL */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rh_git_status status;
        char *copy;
        assert_false(parse(bad[i].text, bad[i].size, &status, &copy));
        free(copy);
    }
}

/* Cut anywhere, it is refused or shorter; it never reads beyond. */
static void every_prefix(void **state)
{
    (void)state;
    static const char text[] = HEADER CHANGED RENAMED UNMERGED MODULE "? x";
    for (size_t size = 0; size <= sizeof text; size++) {
        rh_git_status status;
        char *copy;
        parse(text, size, &status, &copy);
        assert_true(status.total <= 5);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_entry),
        cmocka_unit_test(no_commit_and_no_branch),
        cmocka_unit_test(what_is_not_its_format),
        cmocka_unit_test(every_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
