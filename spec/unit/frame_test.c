#include "core/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_values_come_back(void **state)
{
    (void)state;
    rh_buffer buffer = {0};
    rh_frame frame;
    size_t size;
    rh_buffer_adds(&buffer, "before");
    size_t mark = rh_frame_begin(&buffer, RH_FRAME_STOP, 7);
    rh_frame_put(&buffer, INT64_MIN);
    rh_frame_put_bytes(&buffer, "a\0b", 3);
    rh_frame_put_text(&buffer, NULL);
    rh_frame_put_text(&buffer, "");
    rh_frame_end(&buffer, mark);
    assert_int_equal(rh_frame_read(buffer.data + mark, buffer.size - mark, &frame),
                     buffer.size - mark);
    assert_int_equal(frame.type, RH_FRAME_STOP);
    assert_int_equal(frame.handle, 7);
    assert_true(rh_frame_get(&frame) == INT64_MIN);
    const char *bytes = rh_frame_get_bytes(&frame, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0b", 4);
    assert_null(rh_frame_get_bytes(&frame, &size));
    assert_int_equal(size, 0);
    assert_string_equal(rh_frame_get_bytes(&frame, NULL), "");
    assert_false(frame.bad);
    assert_int_equal(rh_frame_get(&frame), 0);
    assert_true(frame.bad);
    rh_buffer_free(&buffer);
}

/* Each prefix is incomplete; each changed byte is read within the frame's bytes (the sanitizer watches). */
static void test_cut_and_damaged(void **state)
{
    (void)state;
    rh_buffer whole = {0};
    rh_frame frame;
    size_t mark = rh_frame_begin(&whole, RH_FRAME_SECRETS, 1);
    rh_frame_put_text(&whole, "name");
    rh_frame_put_bytes(&whole, "value", 5);
    rh_frame_put(&whole, 5);
    rh_frame_end(&whole, mark);
    for (size_t size = 0; size < whole.size; size++)
        assert_int_equal(rh_frame_read(whole.data, size, &frame), 0);
    for (size_t at = 0; at < whole.size; at++)
        for (int value = 0; value < 256; value += 5) {
            char *copy = rh_alloc(whole.size);
            memcpy(copy, whole.data, whole.size);
            copy[at] = (char)value;
            if (rh_frame_read(copy, whole.size, &frame) > 0) {
                size_t size;
                for (int i = 0; i < 2; i++) {
                    const char *text = rh_frame_get_bytes(&frame, &size);
                    assert_true(!text || strlen(text) <= size);
                }
                rh_frame_get(&frame);
            }
            free(copy);
        }
    rh_buffer_free(&whole);
}

static void test_sizes_that_are_none(void **state)
{
    (void)state;
    rh_frame frame;
    const uint32_t small[3] = {11, 1, 1}, large[3] = {RH_FRAME_LIMIT + 1, 1, 1};
    assert_int_equal(rh_frame_read((const char *)small, sizeof small, &frame), -1);
    assert_int_equal(rh_frame_read((const char *)large, sizeof large, &frame), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_back),
        cmocka_unit_test(test_cut_and_damaged),
        cmocka_unit_test(test_sizes_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
