/* Tasks: what happens between rh_await and the end of an operation. Every test ends with a clean loop. */
#include "core/loop.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int push_word(rh_op *op, lua_State *L)
{
    (void)op;
    lua_pushliteral(L, "at once");
    return 1;
}

/* An operation that is done before it is awaited: a command that ended while no host was there. */
static int l_at_once(lua_State *L)
{
    static const rh_op_class class = {.name = "at once", .size = sizeof(rh_op), .push = push_word};
    rh_op *op = rh_op_new(&class);
    rh_op_done(op);
    return rh_await(L, op, 0);
}

static lua_State *fresh(int cpu_ms)
{
    lua_State *L = rh_luaenv_new(RH_LUA_MEMORY, cpu_ms);
    rh_task_open(L);
    lua_pushcfunction(L, l_at_once);
    lua_setfield(L, -2, "at_once");
    lua_setglobal(L, "task");
    rh_luaenv_push_basics(L);
    lua_setglobal(L, "safe");
    return L;
}

/* Runs the text as task 0; its first result (or the error) as text. */
static char *play(lua_State *L, const char *text)
{
    assert_int_equal(rh_load_text(L, text, strlen(text), "@test"), LUA_OK);
    bool stop = false;
    rh_task *task = rh_task_spawn(L);
    rh_task_watch(task, &stop);
    assert_true(rh_loop_run(&stop));
    int count = rh_task_take(task, L);
    char *result = strdup(luaL_tolstring(L, -count + 1, NULL));
    lua_settop(L, 0);
    rh_luaenv_close(L);
    assert_int_equal(rh_loop_close(), 0);
    return result;
}

static void check(int cpu_ms, const char *text, const char *wanted)
{
    char *got = play(fresh(cpu_ms), text);
    if (!strstr(got, wanted))
        fail_msg("wanted \"%s\", got \"%s\"", wanted, got);
    free(got);
}

#define CHECK(TEXT, WANTED) check(1000, TEXT, WANTED)
#define CHECK_CPU(TEXT) check(50, TEXT, "computed for more than 50 ms")

static void waits_in_turn(void **state)
{
    (void)state;
    CHECK("local t = {} "
          "local a = task.spawn(function() task.sleep(300) t[#t + 1] = 'a' return 1, 2 end) "
          "local b = task.spawn(function() task.sleep(5) t[#t + 1] = 'b' end) "
          "local ok, one, two = task.join(a) task.join(b) "
          "return table.concat(t) .. one .. two",
          "ba12");
}

static void takes_what_is_done_already(void **state)
{
    (void)state;
    CHECK("return task.at_once()", "at once");
    CHECK("local ok, word = task.join(task.spawn(task.at_once)) return word", "at once");
}

static void passes_errors_on(void **state)
{
    (void)state;
    CHECK("local ok, err = task.join(task.spawn(function() local x = nil; return x.y end)) "
          "return tostring(ok) .. err.message",
          "falsetest:1: attempt to index a nil value");
}

static void cancels_now_and_soon(void **state)
{
    (void)state;
    CHECK("local t = task.spawn(function() task.sleep(60000) end) "
          "local child = task.spawn(function() task.sleep(1) task.cancel(t, 'stop', false) end) "
          "local _, err = task.join(t) task.join(child) return err.message",
          "stop");
    CHECK("local inner "
          "local t = task.spawn(function() inner = task.spawn(function() task.sleep(60000) end) "
          "  local ok, err = task.join(inner) error(err, 0) end) "
          "local c = task.spawn(function() task.sleep(1) task.cancel(t, 'all of it', true) end) "
          "local _, err = task.join(t) task.join(c) return err.message",
          "all of it");
}

static void is_not_woken_by_a_wait_that_ended_before_it_began(void **state)
{
    (void)state;
    CHECK("local t = task.spawn(function() pcall(task.sleep, 60000) task.clear() task.sleep(5) "
          "  return 'slept' end) "
          "task.cancel(t, 'soon', false) local _, word = task.join(t) return word",
          "slept");
}

static void keeps_the_deadline(void **state)
{
    (void)state;
    CHECK("task.deadline(0.001) local ok, err = pcall(task.sleep, 60000) return err.code",
          "deadline");
    CHECK("task.deadline(0.001) local ok, err = safe.pcall(task.sleep, 60000) return 'swallowed'",
          "not finished in time");
}

static void refuses_to_wait_where_it_cannot(void **state)
{
    (void)state;
    CHECK("table.sort({1, 2, 3}, function(a, b) task.sleep(1) return a < b end)",
          "sort comparison");
    CHECK("local co = safe.coroutine.wrap(function() task.sleep(1) end) co()", "use parallel");
    CHECK("safe.coroutine.yield(1)", "outside of a coroutine of your own");
}

static void bounds_cpu_and_memory(void **state)
{
    (void)state;
    CHECK_CPU("while true do end");
    CHECK_CPU("while true do safe.pcall(function() while true do end end) end");
    check(20000, "local s = string.rep('x', 200 << 20) return s .. s", "needs more memory");
}

static void closes_to_be_closed_variables_where_they_can_wait(void **state)
{
    (void)state;
    CHECK(
        "local log = '' "
        "local t = task.spawn(function() "
        "  local x <close> = setmetatable({}, { __close = function() task.sleep(1) log = 'closed' end }) "
        "  error('boom') end) "
        "task.join(t) return log",
        "closed");
}

static void sorts_pairs(void **state)
{
    (void)state;
    CHECK(
        "local s = '' for k, v in pairs { b = 1, a = 2, [3] = 3, [1.5] = 4, [true] = 5 } do s = s .. tostring(k) .. ' ' end "
        "return s",
        "1.5 3 a b true");
    CHECK("return safe.next({}) == nil and safe.next { b = 1, a = 2 }", "a");
    CHECK("for _ in pairs { [{}] = 1, [{}] = 2 } do end", "no order");
    CHECK("return safe.tostring({})", "table");
    CHECK("return safe.string.format('%p', {})", "addresses differ");
}

/* Each allocation fails once, in its turn: the task ends with an error or with its result, and the loop is clean. */
static void survives_want_of_memory_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "local t = {} "
        "for i = 1, 3 do t[i] = task.spawn(function() task.sleep(1) return ('x'):rep(100 * i), { i } end) end "
        "local all = 0 for i = 1, 3 do local ok, s = task.join(t[i]) all = all + #s end "
        "local ok, err = safe.pcall(function() local x = nil; return x.y end) "
        "for k in pairs { a = 1, b = 2 } do all = all + #k end return all";
    int ended_well = 0;
    for (size_t more = 0; ended_well < 3; more += 16) {
        assert_true(more < 1 << 20);
        lua_State *L = fresh(1000);
        assert_int_equal(rh_load_text(L, text, sizeof text - 1, "@test"), LUA_OK);
        bool stop = false;
        rh_task *task = rh_task_spawn(L);
        rh_task_watch(task, &stop);
        rh_luaenv_limit(L, rh_luaenv_memory(L) + more);
        bool ran = rh_loop_run(&stop);
        rh_luaenv_limit(L, RH_LUA_MEMORY);
        assert_true(ran);
        int count = rh_task_take(task, L);
        ended_well += lua_toboolean(L, -count);
        rh_luaenv_close(L);
        while (uv_loop_alive(rh_loop())) /* sleepers whose task is gone */
            uv_run(rh_loop(), UV_RUN_ONCE);
        assert_int_equal(rh_loop_close(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_in_turn),
        cmocka_unit_test(takes_what_is_done_already),
        cmocka_unit_test(passes_errors_on),
        cmocka_unit_test(cancels_now_and_soon),
        cmocka_unit_test(is_not_woken_by_a_wait_that_ended_before_it_began),
        cmocka_unit_test(keeps_the_deadline),
        cmocka_unit_test(refuses_to_wait_where_it_cannot),
        cmocka_unit_test(bounds_cpu_and_memory),
        cmocka_unit_test(closes_to_be_closed_variables_where_they_can_wait),
        cmocka_unit_test(sorts_pairs),
        cmocka_unit_test(survives_want_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
