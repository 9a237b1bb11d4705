/* The table `host`, from Lua: what is appended, recalled, committed and waited for. */
#include "core/loop.h"
#include "core/luaenv.h"
#include "core/task.h"
#include "run/host.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <lua5.4/lauxlib.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

static rh_host host;
static rh_run_request request;
static char *run_dir;

static int make_host(void **state)
{
    rh_error error = {0};
    if (folder_make(state) != 0)
        return -1;
    char *path = rh_state_open(*state, true, &error);
    char *run = rh_state_new_run(path, "shop", &error);
    run_dir = rh_state_run_dir(path, run);
    request = (rh_run_request){.state = path, .playbook = "shop.lua", .intent = "run", .yes = true};
    host = (rh_host){
        .request = &request, .id = run, .run_dir = run_dir, .start_dir = *state, .mode = "run"};
    host.journal = rh_journal_create(run_dir, run, &error);
    host.inbox = rh_inbox_open(run_dir, &error);
    host.sources = rh_sources_new(*state);
    host.variables = rh_variables_open(NULL, &error);
    return rh_error_is_set(&error) ||
                   !rh_sources_attach(host.sources, run_dir, host.journal, &error)
               ? -1
               : 0;
}

static int remove_host(void **state)
{
    rh_inbox_close(host.inbox);
    rh_sources_free(host.sources);
    rh_variables_close(host.variables);
    rh_journal_close(host.journal);
    free((char *)(uintptr_t)host.id);
    free((char *)(uintptr_t)request.state);
    free(run_dir);
    return rh_loop_close() || folder_remove(state);
}

/* (): whether something waits for a commit */
static int pending(lua_State *L)
{
    lua_pushboolean(L, rh_journal_is_pending(host.journal));
    return 1;
}

/* (kind, json): what the command line does */
static int drop(lua_State *L)
{
    lua_pushboolean(L,
                    rh_inbox_drop(run_dir, luaL_checkstring(L, 1), luaL_checkstring(L, 2), NULL));
    return 1;
}

/* Plays the text as task 0, which must return true. */
static void play(const char *text)
{
    lua_State *L = rh_luaenv_new(RH_LUA_MEMORY, RH_LUA_CPU_MS);
    rh_host_open(L, &host);
    lua_pushcfunction(L, pending);
    lua_setfield(L, -2, "pending");
    lua_pushcfunction(L, drop);
    lua_setfield(L, -2, "drop");
    rh_task_open(L);
    lua_setfield(L, -2, "task");
    lua_setglobal(L, "host");
    assert_int_equal(rh_load_text(L, text, strlen(text), "@spec"), LUA_OK);
    bool stop = false;
    rh_task *task = rh_task_spawn(L);
    rh_task_watch(task, &stop);
    assert_true(rh_loop_run(&stop));
    int count = rh_task_take(task, L);
    if (!lua_toboolean(L, -count))
        fail_msg("%s", luaL_tolstring(L, -count + 1, NULL));
    lua_settop(L, 0);
    rh_luaenv_close(L);
}

static void events_are_recalled(void **state)
{
    (void)state;
    play(
        "assert(host.append('step.begin', 'A', { line = 3 }) == 1)\n"
        "assert(host.append('step.end', 'A', { value = { 1, 2.0, 'x\\xff', { } } }) == 2)\n"
        "assert(host.append('note', '') == 3)\n"
        "local payload, seq, time, replayed = host.recall('step.end', 'A')\n"
        "assert(payload.value[3] == 'x\\xff' and math.type(payload.value[2]) == 'float')\n"
        "assert(seq == 2 and host.now() - time < 60000 and replayed == false)\n"
        "assert(host.recall('step.end', 'B') == nil)\n"
        "local all, ends = host.history(), host.history('step.end')\n"
        "assert(#all == 3 and #ends == 1 and ends[1].key == 'A' and ends[1].seq == 2)\n"
        "local ok, err = pcall(host.append, 'note', '', { f = print })\n"
        "assert(not ok and err.code == 'json' and err.message:find('.f is a function', 1, true))\n");
}

static void a_value_is_what_the_journal_keeps(void **state)
{
    (void)state;
    play(
        "local s = host.make_secret('TOKEN', 'hunter22')\n"
        "local kept, altered = host.keep { n = 5000, f = 5000.0, big = (1 << 53) + 1, s = s, t = 'a hunter22' }\n"
        "assert(altered and kept.t == 'a ‹secret TOKEN›', kept.t)\n"
        "assert(math.type(kept.n) == 'integer' and math.type(kept.f) == 'float' and kept.big == 9007199254740993)\n"
        "assert(host.is_secret(kept.s) and tostring(kept.s) == '‹secret TOKEN›')\n"
        "assert(select(2, host.keep { s }) == false)\n"
        "assert(host.digest { b = 1, a = s } == host.digest { a = s, b = 1 })\n"
        "assert(host.digest { 1 } ~= host.digest { 1.0 })\n"
        "assert(#host.fingerprint(s) == 64 and host.fingerprint(s) == host.fingerprint('hunter22'))\n");
}

static void one_commit_serves_all_tasks_of_a_turn(void **state)
{
    (void)state;
    play("local order = {}\n"
         "local function branch(name)\n"
         "    return host.task.spawn(function()\n"
         "        host.append('step.begin', name, {})\n"
         "        assert(host.pending())\n"
         "        host.commit()\n"
         "        assert(not host.pending())\n" /* the other's is durable as well */
         "        order[#order + 1] = name\n"
         "    end)\n"
         "end\n"
         "local a, b = branch 'a', branch 'b'\n"
         "assert(host.task.join(a) and host.task.join(b))\n"
         "assert(#order == 2)\n"
         "host.commit()\n"); /* nothing to do: returns at once */
}

/* A file that cannot grow stands for the full disk. */
static void a_commit_that_fails_is_raised_where_it_is_awaited(void **state)
{
    (void)state;
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 64 * 1024;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    play("local ok, err\n"
         "for i = 1, 1000 do\n"
         "    host.append('note', '', { text = ('x'):rep(1000) })\n"
         "    ok, err = pcall(host.commit)\n"
         "    if not ok then break end\n"
         "end\n"
         "assert(not ok and err.code == 'journal' and err.message:find 'recorded before is safe')\n"
         "ok, err = pcall(host.append, 'note', '', {})\n"
         "assert(not ok and err.code == 'journal')\n"
         "ok, err = pcall(host.commit)\n"
         "assert(not ok and err.code == 'journal')\n");
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(rh_journal_failure(host.journal));
}

static void a_file_in_the_inbox_ends_the_wait(void **state)
{
    (void)state;
    play(
        "assert(#host.inbox() == 0)\n"
        "local waiter = host.task.spawn(function() host.inbox_wait() return host.inbox() end)\n"
        "host.task.sleep(1)\n"
        "assert(host.drop('approve', '{\"name\":\"Go\"}'))\n"
        "local ok, messages = host.task.join(waiter)\n"
        "assert(ok and #messages == 1)\n"
        "local m = messages[1]\n"
        "assert(m.kind == 'approve' and m.data.name == 'Go' and m.by.name and math.type(m.by.uid) == 'integer')\n"
        "assert(host.now() - m.time < 60000)\n"
        "host.inbox_done(m.file)\n"
        "assert(#host.inbox() == 0)\n");
}

static void variables_become_secrets(void **state)
{
    (void)state;
    setenv("RH_TOKEN", "s3cr3t-value", 1);
    setenv("RH_SHORT", "12345", 1);
    play("local s = host.secret 'RH_TOKEN'\n"
         "assert(host.is_secret(s) and tostring('Bearer ' .. s) == 'Bearer ‹secret RH_TOKEN›')\n"
         "assert(host.secret 'RH_NONE' == nil)\n"
         "local ok, err = pcall(host.secret, 'RH_SHORT')\n"
         "assert(not ok and err.message:find 'RH_SHORT' and not err.message:find '12345')\n"
         "local text, origin = host.variable 'RH_SHORT'\n"
         "assert(text == '12345' and origin == 'the environment')\n"
         "assert(host.variable 'RH_NONE' == nil)\n"
         "local none, why = host.variable_in('/nonexistent/.env', 'A')\n"
         "assert(none == nil and why:find 'cannot read')\n");
    /* in another process it is looked up again by name */
    play(
        "host.append('step.end', 'A', { value = 'x' .. host.make_secret('RH_TOKEN', 's3cr3t-value') })\n");
    play("local kept = host.recall('step.end', 'A')\n"
         "assert(tostring(kept.value) == 'x‹secret RH_TOKEN›')\n"
         "assert(host.fingerprint(kept.value) == host.fingerprint 'xs3cr3t-value')\n");
    unsetenv("RH_TOKEN");
    play("local kept = host.recall('step.end', 'A')\n"
         "local ok, err = pcall(host.fingerprint, kept.value)\n"
         "assert(not ok and tostring(err):find 'not found any more')\n");
    unsetenv("RH_SHORT");
}

static void small_calls(void **state)
{
    char *path = rh_format("%s/a.lua", (char *)*state);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "return 1", 8), 8);
    close(fd);
    free(path);
    play(
        "assert(host.source 'a.lua' == 'return 1' and host.exists_source 'a.lua')\n"
        "assert(not host.exists_source 'b.lua')\n"
        "local ok, err = pcall(host.source, 'b.lua')\n"
        "assert(not ok and err.code == 'source')\n"
        "assert(host.suggest('timeuot', { 'retry', 'timeout' }) == 'did you mean \"timeout\"?')\n"
        "assert(host.suggest('zzz', { 'retry', 'timeout' }) == nil and host.suggest('x', {}) == nil)\n"
        "assert(host.sha256 '' == 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')\n"
        "assert(#host.random(4) == 8 and host.random(8) ~= host.random(8))\n"
        "assert(host.json.encode { a = host.json.null, b = host.json.array {} } == '{\"a\":null,\"b\":[]}')\n"
        "assert(host.json.decode '[1]'[1] == 1 and not pcall(host.json.decode, '['))\n"
        "assert(host.zone_offset('America/New_York', 1700000000) == -18000)\n"
        "assert(host.zone_offset('No/Where', 0) == nil)\n"
        "assert(host.mono() <= host.mono() and host.limits.memory > 0)\n"
        "assert(host.run.id and host.run.yes and host.run.operator and host.run.mode == 'run')\n"
        "host.say('output', 'A', { text = 'x' })\n"
        "host.commit()\n");
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, make_host, remove_host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPEC(events_are_recalled),
        SPEC(a_value_is_what_the_journal_keeps),
        SPEC(one_commit_serves_all_tasks_of_a_turn),
        SPEC(a_commit_that_fails_is_raised_where_it_is_awaited),
        SPEC(a_file_in_the_inbox_ends_the_wait),
        SPEC(variables_become_secrets),
        SPEC(small_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
