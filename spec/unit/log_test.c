#include "core/loop.h"
#include "modules/log/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NOON 1795176000000 /* 2026-11-20T12:00:00Z */

static int64_t stamp(const char *line)
{
    char *exact = malloc(strlen(line)); /* so that ASan sees a read beyond it */
    assert_non_null(exact);
    memcpy(exact, line, strlen(line));
    const int64_t ms = rh_log_stamp(exact, strlen(line), RH_LOG_LOCAL, NOON);
    free(exact);
    return ms;
}

static void lines_that_say_when(void **state)
{
    (void)state;
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    static const struct {
        const char *line;
        int64_t ms;
    } cases[] = {
        {"2026-11-20T12:00:00Z ERROR", NOON},
        {"2026-11-20T12:00:00.123456Z", NOON + 123},
        {"[2026-11-20T13:00:00.5+01:00] x", NOON + 500},
        {"2026-11-20T07:00:00-0500", NOON},
        {"2026-11-20 13:00:00,250 - app - ERROR - x", NOON + 250}, /* this machine's zone */
        {"2026-11-20 13:00:00 Zeppelin", NOON},
        {"2026-11-20 13:00:00 -12 things", NOON},
        {"2026/11/20 13:00:00 [error] 7#7: x", NOON},
        {"INFO  2026-11-20 13:00:00.001", NOON + 1},
        {"10.0.0.1 - - [20/Nov/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 500", NOON},
        {"Nov 20 13:00:00 host app[1]: x", NOON},
        {"Nov  5 13:00:00 host app: x", NOON - 15 * (int64_t)86400000},
        {"Dec 31 23:59:59 host app: x", 1767221999000}, /* last year's */
        {"1795176000.250000 host app[1]: x", NOON + 250},
        {"1795176000123 x", NOON + 123},
        {"{\"level\":50,\"time\":1795176000123,\"msg\":\"x\"}", NOON + 123},
        {"{\"ts\": 1795176000.5, \"msg\":\"x\"}", NOON + 500},
        {"{\"timestamp\":\"2026-11-20T12:00:00Z\"}", NOON},
        {"2026-02-30", 0},
        {"2026-13-20T12:00:00Z", 0},
        {"2026-11-20T25:00:00Z", 0},
        {"order 20261120120000 shipped", 0},
        {"    at handler (/srv/app.js:10:20)", 0},
        {"Nov", 0},
        {"1", 0},
        {"{\"time\":", 0},
        {"12/Nov/20", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (stamp(cases[i].line) != cases[i].ms)
            fail_msg("%s: %lld, not %lld", cases[i].line, (long long)stamp(cases[i].line),
                     (long long)cases[i].ms);
    assert_int_equal(rh_log_stamp("", 0, RH_LOG_LOCAL, NOON), 0);
    static const char plain[] = "2026-11-20 12:00:00 x", syslog[] = "Nov 20 14:00:00 x";
    assert_int_equal(rh_log_stamp(plain, sizeof plain - 1, 0, NOON), NOON);
    assert_int_equal(rh_log_stamp(syslog, sizeof syslog - 1, 120, NOON), NOON);
}

static char folder[] = "/tmp/t-XXXXXX";
static char path[64], rotated[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/app.log", folder);
    snprintf(rotated, sizeof rotated, "%s/app.log.1", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(rotated);
    return rmdir(folder);
}

static void append(const char *file, const char *text)
{
    FILE *out = fopen(file, "a");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static const atomic_bool never;

static int64_t count(rh_log *log)
{
    rh_error error = {0};
    assert_true(rh_log_advance(log, &never, &error));
    return rh_log_results(log)->matches;
}

static rh_log *scanner(const char *match, const rh_log_place *place)
{
    rh_error error = {0};
    rh_log *log = rh_log_new(
        path,
        &(rh_log_options){.match = match, .place = place, .per_ms = 1000, .zone = RH_LOG_LOCAL},
        &error);
    assert_non_null(log);
    return log;
}

static void a_file_that_comes_later(void **state)
{
    (void)state;
    rh_log_place place;
    rh_error error = {0};
    unlink(path);
    assert_true(rh_log_end(path, &place, &error));
    assert_int_equal(place.inode, 0);
    rh_log *log = scanner("x", &place);
    assert_int_equal(count(log), 0);
    assert_true(rh_log_results(log)->missing);
    append(path, "x\r\n\nx\n");
    assert_int_equal(count(log), 2);
    assert_false(rh_log_results(log)->missing);
    assert_int_equal(rh_log_results(log)->lines, 3);
    assert_int_equal(rh_log_results(log)->first[0].size, 1);
    rh_log_release(log);
}

static void a_line_that_never_ends(void **state)
{
    (void)state;
    rh_log_place place;
    rh_error error = {0};
    unlink(path);
    append(path, "before\n");
    assert_true(rh_log_end(path, &place, &error));
    rh_log *log = scanner("needle", &place);
    append(path, "needle ");
    for (int i = 0; i < 6000; i++)
        append(path,
               "0123456789012345678901234567890123456789012345678901234567890123456789012345678"
               "901234567890123456789");
    assert_int_equal(count(log), 1); /* its beginning is what counts */
    append(path, " needle\nneedle\n");
    assert_int_equal(count(log), 2);
    assert_int_equal(rh_log_results(log)->lines, 2);
    rh_log_release(log);
}

static void renamed_with_an_unended_line(void **state)
{
    (void)state;
    rh_log_place place;
    rh_error error = {0};
    unlink(path);
    append(path, "x 1\n");
    assert_true(rh_log_end(path, &place, &error));
    rh_log *log = scanner("x", &place), *later = scanner("x", &place);
    append(path, "x 2\nx 3");
    assert_int_equal(count(log), 1);
    assert_int_equal(rename(path, rotated), 0);
    assert_int_equal(count(log), 1);
    append(path, "x 4\n");
    assert_int_equal(count(log), 3);
    assert_int_equal(count(later), 3);
    assert_false(rh_log_results(later)->gap);
    rh_log_release(log);
    rh_log_release(later);
    unlink(rotated);
}

static void a_reused_inode_is_another_file(void **state)
{
    (void)state;
    rh_log_place place;
    rh_error error = {0};
    struct stat found;
    unlink(path);
    append(path, "a line of the old file\n");
    assert_true(rh_log_end(path, &place, &error));
    unlink(path);
    append(path, "x of the new one, which is longer than the old one was\n");
    assert_int_equal(stat(path, &found), 0);
    place.inode = (uint64_t)found.st_ino; /* whether the file system does it or not */
    rh_log *log = scanner("x", &place);
    assert_int_equal(count(log), 1);
    assert_true(rh_log_results(log)->gap);
    rh_log_release(log);
}

static void what_is_no_log(void **state)
{
    (void)state;
    rh_error error = {0};
    rh_log_place place;
    assert_false(rh_log_end(folder, &place, &error));
    rh_error_clear(&error);
    assert_null(rh_log_new(path, &(rh_log_options){.match = "("}, &error));
    assert_string_equal(error.code, "pattern");
    rh_error_clear(&error);
    assert_null(rh_log_new(path, &(rh_log_options){.match = "a", .except = "[z"}, &error));
    rh_error_clear(&error);
    const atomic_bool stop = true;
    append(path, "x\n");
    rh_log *log = scanner("x", NULL);
    assert_false(rh_log_advance(log, &stop, &error));
    assert_string_equal(error.code, "cancelled");
    rh_error_clear(&error);
    rh_log_release(log);
}

static void the_worst_second(void **state)
{
    (void)state;
    unlink(path);
    append(path,
           "2026-11-20T12:00:00.000Z x\n2026-11-20T12:00:00.900Z x\n2026-11-20T12:00:00.999Z x\n"
           "2026-11-20T12:00:01.000Z x\n2026-11-20T12:00:00.500Z x, of another writer\n");
    rh_log *log = scanner("x", NULL);
    assert_int_equal(count(log), 5);
    assert_int_equal(rh_log_results(log)->peak, 4);
    assert_int_equal(rh_log_results(log)->peak_ms, NOON + 1000);
    rh_log_release(log);
}

enum { ROTATED = 6 };

static void rotated_name(char *name, size_t size, int number)
{
    snprintf(name, size, "%s.%d", path, number);
}

/* app.log.1 becomes app.log.2 and so on; then app.log is renamed, or copied and truncated. */
static void rotate(int *rotated_files, bool copy)
{
    char from[80], to[80], text[4096];
    for (int i = *rotated_files; i > 0; i--) {
        rotated_name(from, sizeof from, i);
        rotated_name(to, sizeof to, i + 1);
        assert_int_equal(rename(from, to), 0);
    }
    ++*rotated_files;
    rotated_name(to, sizeof to, 1);
    if (!copy) {
        assert_int_equal(rename(path, to), 0);
        append(path, "");
        return;
    }
    FILE *in = fopen(path, "r+");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    append(to, text);
    assert_int_equal(ftruncate(fileno(in), 0), 0);
    assert_int_equal(fclose(in), 0);
}

static void assert_counts(rh_log *log, int64_t expected, int round)
{
    const int64_t found = count(log);
    if (found != expected || rh_log_results(log)->gap)
        fail_msg("round %d: %lld lines, not %lld%s", round, (long long)found, (long long)expected,
                 rh_log_results(log)->gap ? ", and a gap" : "");
}

/* A scanner that has read on all the time, and ones that begin at a mark now, count the same. */
static void whatever_rotation_does(void **state)
{
    (void)state;
    unsigned seed = 7;
    rh_error error = {0};
    for (int round = 0; round < 60; round++) {
        rh_log_place marks[4];
        int64_t at[4] = {0}, written = 0;
        int rotated_files = 0, taken = 1;
        unlink(path);
        append(path, round % 3 ? "what was there before\n" : "");
        assert_true(rh_log_end(path, &marks[0], &error));
        rh_log *live = scanner("x", &marks[0]);
        for (int i = 0; i < 40; i++) {
            const int what = rand_r(&seed) % 8;
            if (what < 4) {
                append(path, "x\n");
                written++;
            } else if (what == 4 && rotated_files < ROTATED) {
                rotate(&rotated_files, round % 2);
            } else if (what == 5 && taken < 4) {
                assert_true(rh_log_end(path, &marks[taken], &error));
                at[taken++] = written;
            } else if (what == 6) {
                assert_counts(live, written, round);
            } else {
                const int mark = rand_r(&seed) % taken;
                rh_log *fresh = scanner("x", &marks[mark]);
                assert_counts(fresh, written - at[mark], round);
                rh_log_release(fresh);
            }
        }
        rh_log_release(live);
        for (char name[80]; rotated_files > 0; rotated_files--) {
            rotated_name(name, sizeof name, rotated_files);
            unlink(name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_say_when),    cmocka_unit_test(a_file_that_comes_later),
        cmocka_unit_test(a_line_that_never_ends), cmocka_unit_test(renamed_with_an_unended_line),
        cmocka_unit_test(the_worst_second),       cmocka_unit_test(a_reused_inode_is_another_file),
        cmocka_unit_test(what_is_no_log),         cmocka_unit_test(whatever_rotation_does),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
