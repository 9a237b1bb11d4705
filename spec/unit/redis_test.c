/* Where a Redis is, as a URL says it. */
#include "modules/redis/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_place(const char *url, const char *display, const char *user,
                         const char *password, bool tls)
{
    rh_redis_config config = {0};
    rh_buffer out = {0};
    rh_error error = {0};
    if (!rh_redis_config_parse(&config, url, &error))
        fail_msg("%s: %s", url, error.message);
    rh_redis_config_display(&config, &out);
    assert_string_equal(display, out.data);
    assert_string_equal(user, config.user ? config.user : "");
    assert_string_equal(password, config.password ? config.password : "");
    assert_int_equal(tls, config.tls);
    rh_buffer_free(&out);
    rh_redis_config_clear(&config);
}

static void expect_refused(const char *url, const char *why)
{
    rh_redis_config config = {0};
    rh_error error = {0};
    assert_false(rh_redis_config_parse(&config, url, &error));
    assert_string_equal("usage", error.code);
    assert_non_null(strstr(error.message, why));
    assert_null(strstr(error.message, "hidden"));
    rh_error_clear(&error);
    rh_redis_config_clear(&config);
}

static void places(void **state)
{
    (void)state;
    expect_place("redis://localhost", "localhost:6379", "", "", false);
    expect_place("redis://localhost/", "localhost:6379", "", "", false);
    expect_place("rediss://cache.example:7000/3?protocol=3", "cache.example:7000/3", "", "", true);
    expect_place("redis://[::1]:7000", "[::1]:7000", "", "", false);
    expect_place("redis://[fe80::1]/2", "[fe80::1]:6379/2", "", "", false);
    expect_place("unix:///run/redis/redis.sock", "/run/redis/redis.sock", "", "", false);
    expect_place("unix:///run/redis.sock?db=4", "/run/redis.sock/4", "", "", false);
}

static void logins(void **state)
{
    (void)state;
    expect_place("redis://:hidden@h", "h:6379", "", "hidden", false);
    expect_place("redis://app:hidden@h:1/1", "h:1/1", "app", "hidden", false);
    expect_place("redis://app@h", "h:6379", "app", "", false);
    expect_place("redis://app:hid%40den%2F@h", "h:6379", "app", "hid@den/", false);
    expect_place("redis://app:hidden@@h", "h:6379", "app", "hidden@", false);
    expect_place("redis://app:hid:den@h", "h:6379", "app", "hid:den", false);
}

static void refusals(void **state)
{
    (void)state;
    expect_refused("http://h", "begins with redis://");
    expect_refused("redis:h", "begins with redis://");
    expect_refused("redis://", "names no host");
    expect_refused("redis://:hidden@", "names no host");
    expect_refused("redis://h:x", "port");
    expect_refused("redis://h:99999999999999999999", "port");
    expect_refused("redis://h/one", "database");
    expect_refused("redis://h/-1", "database");
    expect_refused("redis://:hidden%@h", "broken %-escape");
    expect_refused("redis://:hidden%0@h", "broken %-escape");
    expect_refused("redis://:hidden%00@h", "broken %-escape");
    expect_refused("unix://run/redis.sock", "a socket's URL");
    expect_refused("unix:///run/redis.sock?db=x", "database");
}

static void commands(void **state)
{
    (void)state;
    rh_buffer out = {0};
    const char *words[] = {"GET", "a\r\nb"};
    const size_t sizes[] = {3, 4};
    rh_redis_format(&out, 2, words, sizes);
    assert_string_equal("*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n", out.data);
    rh_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(logins),
        cmocka_unit_test(refusals),
        cmocka_unit_test(commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
