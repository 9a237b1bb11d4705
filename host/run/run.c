#include "run/run.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/loop.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "core/secret.h"
#include "core/task.h"
#include "run/guardian.h"
#include "run/host.h"
#include "run/lang.h"

#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_LOCKED = 6, EXIT_BROKEN = 8 };

/* One run a process. What rh_host only points to is owned here. */
static struct run {
    rh_run_request request; /* as given; on a resume completed from run.start */
    rh_host host;
    lua_State *L;
    rh_task *task;
    rh_lock *lock;
    json_t *start; /* run.start's payload, on a resume */
    const char **set;
    char *id, *run_dir, *start_dir, *name, *environment;
    rh_error failure; /* for standard error: what no event has told */
    bool guarded, finished;
} run;

static bool same(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

/* ---- calls of the host table that belong to the run itself ---- */

static void describe(lua_State *L)
{
    rh_lang_require(L, "host");
    rh_host_describe(L, &run.host);
    lua_pop(L, 1);
}

static bool name_run(rh_error *error)
{
    run.id = rh_state_new_run(run.request.state, run.name, error);
    if (run.id)
        run.run_dir = rh_state_run_dir(run.request.state, run.id);
    return run.id != NULL;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type, (void)at;
    return remove(path);
}

/* A new run that could not begin leaves nothing behind: nothing of it was committed. Raises "locked", or
 * "journal": what cannot be recorded is not begun. */
static _Noreturn void refuse_to_begin(lua_State *L, rh_error *error)
{
    if (!run.host.resumed && run.run_dir) {
        rh_inbox_close(run.host.inbox);
        rh_journal_close(run.host.journal);
        run.host.inbox = NULL;
        run.host.journal = NULL;
        nftw(run.run_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(run.id);
        free(run.run_dir);
        run.id = run.run_dir = NULL;
        run.host.id = run.host.run_dir = NULL;
    }
    if (!same(error->code, "locked"))
        error->code = "journal";
    rh_raise(L, error);
}

/* A new run gets its journal only when its header holds: what does not load leaves nothing. */
static bool make_durable(rh_error *error)
{
    if (!run.host.resumed) {
        run.host.journal = rh_journal_create(run.run_dir, run.id, error);
        run.host.id = run.id;
        run.host.run_dir = run.run_dir;
        if (!run.host.journal ||
            !rh_sources_attach(run.host.sources, run.run_dir, run.host.journal, error))
            return false;
    }
    run.host.inbox = rh_inbox_open(run.run_dir, error);
    return run.host.inbox != NULL;
}

/* (name, environment): the header is accepted. Takes the lock of the environment, makes the run durable,
 * starts its guardian. */
static int l_begin(lua_State *L)
{
    rh_error error = {0};
    free(run.name); /* called again by a run that waits for the lock */
    free(run.environment);
    run.name = rh_strdup(luaL_checkstring(L, 1));
    run.environment = rh_strdup(luaL_checkstring(L, 2));
    run.host.name = run.name;
    run.host.environment = run.environment;
    if ((!run.host.resumed && !name_run(&error)) ||
        !(run.lock =
              rh_lock_environment(run.request.state, run.name, run.environment, run.id, &error)) ||
        !make_durable(&error) || !(run.guarded = rh_guardian_start(run.run_dir, &error)))
        refuse_to_begin(L, &error);
    describe(L);
    return 0;
}

/* (): lets other runs have the environment while this one waits. */
static int l_unlock(lua_State *L)
{
    (void)L;
    rh_lock_release(run.lock);
    run.lock = NULL;
    return 0;
}

/* (): takes it again; raises "locked". */
static int l_relock(lua_State *L)
{
    rh_error error = {0};
    run.lock = rh_lock_environment(run.request.state, run.name, run.environment, run.id, &error);
    if (!run.lock)
        rh_raise(L, &error);
    return 0;
}

/* (code, message): an error that no event has told. */
static int l_failed(lua_State *L)
{
    static const char *const codes[] = {"usage", "locked", "journal", NULL};
    const char *code = codes[luaL_checkoption(L, 1, "usage", codes)];
    rh_error_clear(&run.failure);
    rh_fail(&run.failure, code, "%s", luaL_checkstring(L, 2));
    return 0;
}

/* ---- preparing ---- */

static const char *started_with(const char *field)
{
    return json_string_value(json_object_get(run.start, field));
}

/* Who shows the run sees what came before. */
static void show_history(void)
{
    rh_event event;
    for (int64_t seq = 1; seq <= rh_journal_last(run.host.journal); seq++)
        if (rh_journal_at(run.host.journal, seq, &event))
            rh_event_emit(&event);
}

/* What the run was started with holds again, unless it is given anew. */
static bool reopen(rh_error *error)
{
    run.id = rh_strdup(run.request.run);
    run.run_dir = rh_state_run_dir(run.request.state, run.id);
    run.host.journal = rh_journal_open(run.run_dir, error);
    if (!run.host.journal)
        return false;
    rh_event event;
    if (!rh_journal_recall(run.host.journal, "run.start", "", &event))
        return rh_fail(error, "journal", "run %s was interrupted before it began: start it anew",
                       run.id);
    run.start = json_loads(event.payload, 0, NULL);
    if (!run.start)
        return rh_fail(error, "journal", "run %s: its first event cannot be read", run.id);
    const char **fields[] = {&run.request.playbook,   &run.request.environment,
                             &run.request.at,         &run.request.env_file,
                             &run.request.roles_file, &run.request.emergency};
    static const char *const names[] = {"playbook", "environment", "at",
                                        "env_file", "roles_file",  "emergency"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!*fields[i])
            *fields[i] = started_with(names[i]);
    const char *start_dir = started_with("start_dir");
    if (start_dir && chdir(start_dir) != 0)
        return rh_fail(error, "journal", "run %s started in %s, which is not there any more",
                       run.id, start_dir);
    run.host.id = run.id;
    run.host.run_dir = run.run_dir;
    run.host.resumed = true;
    show_history();
    return true;
}

/* Only a rollback opens a run again that had succeeded; whoever takes it up next goes on with it. */
static bool opened_again(int64_t ended)
{
    rh_event event;
    if (!rh_journal_recall(run.host.journal, "run.resume", "", &event) || event.seq < ended)
        return false;
    if (same(run.request.intent, "resume"))
        run.request.intent = "rollback";
    return true;
}

/* The exit code of a run that has come to its end already, or -1. */
static int ended_with(void)
{
    rh_event event;
    if (!run.host.resumed || !rh_journal_recall(run.host.journal, "run.end", "", &event) ||
        opened_again(event.seq) || !rh_journal_recall(run.host.journal, "run.end", "", &event))
        return -1;
    json_t *end = json_loads(event.payload, 0, NULL);
    json_t *code = json_object_get(end, "exit");
    bool again = same(run.request.intent, "rollback") &&
                 same(json_string_value(json_object_get(end, "status")), "succeeded");
    int exit_code = again                   ? -1
                    : json_is_integer(code) ? (int)json_integer_value(code)
                                            : EXIT_BROKEN;
    json_decref(end);
    event.replayed = false; /* it is what this process has to tell */
    if (exit_code >= 0)
        rh_event_emit(&event);
    return exit_code;
}

static bool prepare(rh_error *error)
{
    run.host.request = &run.request;
    bool plan = same(run.request.intent, "plan");
    run.host.mode = plan ? "plan" : "run";
    if (run.request.run && !reopen(error))
        return false;
    if (run.request.playbook && !run.request.run && access(run.request.playbook, R_OK) != 0)
        return rh_fail(error, "usage", "there is no playbook %s that can be read",
                       run.request.playbook);
    char cwd[PATH_MAX];
    run.start_dir = rh_strdup(getcwd(cwd, sizeof cwd) ? cwd : "/");
    run.host.start_dir = run.start_dir;
    run.host.variables = rh_variables_open(run.request.env_file, error);
    run.host.sources = rh_sources_new(run.start_dir);
    if (!run.host.variables)
        return false;
    if (run.host.resumed &&
        !rh_sources_attach(run.host.sources, run.run_dir, run.host.journal, error))
        return false;
    if (!plan) {
        rh_secret_close_up();
        run.host.has_key = rh_state_key(run.request.state, run.host.key, error);
        return run.host.has_key;
    }
    return true;
}

/* ---- Lua ---- */

static int open_lua(lua_State *L)
{
    rh_host_open(L, &run.host);
    static const luaL_Reg calls[] = {{"begin", l_begin},
                                     {"unlock", l_unlock},
                                     {"relock", l_relock},
                                     {"failed", l_failed},
                                     {NULL, NULL}};
    luaL_setfuncs(L, calls, 0);
    rh_lang_open(L);
    lua_gc(L, LUA_GCSTOP); /* nothing that the language builds up is garbage */
    rh_lang_require(L, "main");
    lua_gc(L, LUA_GCRESTART);
    lua_getfield(L, -1, "run");
    run.task = rh_task_spawn(L);
    return 0;
}

static int play(rh_error *error)
{
    lua_State *L = run.L = rh_luaenv_new(RH_LUA_MEMORY, RH_LUA_CPU_MS);
    lua_pushcfunction(L, open_lua);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        rh_error_from_lua(L, -1, error);
        return EXIT_BROKEN;
    }
    rh_task_watch(run.task, &run.finished);
    bool done = rh_loop_run(&run.finished);
    const char *journal = run.host.journal ? rh_journal_failure(run.host.journal) : NULL;
    if (journal) {
        rh_fail(error, "journal", "%s", journal);
        return EXIT_BROKEN;
    }
    if (!done) {
        rh_fail(error, "internal", "every task waits and nothing is left to wait for");
        return EXIT_BROKEN;
    }
    int top = lua_gettop(L);
    rh_task_take(run.task, L);
    run.task = NULL;
    if (lua_toboolean(L, top + 1))
        return (int)lua_tointeger(L, top + 2);
    rh_error_from_lua(L, top + 2, error);
    return EXIT_BROKEN;
}

/* ---- the end ---- */

static void leave(int exit_code)
{
    /* A run that is over ends its services; one that will be resumed leaves its commands running. */
    bool over = exit_code <= 4 && exit_code != EXIT_USAGE;
    if (run.guarded)
        rh_guardian_leave(over);
    rh_inbox *inbox = run.host.inbox;
    if (run.L)
        rh_luaenv_close(run.L);
    rh_inbox_close(inbox);
    rh_sources_free(run.host.sources);
    rh_variables_close(run.host.variables);
    rh_journal_close(run.host.journal);
    rh_lock_release(run.lock);
    json_decref(run.start);
    free(run.id);
    free(run.run_dir);
    free(run.start_dir);
    free(run.name);
    free(run.environment);
    free(run.set);
}

int rh_run_execute(const rh_run_request *request, rh_error *error)
{
    run.request = *request;
    int exit_code = EXIT_USAGE;
    if (!prepare(error)) {
        if (error->code && same(error->code, "locked"))
            exit_code = EXIT_LOCKED;
        else if (error->code && (same(error->code, "journal") || same(error->code, "state")))
            exit_code = EXIT_BROKEN;
    } else {
        exit_code = ended_with();
        if (exit_code < 0)
            exit_code = play(error);
    }
    rh_error_move(error, &run.failure);
    rh_error_clear(&run.failure);
    leave(exit_code);
    return exit_code;
}

void rh_run_interrupt(int level)
{
    if (!run.task || rh_task_finished(run.task))
        return;
    rh_error error = {0};
    rh_fail(&error, "paused",
            level > 1 ? "interrupted: the effect in flight was cancelled"
                      : "interrupted: nothing further was begun");
    rh_error_push(run.L, &error);
    lua_pushboolean(run.L, 1);
    lua_setfield(run.L, -2, "control");
    rh_task_cancel(run.task, run.L, level > 1);
}
