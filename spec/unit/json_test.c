#include "core/json.h"
#include "core/mask.h"
#include "core/secret.h"

#include <float.h>
#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_state(void **state)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    rh_secret_open(L);
    rh_json_null(L);
    lua_setglobal(L, "null");
    *state = L;
    return 0;
}

static int close_state(void **state)
{
    lua_close(*state);
    return 0;
}

/* Encodes the value of a Lua expression. */
static char *encoded(lua_State *L, const char *expression, unsigned flags, rh_error *error)
{
    lua_pushfstring(L, "return %s", expression);
    assert_int_equal(luaL_dostring(L, lua_tostring(L, -1)), LUA_OK);
    rh_buffer out = {0};
    bool ok = rh_json_encode(L, -1, &out, flags, error);
    assert_int_equal(ok, !rh_error_is_set(error));
    lua_settop(L, 0);
    return rh_buffer_take(&out);
}

static void assert_encodes(lua_State *L, const char *expression, unsigned flags,
                           const char *expected)
{
    rh_error error = {0};
    char *text = encoded(L, expression, flags, &error);
    if (rh_error_is_set(&error))
        fail_msg("%s: %s", expression, error.message);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_refused(lua_State *L, const char *expression, unsigned flags,
                           const char *expected)
{
    rh_error error = {0};
    char *text = encoded(L, expression, flags, &error);
    assert_string_equal(text, ""); /* nothing half-written stays behind */
    free(text);
    assert_true(rh_error_is_set(&error));
    if (!strstr(error.message, expected))
        fail_msg("%s: %s", expression, error.message);
    assert_string_equal(error.code, "json");
    rh_error_clear(&error);
}

static void push_decoded(lua_State *L, const char *text, size_t size, unsigned flags)
{
    rh_error error = {0};
    int top = lua_gettop(L);
    if (!rh_json_decode(L, text, size, flags, &error))
        fail_msg("%s: %s", text, error.message);
    assert_int_equal(lua_gettop(L), top + 1);
}

/* What is encoded for the journal is the same value after decoding, and the same text after that. */
static void assert_round_trip(lua_State *L, const char *expression)
{
    rh_error error = {0};
    char *text = encoded(L, expression, RH_JSON_JOURNAL, &error);
    if (rh_error_is_set(&error))
        fail_msg("%s: %s", expression, error.message);
    push_decoded(L, text, strlen(text), RH_JSON_JOURNAL);
    rh_buffer again = {0};
    assert_true(rh_json_encode(L, -1, &again, RH_JSON_JOURNAL, &error));
    assert_string_equal(again.data, text);
    rh_buffer_free(&again);
    free(text);
    lua_settop(L, 0);
}

static void numbers_keep_their_type_and_value(void **state)
{
    lua_State *L = *state;
    assert_encodes(L, "5000", 0, "5000");
    assert_encodes(L, "5000.0", 0, "5000.0");
    assert_encodes(L, "9007199254740993", 0, "9007199254740993"); /* 2^53+1 */
    assert_encodes(L, "math.mininteger", 0, "-9223372036854775808");
    assert_encodes(L, "0.1", 0, "0.1");
    assert_encodes(L, "0.1+0.2", 0, "0.30000000000000004");
    assert_encodes(L, "-0.0", 0, "-0.0");
    assert_encodes(L, "1e300", 0, "1e+300");
    push_decoded(L, "9007199254740993", 16, 0);
    assert_true(lua_isinteger(L, -1));
    assert_true(lua_tointeger(L, -1) == 9007199254740993);
    push_decoded(L, "5000.0", 6, 0);
    assert_false(lua_isinteger(L, -1));
    push_decoded(L, "-0.0", 4, 0);
    assert_true(signbit(lua_tonumber(L, -1)));
    const double values[] = {0.1 + 0.2, DBL_MIN, DBL_MAX,           5e-324,
                             1.0 / 3,   2e22,    9007199254740993.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        rh_buffer text = {0};
        lua_settop(L, 0);
        lua_pushnumber(L, values[i]);
        assert_true(rh_json_encode(L, -1, &text, 0, NULL));
        push_decoded(L, text.data, text.size, 0);
        assert_false(lua_isinteger(L, -1));
        assert_true(lua_tonumber(L, -1) == values[i]);
        rh_buffer_free(&text);
    }
}

static void integers_beyond_64_bits_become_floats(void **state)
{
    lua_State *L = *state;
    const char text[] =
        "[18446744073709551616, \"18446744073709551616\\\"\", 9223372036854775807, 1.5]";
    push_decoded(L, text, sizeof text - 1, 0);
    lua_rawgeti(L, -1, 1);
    assert_true(lua_tonumber(L, -1) == 18446744073709551616.0);
    lua_rawgeti(L, -2, 2);
    assert_string_equal(lua_tostring(L, -1), "18446744073709551616\"");
    lua_rawgeti(L, -3, 3);
    assert_true(lua_isinteger(L, -1));
}

static void the_journal_keeps_what_json_cannot(void **state)
{
    lua_State *L = *state;
    assert_encodes(L, "1/0", RH_JSON_JOURNAL, "{\"$float\":\"inf\"}");
    assert_encodes(L, "-1/0", RH_JSON_JOURNAL, "{\"$float\":\"-inf\"}");
    assert_encodes(L, "'\\xff\\x00'", RH_JSON_JOURNAL, "{\"$bytes\":\"/wA=\"}");
    assert_encodes(L, "{['$bytes']='x'}", RH_JSON_JOURNAL, "{\"$table\":{\"$bytes\":\"x\"}}");
    assert_round_trip(L, "{1/0, -1/0, '\\xff\\xfe', 'a\\0b', -0.0, null, {}, {{}}, true}");
    assert_round_trip(L,
                      "{a={['$bytes']='x'}, b={['$table']={['$float']='inf'}}, c={['$x']=1, y=2}}");
    push_decoded(L, "{\"$float\":\"nan\"}", 16, RH_JSON_JOURNAL);
    assert_true(isnan(lua_tonumber(L, -1)));
    assert_refused(L, "1/0", 0, "inf or nan");
    assert_refused(L, "{ a = '\\xff' }", 0, ".a is a string that is not UTF-8");
    rh_error error = {0};
    assert_false(rh_json_decode(L, "{\"$later\":1}", 12, RH_JSON_JOURNAL, &error));
    assert_non_null(strstr(error.message, "$later"));
    rh_error_clear(&error);
}

static void arrays_and_tables_stay_apart(void **state)
{
    lua_State *L = *state;
    assert_encodes(L, "{}", 0, "{}");
    assert_encodes(L, "{1,2,3}", 0, "[1,2,3]");
    push_decoded(L, "{\"a\":[],\"b\":{}}", 15, 0);
    rh_buffer text = {0};
    assert_true(rh_json_encode(L, -1, &text, 0, NULL));
    assert_string_equal(text.data, "{\"a\":[],\"b\":{}}");
    rh_buffer_free(&text);
}

static void keys_are_sorted_bytewise(void **state)
{
    lua_State *L = *state;
    assert_encodes(L, "{b=1, a=2, B=3, aa=4, ['ä']=5, [' ']=6}", 0,
                   "{\" \":6,\"B\":3,\"a\":2,\"aa\":4,\"b\":1,\"ä\":5}");
    assert_encodes(L, "{a={1}}", RH_JSON_PRETTY, "{\n  \"a\": [\n    1\n  ]\n}");
}

static void strings_are_escaped(void **state)
{
    lua_State *L = *state;
    assert_encodes(L, "'\"\\\\\\n\\t\\0\\x01\\x7f/ü'", 0,
                   "\"\\\"\\\\\\n\\t\\u0000\\u0001\\u007f/ü\"");
    rh_buffer out = {0};
    rh_json_quote(&out, "a\xff\xc3", 3);
    assert_string_equal(out.data, "\"a\\ufffd\\ufffd\"");
    rh_buffer_free(&out);
    /* overlong, surrogate, beyond U+10FFFF, cut off */
    const char *wrong[] = {"\\xc0\\xaf", "\\xed\\xa0\\x80", "\\xf4\\x90\\x80\\x80", "\\xe2\\x82"};
    for (size_t i = 0; i < 4; i++) {
        char expression[40];
        snprintf(expression, sizeof expression, "'%s'", wrong[i]);
        assert_refused(L, expression, 0, "UTF-8");
    }
}

static void errors_name_the_path(void **state)
{
    lua_State *L = *state;
    assert_refused(L, "{ rows = { {}, {}, { name = print } } }", 0, ".rows[3].name is a function");
    assert_refused(L, "{ a = 1, [1] = 2 }", 0, "mixed keys");
    assert_refused(L, "{ a = { 1, nil, 3 } }", 0, ".a is a list with holes");
    assert_refused(L, "{ [1.5] = 1 }", 0, "mixed keys");
    assert_refused(L, "(function() local t = {} t.t = t return t end)()", 0, "contains itself");
    assert_refused(L, "io.stdout", 0, "the value is a userdata");
    assert_refused(L, "{ ['\\xff'] = 1 }", RH_JSON_JOURNAL, "key");
}

static void nesting_is_limited_both_ways(void **state)
{
    lua_State *L = *state;
    char text[302];
    for (int depth = 99; depth <= 102; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        bool ok = rh_json_decode(L, text, (size_t)depth * 2, 0, NULL);
        assert_int_equal(ok, depth <= RH_JSON_MAX_DEPTH);
        if (ok) {
            rh_buffer out = {0};
            assert_true(rh_json_encode(L, -1, &out, 0, NULL));
            assert_int_equal(out.size, depth * 2);
            rh_buffer_free(&out);
        }
        lua_settop(L, 0);
    }
    char *deep = malloc(100000);
    memset(deep, '[', 100000);
    assert_false(rh_json_decode(L, deep, 100000, 0, NULL));
    free(deep);
}

static void bad_text_is_refused_with_its_place(void **state)
{
    lua_State *L = *state;
    const char *wrong[] = {"",        "{",  "[1,]", "{\"a\":1,}", "nul",
                           "\"\\x\"", "01", "1 2",  "\"\xff\"",   "NaN"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rh_error error = {0};
        assert_false(rh_json_decode(L, wrong[i], strlen(wrong[i]), 0, &error));
        assert_non_null(strstr(error.message, "line 1"));
        assert_int_equal(lua_gettop(L), 0);
        rh_error_clear(&error);
    }
}

static void secrets_are_kept_by_name(void **state)
{
    lua_State *L = *state;
    rh_error error = {0};
    assert_true(rh_secret_push(L, "TOKEN", "s3cr3t-value", 12, &error));
    lua_setglobal(L, "token");
    assert_encodes(L, "{t=token}", RH_JSON_JOURNAL, "{\"t\":{\"$secret\":[{\"name\":\"TOKEN\"}]}}");
    assert_encodes(L, "'Bearer '..token..1", RH_JSON_JOURNAL,
                   "{\"$secret\":[\"Bearer \",{\"name\":\"TOKEN\"},\"1\"]}");
    assert_encodes(L, "{'x'..token}", RH_JSON_REVEAL, "[\"xs3cr3t-value\"]");
    assert_refused(L, "{t=token}", 0, ".t is a secret");
    assert_round_trip(L, "{token, 'a'..token..'b'..token}");
    const char joined[] = "{\"$secret\":[\"Bearer \",{\"name\":\"TOKEN\"}]}";
    push_decoded(L, joined, sizeof joined - 1, RH_JSON_JOURNAL);
    assert_string_equal(rh_secret_text(L, -1, NULL), "Bearer s3cr3t-value");
    assert_string_equal(luaL_tolstring(L, -1, NULL), "Bearer ‹secret TOKEN›");
    const char gone[] = "{\"$secret\":[{\"name\":\"GONE\"}]}";
    push_decoded(L, gone, sizeof gone - 1, RH_JSON_JOURNAL);
    assert_true(rh_secret_is(L, -1));
    assert_null(rh_secret_text(L, -1, NULL));
    assert_false(rh_secret_push(L, "SHORT", "12345", 5, &error));
    assert_non_null(strstr(error.message, "SHORT"));
    rh_error_clear(&error);
}

static void masking_keeps_the_text_json(void **state)
{
    lua_State *L = *state;
    bool altered = true;
    rh_buffer out = {0};
    luaL_dostring(L, "return {port=3306}");
    assert_true(rh_json_encode_masked(L, -1, &out, 0, &altered, NULL));
    assert_false(altered);
    rh_mask_add(rh_mask_process(), "PIN", "8675309", 7);
    rh_buffer_clear(&out);
    luaL_dostring(L, "return {n=8675309, s='pin 8675309', ['8675309']={'\\xff8675309'}}");
    assert_true(rh_json_encode_masked(L, -1, &out, RH_JSON_JOURNAL, &altered, NULL));
    assert_true(altered);
    assert_null(strstr(out.data, "8675309"));
    push_decoded(L, out.data, out.size, RH_JSON_JOURNAL);
    lua_getfield(L, -1, "n");
    assert_string_equal(lua_tostring(L, -1), "‹secret PIN›");
    lua_getfield(L, -2, "s");
    assert_string_equal(lua_tostring(L, -1), "pin ‹secret PIN›");
    rh_buffer_clear(&out);
    const char text[] = "{\"a\":[8675309,\"x 8675309\"],\"b\":1}";
    rh_json_mask(text, sizeof text - 1, &out);
    assert_string_equal(out.data, "{\"a\":[\"‹secret PIN›\",\"x ‹secret PIN›\"],\"b\":1}");
    rh_buffer_free(&out);
}

static void *limited(void *data, void *memory, size_t old_size, size_t size)
{
    size_t *left = data;
    size_t had = memory ? old_size : 0;
    if (size == 0) {
        free(memory);
        *left += had;
        return NULL;
    }
    if (size > had && size - had > *left)
        return NULL;
    void *moved = realloc(memory, size);
    if (moved)
        *left = *left + had - size;
    return moved;
}

static void a_memory_limit_is_an_error_not_a_leak(void **state)
{
    (void)state;
    size_t left = 100000;
    lua_State *L = lua_newstate(limited, &left);
    rh_buffer text = {0};
    rh_buffer_adds(&text, "[0");
    for (int i = 0; i < 20000; i++)
        rh_buffer_addf(&text, ",\"%d\"", i);
    rh_buffer_adds(&text, "]");
    rh_error error = {0};
    assert_false(rh_json_decode(L, text.data, text.size, 0, &error));
    assert_string_equal(error.code, "memory");
    assert_int_equal(lua_gettop(L), 0);
    rh_error_clear(&error);
    rh_buffer_free(&text);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_keep_their_type_and_value, open_state, close_state),
        cmocka_unit_test_setup_teardown(integers_beyond_64_bits_become_floats, open_state,
                                        close_state),
        cmocka_unit_test_setup_teardown(the_journal_keeps_what_json_cannot, open_state,
                                        close_state),
        cmocka_unit_test_setup_teardown(arrays_and_tables_stay_apart, open_state, close_state),
        cmocka_unit_test_setup_teardown(keys_are_sorted_bytewise, open_state, close_state),
        cmocka_unit_test_setup_teardown(strings_are_escaped, open_state, close_state),
        cmocka_unit_test_setup_teardown(errors_name_the_path, open_state, close_state),
        cmocka_unit_test_setup_teardown(nesting_is_limited_both_ways, open_state, close_state),
        cmocka_unit_test_setup_teardown(bad_text_is_refused_with_its_place, open_state,
                                        close_state),
        cmocka_unit_test_setup_teardown(secrets_are_kept_by_name, open_state, close_state),
        cmocka_unit_test_setup_teardown(masking_keeps_the_text_json, open_state, close_state),
        cmocka_unit_test(a_memory_limit_is_an_error_not_a_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
