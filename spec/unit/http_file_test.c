/* What http streams through, counts in and refuses: files, durations, addresses. */
#include "modules/http/address.h"
#include "modules/http/file.h"
#include "modules/http/histogram.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 1300000 }; /* more than two chunks */

static char *folder;
static unsigned called;

static void count(void *data)
{
    (void)data;
    called++;
}

static char *path_of(const char *name) { return rh_format("%s/%s", folder, name); }

/* Fills a file with bytes that tell where they stand. */
static char *make_file(const char *name, size_t size)
{
    char *path = path_of(name), *bytes = rh_alloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + i / 4096);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
    free(bytes);
    return path;
}

static void await_call(void)
{
    unsigned before = called;
    while (called == before)
        uv_run(rh_loop(), UV_RUN_ONCE);
}

/* Takes `most` bytes, or all. */
static rh_buffer take_all(rh_http_file *file, size_t most)
{
    rh_buffer taken = {0};
    char piece[70000];
    for (;;) {
        size_t room = most - taken.size < sizeof piece ? most - taken.size : sizeof piece;
        int64_t got = room > 0 ? rh_http_file_take(file, piece, room) : 0;
        if (got == RH_HTTP_LATER)
            await_call();
        else if (got <= 0)
            return taken;
        else
            rh_buffer_add(&taken, piece, (size_t)got);
    }
}

static void drain(void)
{
    while (uv_run(rh_loop(), UV_RUN_NOWAIT) != 0) {
    }
}

static unsigned count_files(void)
{
    unsigned files = 0;
    DIR *list = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(list));)
        files += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(list);
    return files;
}

static int setup(void **state)
{
    called = 0;
    int status = folder_make(state);
    folder = *state;
    return status;
}

static int teardown(void **state)
{
    drain();
    return folder_remove(state);
}

/* ---- a source ---- */

static void gives_a_part_and_its_digest(void **state)
{
    (void)state;
    rh_error error = {0};
    char *path = make_file("f", LARGE), whole[RH_SHA256_HEX], part[RH_SHA256_HEX];
    rh_http_file *file = rh_http_source(path, 0, -1, count, NULL, &error);
    assert_non_null(file);
    rh_buffer all = take_all(file, LARGE * 2);
    assert_int_equal(all.size, LARGE);
    rh_http_file_digest(file, whole);
    rh_http_file_close(file);

    file = rh_http_source(path, 1000, 600000, count, NULL, &error);
    rh_http_file_hash(file, count);
    await_call();
    rh_http_file_digest(file, part);
    rh_http_file_rewind(file);
    rh_buffer some = take_all(file, LARGE);
    assert_int_equal(some.size, 600000);
    assert_memory_equal(some.data, all.data + 1000, some.size);
    char again[RH_SHA256_HEX], expected[RH_SHA256_HEX];
    rh_http_file_digest(file, again);
    rh_sha256_hex(all.data + 1000, 600000, expected);
    assert_string_equal(part, expected);
    assert_string_equal(again, expected);
    rh_http_file_close(file);
    rh_sha256_hex(all.data, all.size, expected);
    assert_string_equal(whole, expected);
    rh_buffer_free(&all);
    rh_buffer_free(&some);
    free(path);
}

static void begins_again_wherever_it_was(void **state)
{
    (void)state;
    rh_error error = {0};
    char *path = make_file("f", LARGE), digest[RH_SHA256_HEX], expected[RH_SHA256_HEX];
    const size_t points[] = {0, 1, 100000, 524288, 600000, LARGE};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        rh_http_file *file = rh_http_source(path, 0, -1, count, NULL, &error);
        rh_buffer some = take_all(file, points[i]);
        rh_http_file_rewind(file); /* the pool may be reading ahead just now */
        rh_buffer all = take_all(file, LARGE * 2);
        assert_int_equal(all.size, LARGE);
        if (some.size > 0)
            assert_memory_equal(all.data, some.data, some.size);
        rh_http_file_digest(file, digest);
        rh_sha256_hex(all.data, all.size, expected);
        assert_string_equal(digest, expected);
        rh_http_file_close(file);
        rh_buffer_free(&some);
        rh_buffer_free(&all);
    }
    free(path);
}

static void notices_that_a_file_shrinks(void **state)
{
    (void)state;
    rh_error error = {0};
    char *path = make_file("f", LARGE);
    rh_http_file *file = rh_http_source(path, 0, -1, count, NULL, &error);
    assert_int_equal(truncate(path, 1000), 0);
    rh_buffer some = take_all(file, LARGE);
    assert_string_equal(rh_http_file_error(file)->code, "changed");
    rh_http_file_close(file);
    rh_buffer_free(&some);
    free(path);
}

static void can_be_let_go_while_it_reads(void **state)
{
    (void)state;
    rh_error error = {0};
    char *path = make_file("f", LARGE), byte;
    rh_http_file *file = rh_http_source(path, 0, -1, count, NULL, &error);
    assert_int_equal(rh_http_file_take(file, &byte, 1), RH_HTTP_LATER);
    rh_http_file_close(file);
    file = rh_http_source(path, 0, -1, count, NULL, &error);
    rh_http_file_hash(file, count);
    rh_http_file_close(file);
    drain();
    assert_int_equal(called, 0);
    free(path);
}

/* ---- a sink ---- */

static void give_all(rh_http_file *file, const char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t piece = size - at < 16384 ? size - at : 16384;
        int64_t given = rh_http_file_give(file, bytes + at, piece);
        if (given == RH_HTTP_BROKEN)
            return;
        if (given == RH_HTTP_LATER)
            await_call();
        else
            at += (size_t)given;
    }
}

static void puts_a_file_into_its_place(void **state)
{
    (void)state;
    rh_error error = {0};
    char *from = make_file("from", LARGE), *to = path_of("to"), digest[RH_SHA256_HEX];
    rh_http_file *source = rh_http_source(from, 0, -1, count, NULL, &error);
    rh_buffer all = take_all(source, LARGE * 2);
    rh_http_file_digest(source, digest);
    rh_http_file_close(source);
    for (int right = 0; right < 2; right++) {
        rh_http_file *file = rh_http_sink(to, NULL, 0640, count, NULL, &error);
        give_all(file, all.data, all.size);
        assert_int_equal(access(to, F_OK), -1);
        char wrong[RH_SHA256_HEX] = {0};
        memset(wrong, 'a', 64);
        rh_http_file_finish(file, right ? digest : wrong, count);
        await_call();
        assert_int_equal(rh_error_is_set(rh_http_file_error(file)), !right);
        assert_int_equal(rh_http_file_bytes(file), LARGE);
        rh_http_file_close(file);
    }
    struct stat there;
    assert_int_equal(stat(to, &there), 0);
    assert_int_equal(there.st_size, LARGE);
    assert_int_equal(there.st_mode & 0777, 0640);
    assert_int_equal(count_files(), 2);
    rh_buffer_free(&all);
    free(from);
    free(to);
}

static void leaves_nothing_when_it_is_let_go(void **state)
{
    (void)state;
    rh_error error = {0};
    char *to = path_of("to"), *bytes = rh_alloc(LARGE);
    rh_http_file *file = rh_http_sink(to, NULL, -1, count, NULL, &error);
    give_all(file, bytes, 600000); /* the pool writes now */
    rh_http_file_close(file);
    drain();
    assert_int_equal(count_files(), 0);
    free(bytes);
    free(to);
}

static void begins_again_while_the_first_is_written(void **state)
{
    (void)state;
    rh_error error = {0};
    char *to = path_of("to"), *bytes = rh_alloc(LARGE), digest[RH_SHA256_HEX];
    rh_sha256_hex(bytes, LARGE, digest);
    rh_http_file *first = rh_http_sink(to, "mark", -1, count, NULL, &error);
    memset(bytes, 'x', LARGE);
    give_all(first, bytes, 600000); /* the pool writes now */
    rh_http_file_close(first);
    memset(bytes, 0, LARGE);
    rh_http_file *second = rh_http_sink(to, "mark", -1, count, NULL, &error);
    assert_non_null(second);
    give_all(second, bytes, LARGE);
    rh_http_file_finish(second, digest, count);
    await_call();
    assert_false(rh_error_is_set(rh_http_file_error(second)));
    rh_http_file_close(second);
    rh_http_file *source = rh_http_source(to, 0, -1, count, NULL, &error);
    char there[RH_SHA256_HEX];
    rh_http_file_hash(source, count);
    await_call();
    rh_http_file_digest(source, there);
    assert_string_equal(there, digest);
    rh_http_file_close(source);
    assert_int_equal(count_files(), 1);
    free(bytes);
    free(to);
}

static void says_that_nothing_more_fits(void **state)
{
    (void)state;
    rh_error error = {0};
    struct rlimit before, small;
    char *to = path_of("to"), *bytes = rh_alloc(LARGE);
    assert_null(rh_http_sink("/dev/full", NULL, -1, count, NULL, &error));
    assert_string_equal(error.code, "io");
    rh_error_clear(&error);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    for (int large = 0; large < 2; large++) { /* noticed at the end, and on the way */
        rh_http_file *file = rh_http_sink(to, NULL, -1, count, NULL, &error);
        give_all(file, bytes, large ? LARGE : 200000);
        if (!rh_error_is_set(rh_http_file_error(file))) {
            rh_http_file_finish(file, NULL, count);
            await_call();
        }
        assert_string_equal(rh_http_file_error(file)->code, "io");
        rh_http_file_close(file);
    }
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(count_files(), 0);
    free(bytes);
    free(to);
}

/* ---- durations ---- */

static void tells_percentiles(void **state)
{
    (void)state;
    rh_http_histogram *histogram = rh_alloc(sizeof *histogram);
    assert_int_equal(rh_http_histogram_at(histogram, .5), 0);
    for (int64_t us = 1; us <= 1000000; us++)
        rh_http_histogram_add(histogram, us, 1);
    const double shares[] = {.01, .5, .9, .99, .999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double found = (double)rh_http_histogram_at(histogram, shares[i]), right = shares[i] * 1e6;
        assert_true(found >= right && found <= right * 1.008);
    }
    assert_int_equal(rh_http_histogram_at(histogram, 1), 1000000);
    assert_int_equal(histogram->min, 1);
    assert_true(histogram->sum / 1e6 == 500000.5);
    rh_http_histogram_add(histogram, INT64_MAX, 1);
    rh_http_histogram_add(histogram, -5, 1);
    assert_int_equal(histogram->count, 1000002);
    for (unsigned i = 1; i < RH_HTTP_BUCKETS; i++)
        assert_true(rh_http_histogram_upper(i) > rh_http_histogram_upper(i - 1));
    free(histogram);
}

/* ---- addresses ---- */

static void knows_private_addresses(void **state)
{
    (void)state;
    static const char *const private[] = {
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.19.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::ffff:7f00:1",
        "/run/docker.sock",
        "",
    };
    static const char *const public[] = {
        "1.1.1.1",     "172.15.0.1",       "172.32.0.1",      "100.63.0.1", "100.128.0.1",
        "169.253.0.1", "192.167.0.1",      "223.255.255.255", "11.0.0.1",   "2606:4700:4700::1111",
        "2002:101::",  "64:ff9b::101:101", "::ffff:1.1.1.1",
    };
    for (size_t i = 0; i < sizeof private / sizeof *private; i++)
        assert_true(rh_http_text_is_private(private[i]));
    for (size_t i = 0; i < sizeof public / sizeof *public; i++)
        assert_false(rh_http_text_is_private(public[i]));
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_a_part_and_its_digest),
        TEST(begins_again_wherever_it_was),
        TEST(notices_that_a_file_shrinks),
        TEST(can_be_let_go_while_it_reads),
        TEST(puts_a_file_into_its_place),
        TEST(leaves_nothing_when_it_is_let_go),
        TEST(begins_again_while_the_first_is_written),
        TEST(says_that_nothing_more_fits),
        TEST(tells_percentiles),
        TEST(knows_private_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
