#include "run/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const char *const zones[] = {"America/New_York",
                                    "Europe/Berlin",
                                    "Australia/Lord_Howe",
                                    "Asia/Kolkata",
                                    "Africa/Casablanca",
                                    "America/Santiago",
                                    "Europe/Dublin",
                                    "UTC",
                                    "Asia/Tehran",
                                    "Pacific/Apia",
                                    "EST5EDT",
                                    "Etc/GMT+5",
                                    "Antarctica/Troll",
                                    "America/Nuuk"};

/* glibc, given a zone file that exists, is the oracle: 1900 to 2120, also far beyond the file's table. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(zones) / sizeof(*zones); i++) {
        setenv("TZ", zones[i], 1);
        tzset();
        for (time_t when = -2208988800; when < 4733510400; when += 86400 * 3 + 12345) {
            struct tm tm;
            localtime_r(&when, &tm);
            int32_t offset;
            char name[RH_ZONE_NAME];
            rh_error error = {0};
            assert_true(rh_zone_offset(zones[i], when, &offset, name, &error));
            if (offset != tm.tm_gmtoff || strcmp(name, tm.tm_zone) != 0)
                fail_msg("%s at %lld: %d %s, expected %ld %s", zones[i], (long long)when, offset,
                         name, tm.tm_gmtoff, tm.tm_zone);
        }
    }
    unsetenv("TZ");
}

static void changes_to_the_second(void **state)
{
    (void)state;
    static const struct {
        int64_t when;
        int32_t offset;
    } cases[] = {{1772953199, -18000}, {1772953200, -14400}, {1793512799, -14400},
                 {1793512800, -18000}, {4108690799, -18000}, {4108690800, -14400}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int32_t offset;
        char name[RH_ZONE_NAME];
        assert_true(rh_zone_offset("America/New_York", cases[i].when, &offset, name, NULL));
        assert_int_equal(offset, cases[i].offset);
    }
}

static void refuses_unknown_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "America/New_Yrok", "Mars",     "",        "/etc/passwd",           "../../../etc/passwd",
        "America/../UTC",   "zone.tab", "America", "EST5EDT,M3.2.0,M11.1.0"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        int32_t offset;
        char name[RH_ZONE_NAME];
        rh_error error = {0};
        assert_false(rh_zone_offset(names[i], 0, &offset, name, &error));
        assert_string_equal(error.code, "zone");
        rh_error_clear(&error);
    }
}

static void own_zone_follows_tz(void **state)
{
    (void)state;
    int32_t offset;
    char name[RH_ZONE_NAME];
    setenv("TZ", "Asia/Kolkata", 1);
    assert_true(rh_zone_offset(NULL, 1700000000, &offset, name, NULL));
    assert_int_equal(offset, 19800);
    unsetenv("TZ");
    assert_true(rh_zone_offset(NULL, 1700000000, &offset, name, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(changes_to_the_second),
        cmocka_unit_test(refuses_unknown_names),
        cmocka_unit_test(own_zone_follows_tz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
