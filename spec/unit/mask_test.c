#include "core/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECRET "p4ss/w\"ö'&d <+>"
#define SHOWN "‹secret DB›"

static rh_mask *one(const char *name, const char *value)
{
    rh_mask *mask = rh_mask_new();
    assert_true(rh_mask_add(mask, name, value, strlen(value)));
    return mask;
}

static void expect_text(const rh_mask *mask, const char *text, const char *masked)
{
    rh_buffer out = {0};
    bool replaced = rh_mask_text(mask, text, strlen(text), &out);
    assert_string_equal(out.data, masked);
    assert_int_equal(replaced, strcmp(text, masked) != 0);
    rh_buffer_free(&out);
}

/* The same text through a stream, split at each byte, and byte by byte. */
static void expect_split(const rh_mask *mask, const char *text, const char *masked)
{
    size_t size = strlen(text);
    expect_text(mask, text, masked);
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    for (size_t split = 0; split <= size; split++) {
        rh_buffer out = {0};
        rh_mask_stream_feed(stream, text, split, &out);
        rh_mask_stream_feed(stream, text + split, size - split, &out);
        rh_mask_stream_end(stream, &out);
        assert_string_equal(out.data, masked);
        rh_buffer_free(&out);
    }
    rh_buffer out = {0};
    for (size_t i = 0; i < size; i++)
        rh_mask_stream_feed(stream, text + i, 1, &out);
    rh_mask_stream_end(stream, &out);
    assert_string_equal(out.data, masked);
    rh_buffer_free(&out);
    rh_mask_stream_free(stream);
}

static void test_encodings(void **state)
{
    (void)state;
    static const char *const forms[] = {
        SECRET,
        "p4ss%2Fw%22%C3%B6%27%26d%20%3C%2B%3E", /* RFC 3986 */
        "p4ss%2fw%22%c3%b6%27%26d%20%3c%2b%3e",
        "p4ss%2Fw%22%C3%B6%27%26d+%3C%2B%3E", /* form */
        "p4ss%2Fw%22%C3%B6'%26d%20%3C%2B%3E", /* encodeURIComponent */
        "p4ss/w%22%C3%B6'&d%20%3C+%3E",       /* encodeURI */
        "p4ss/w\\\"ö'&d <+>",                 /* JSON */
        "p4ss\\/w\\\"ö'&d <+>",
        "p4ss/w\\\"\\u00f6'&d <+>",
        "p4ss\\/w\\\"\\u00F6'&d <+>",
        "p4ss/w\\\"ö'\\u0026d \\u003c+\\u003e", /* Go */
        "p4ss/w\\\"ö\\u0027\\u0026d \\u003c+\\u003e",
        "p4ss/w\\\\\\\"ö'&d <+>", /* JSON in JSON */
        "p4ss/w\"ö'\\''&d <+>",   /* shell */
        "p4ss/w\"ö'\"'\"'&d <+>",
        "p4ss/w\\\"ö'&d <+>",
        "p4ss/w\\\"ö\\'\\&d\\ \\<+\\>",
        "p4ss/w\"ö''&d <+>",                  /* SQL */
        "p4ss/w\"\"ö'&d <+>",                 /* CSV */
        "p4ss/w\\\"ö\\'&d <+>",               /* MySQL */
        "p4ss/w&quot;ö&#39;&amp;d &lt;+&gt;", /* HTML */
        "p4ss/w\\x22\\xC3\\xB6'&d <+>",       /* nginx's log */
        "703473732f7722c3b627266420"
        "3c2b3e", /* hex */
        "703473732F7722C3B627266420"
        "3C2B3E",
    };
    rh_mask *mask = one("DB", SECRET);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *text = rh_format("a \"%s\" z", forms[i]);
        expect_split(mask, text, "a \"" SHOWN "\" z");
        free(text);
    }
    rh_mask_free(mask);
}

static void base64(const char *text, const char *digits, char *out)
{
    size_t size = strlen(text), at = 0;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (i + k < size ? (unsigned char)text[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            out[at++] = i + k <= size ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    out[at] = '\0';
}

static void test_base64_at_every_offset(void **state)
{
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static const char secret[] = "s\xffk\xfe-?\xfb~>and more";
    rh_mask *mask = one("DB", secret);
    for (size_t before = 0; before < 6; before++)
        for (size_t after = 0; after < 4; after++)
            for (int alphabet = 0; alphabet < 2; alphabet++) {
                char plain[64] = "", encoded[128];
                memset(plain, 'u', before);
                strcat(plain, secret);
                memset(plain + strlen(plain), 'v', after);
                base64(plain, alphabet ? url : digits, encoded);
                rh_buffer out = {0};
                assert_true(rh_mask_text(mask, encoded, strlen(encoded), &out));
                /* What may stay: the digits shared with a neighbour, and those of the neighbours. */
                const char *shown = strstr(out.data, SHOWN);
                assert_non_null(shown);
                assert_true((size_t)(shown - out.data) <= (before * 8 + 5) / 6);
                assert_true(strlen(shown + strlen(SHOWN)) <= (after * 8 + 7) / 6 + 3);
                rh_buffer_free(&out);
            }
    rh_mask_free(mask);
}

/* Base64 and hex of a text with the secret in it, in lines of every width, with every end of line, at every split. */
static void test_wrapped(void **state)
{
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char *const ends[] = {"\n", "\r\n", "\\n", "\\r\\n"};
    rh_mask *mask = one("DB", "correct horse?>~");
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    for (size_t before = 0; before < 3; before++)
        for (size_t width = 2; width < 30; width++)
            for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
                char plain[64], encoded[128];
                snprintf(plain, sizeof plain, "%.*scorrect horse?>~", (int)before, "xyz");
                base64(plain, digits, encoded);
                rh_buffer wrapped = {0}, out = {0}, split = {0};
                for (size_t i = 0; i < strlen(encoded); i += width)
                    rh_buffer_addf(&wrapped, "%s%.*s", i ? ends[e] : "", (int)width, encoded + i);
                assert_true(rh_mask_text(mask, wrapped.data, wrapped.size, &out));
                const char *shown = strstr(out.data, SHOWN);
                assert_non_null(shown);
                const char *rest = shown + strlen(SHOWN); /* padding, ends of lines */
                assert_int_equal(strspn(rest, "=\\nr\r\n"), strlen(rest));
                for (size_t i = 0; i < wrapped.size; i++)
                    rh_mask_stream_feed(stream, wrapped.data + i, 1, &split);
                rh_mask_stream_end(stream, &split);
                assert_string_equal(split.data, out.data);
                rh_buffer_free(&wrapped);
                rh_buffer_free(&out);
                rh_buffer_free(&split);
            }
    rh_mask_stream_free(stream);
    expect_split(mask, "636f727265637420686f7273653f\n3e7e", SHOWN);
    expect_split(mask, "6\n36f7\n27265637420686f7273653f3e7e.", SHOWN ".");
    expect_split(mask, "636f727265637420\n\n686f7273653f3e7e",
                 "636f727265637420\n\n686f7273653f3e7e");
    expect_split(mask, "636f727265637420\\", "636f727265637420\\");
    rh_mask_free(mask);
}

static void test_multi_line(void **state)
{
    (void)state;
    rh_mask *mask =
        one("KEY", "-----BEGIN KEY-----\nabcdefgh\n  ijkl \nmnopqrstuv\n-----END KEY-----\n");
    expect_split(mask, "x abcdefgh y mnopqrstuv z", "x ‹secret KEY› y ‹secret KEY› z");
    expect_split(mask, "-----BEGIN KEY-----\nabcdefgh\n  ijkl \nmnopqrstuv\n-----END KEY-----\n.",
                 "‹secret KEY›.");
    expect_split(mask, "-----BEGIN KEY-----\\nabcdefgh\\n  ijkl \\nmnopqrstuv\\n-----END KEY-----.",
                 "‹secret KEY›.");
    expect_split(mask, "-----BEGIN KEY-----\nother\n-----END KEY-----",
                 "-----BEGIN KEY-----\nother\n-----END KEY-----");
    rh_mask_free(mask);
}

static void test_value_with_its_newline(void **state)
{
    (void)state;
    rh_mask *mask = one("F", "hunter22/x\n");
    expect_split(mask, "u:hunter22/x@h u:hunter22%2Fx@h", "u:‹secret F›@h u:‹secret F›@h");
    rh_mask_free(mask);
}

static void test_overlap_and_prefix(void **state)
{
    (void)state;
    rh_mask *mask = one("A", "abcdefgh");
    assert_true(rh_mask_add(mask, "B", "efghijkl", 8));
    assert_true(rh_mask_add(mask, "LONG", "abcdefgh-and-on", 15));
    expect_split(mask, "-abcdefgh-", "-‹secret A›-");
    expect_split(mask, "-abcdefghijkl-", "-‹secret A›‹secret B›-");
    expect_split(mask, "-abcdefgh-and-on-", "-‹secret LONG›-");
    expect_split(mask, "-abcdefgh-and-o", "-‹secret A›-and-o");
    expect_split(mask, "abcdefghabcdefgh", "‹secret A›‹secret A›");
    expect_split(mask, "abcdefg abcdefg", "abcdefg abcdefg");
    rh_mask_free(mask);
}

static void test_short_and_twice(void **state)
{
    (void)state;
    rh_mask *mask = rh_mask_new();
    assert_true(rh_mask_is_empty(mask));
    assert_false(rh_mask_add(mask, "S", "12345", 5));
    assert_true(rh_mask_is_empty(mask));
    expect_text(mask, "12345", "12345");
    assert_true(rh_mask_add(mask, "S", "123456", 6));
    unsigned generation = rh_mask_generation(mask);
    assert_true(rh_mask_add(mask, "T", "123456", 6));
    assert_int_equal(rh_mask_generation(mask), generation);
    expect_split(mask, "123456", "‹secret S›");
    rh_mask_free(mask);
}

static void test_basic(void **state)
{
    (void)state;
    rh_mask *mask = rh_mask_new();
    assert_true(rh_mask_add_basic(mask, "P", "bob", "pa55word", 8));
    expect_split(mask, "Basic Ym9iOnBhNTV3b3Jk", "Basic ‹secret P›");
    expect_text(mask, "pa55word", "pa55word");
    rh_mask_free(mask);
}

static void count(void *data, const char *name, const char *user, const char *value, size_t size)
{
    assert_string_equal(name, "A");
    assert_int_equal(size, 6);
    assert_memory_equal(value, "x\0yzab", 6);
    *(int *)data += user ? 10 : 1;
}

static void test_each_and_binary_values(void **state)
{
    (void)state;
    rh_mask *mask = rh_mask_new();
    assert_true(rh_mask_add(mask, "A", "x\0yzab", 6));
    assert_true(rh_mask_add_basic(mask, "A", "u", "x\0yzab", 6));
    int seen = 0;
    rh_mask_each(mask, count, &seen);
    assert_int_equal(seen, 11);
    rh_buffer out = {0};
    assert_true(rh_mask_text(mask, "1x\0yzab2", 8, &out));
    assert_string_equal(out.data, "1‹secret A›2");
    rh_buffer_free(&out);
    rh_mask_free(mask);
}

static void test_grows_while_a_stream_is_open(void **state)
{
    (void)state;
    rh_mask *mask = rh_mask_new();
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    rh_buffer out = {0};
    rh_mask_stream_feed(stream, "token-one ", 10, &out);
    assert_true(rh_mask_add(mask, "T", "token-one", 9));
    rh_mask_stream_feed(stream, "token-one ", 10, &out);
    rh_mask_stream_end(stream, &out);
    assert_string_equal(out.data, "token-one ‹secret T› ");
    rh_buffer_free(&out);
    rh_mask_stream_free(stream);
    rh_mask_free(mask);
}

/* Only what may be a secret's beginning is held back: a prompt appears at once. */
static void test_holds_back_no_more_than_it_must(void **state)
{
    (void)state;
    rh_mask *mask = one("A", "abcdefgh");
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    rh_buffer out = {0};
    rh_mask_stream_feed(stream, "Continue? [y/n] ", 16, &out);
    assert_string_equal(out.data, "Continue? [y/n] ");
    rh_mask_stream_feed(stream, "abc", 3, &out);
    assert_int_equal(out.size, 16);
    rh_mask_stream_feed(stream, "x", 1, &out);
    assert_string_equal(out.data, "Continue? [y/n] abcx");
    rh_buffer_free(&out);
    rh_mask_stream_free(stream);
    rh_mask_free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_base64_at_every_offset),
        cmocka_unit_test(test_wrapped),
        cmocka_unit_test(test_multi_line),
        cmocka_unit_test(test_value_with_its_newline),
        cmocka_unit_test(test_overlap_and_prefix),
        cmocka_unit_test(test_short_and_twice),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_each_and_binary_values),
        cmocka_unit_test(test_grows_while_a_stream_is_open),
        cmocka_unit_test(test_holds_back_no_more_than_it_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
