/* The two streams of a container, cut anywhere. */
#include "modules/docker/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char STREAM[] = "\1\0\0\0\0\0\0\5hello"
                             "\2\0\0\0\0\0\0\3bad"
                             "\1\0\0\0\0\0\0\0"
                             "\0\0\0\0\0\0\0\1i"
                             "\1\0\0\0\0\0\0\6 world";

static void feeds_in_parts(void **state)
{
    (void)state;
    for (size_t part = 1; part < sizeof STREAM; part++) {
        rh_docker_frames frames = {0};
        rh_buffer out = {0}, err = {0};
        rh_error error = {0};
        for (size_t at = 0; at < sizeof STREAM - 1; at += part) {
            size_t left = sizeof STREAM - 1 - at;
            assert_true(rh_docker_frames_feed(&frames, STREAM + at, left < part ? left : part, &out,
                                              &err, &error));
        }
        assert_true(rh_docker_frames_whole(&frames));
        assert_string_equal(out.data, "helloi world");
        assert_string_equal(err.data, "bad");
        rh_buffer_free(&out);
        rh_buffer_free(&err);
    }
}

static void knows_what_was_cut_off(void **state)
{
    (void)state;
    for (size_t size = 1; size < 13; size++) {
        rh_docker_frames frames = {0};
        rh_buffer out = {0}, err = {0};
        assert_true(rh_docker_frames_feed(&frames, STREAM, size, &out, &err, NULL));
        assert_false(rh_docker_frames_whole(&frames));
        rh_buffer_free(&out);
        rh_buffer_free(&err);
    }
}

static void refuses_what_is_no_frame(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\3\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x", "HTTP/1.1 200"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rh_docker_frames frames = {0};
        rh_buffer out = {0}, err = {0};
        rh_error error = {0};
        assert_false(rh_docker_frames_feed(&frames, wrong[i], 9, &out, &err, &error));
        assert_string_equal(error.code, "protocol");
        rh_error_clear(&error);
        rh_buffer_free(&out);
        rh_buffer_free(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feeds_in_parts),
        cmocka_unit_test(knows_what_was_cut_off),
        cmocka_unit_test(refuses_what_is_no_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
