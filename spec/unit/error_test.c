#include "core/buffer.h"
#include "core/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

static void test_first_error_wins(void **state)
{
    (void)state;
    rh_error error = {0};
    assert_false(rh_error_is_set(&error));
    assert_false(rh_fail(&error, "refused", "no %s", "way"));
    rh_fail(&error, "io", "later");
    rh_fail_errno(&error, ENOENT, "later still");
    rh_fail_uv(&error, UV_EOF, "last");
    assert_string_equal(error.code, "refused");
    assert_string_equal(error.message, "no way");
    rh_error_module(&error, "http");
    rh_error_module(&error, "sh");
    assert_string_equal(error.module, "http");
    rh_error_detail(&error, rh_strdup("{}"));
    rh_error moved = {0};
    rh_error_move(&moved, &error);
    assert_false(rh_error_is_set(&error));
    assert_null(error.message);
    assert_string_equal(moved.detail, "{}");
    rh_fail(&error, "other", "dropped");
    rh_error_move(&moved, &error);
    assert_string_equal(moved.code, "refused");
    assert_null(error.message);
    rh_error_clear(&moved);
    assert_false(rh_error_is_set(&moved));
    assert_false(rh_fail(NULL, "nobody", "cares"));
}

static void test_system_errors(void **state)
{
    (void)state;
    rh_error error = {0};
    rh_fail_errno(&error, ENOENT, "cannot open %s", "x");
    assert_string_equal(error.code, "io");
    assert_string_equal(error.message, "cannot open x: No such file or directory");
    rh_error_clear(&error);
    rh_fail_uv(&error, UV_ECANCELED, "waiting");
    assert_string_equal(error.code, "cancelled");
    assert_string_equal(error.message, "waiting: operation canceled");
    rh_error_clear(&error);
    rh_fail_uv(&error, UV_EOF, "reading");
    assert_string_equal(error.code, "io");
    rh_error_clear(&error);
}

static void test_buffer(void **state)
{
    (void)state;
    rh_buffer buffer = {0};
    rh_buffer_add(&buffer, "", 0);
    assert_string_equal(buffer.data, "");
    for (int i = 0; i < 1000; i++)
        rh_buffer_addf(&buffer, "%d,", i);
    assert_int_equal(buffer.size, strlen(buffer.data));
    assert_int_equal(buffer.size, 3890);
    rh_buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    char *long_text = rh_alloc(5001);
    memset(long_text, 'z', 5000);
    rh_buffer_addf(&buffer, "<%s>", long_text);
    assert_int_equal(buffer.size, 5002);
    assert_int_equal(buffer.data[5001], '>');
    free(long_text);
    char *taken = rh_buffer_take(&buffer);
    assert_int_equal(strlen(taken), 5002);
    assert_null(buffer.data);
    free(taken);
    taken = rh_buffer_take(&buffer);
    assert_string_equal(taken, "");
    free(taken);
    rh_buffer_free(&buffer);
    char *part = rh_strndup("abcdef", 3);
    assert_string_equal(part, "abc");
    free(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_error_wins),
        cmocka_unit_test(test_system_errors),
        cmocka_unit_test(test_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
