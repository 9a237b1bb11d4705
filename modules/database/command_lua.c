/* Commands that run while the task does something else: a dump is started, the lock it needs is let go as soon
 * as its output says so, and its end is awaited last.
 *
 *   native.command{ id=, argv=, input=, output=, log=, timeout= } → command    started, not awaited. `input` (text or
 *                                             a secret) is its standard input, a file in memory that only its
 *                                             user may open: a password reaches it so, and is on no disk
 *   native.watch(command, ms, path, text) ⏳ → "ended" | "found" | "tick" until the command has ended, the
 *                                             file holds the text (both optional), or the time is over
 *   native.result(command) → { code, signal, err, ms, timed_out }        of an ended one; raises its error
 *   native.offset(pid, fd) → bytes           how far a process has come in the file that it has open as fd, if that
 *                                             can be told
 *   native.stop_command(command)                                         asks it to end; not awaited
 *   native.command_state(id) → "never" | "alive" | "ended" | "lost" */
#include "binding.h"

#include "core/command.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"
#include "files.h"
#include "watch.h"

#include <lua5.4/lauxlib.h>

enum { MAX_ARGUMENTS = 64, CAPTURE = 64 << 10 };

static const char COMMAND[] = "rollout.database.command";

/* Who runs them: a command is collected with the Lua state, when the run's provider is gone from its seat. */
static const rh_command_provider *provider;

static void cancel_command(rh_op *op) { provider->cancel(op); }
static void free_command(rh_op *op) { provider->fini(op); }

static const rh_op_class command_class = {.name = "database.command",
                                          .size = sizeof(rh_command),
                                          .cancel = cancel_command,
                                          .fini = free_command};

static rh_command *check_command(lua_State *L, int idx)
{
    rh_command **box = luaL_checkudata(L, idx, COMMAND);
    return *box;
}

static int command_gc(lua_State *L)
{
    rh_command **box = lua_touserdata(L, 1);
    if (*box) {
        rh_op_cancel(&(*box)->op);
        rh_op_release(&(*box)->op);
    }
    *box = NULL;
    return 0;
}

static const char *field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL);
}

static int native_command(lua_State *L)
{
    const char *argv[MAX_ARGUMENTS + 1] = {0};
    rh_error error = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, MAX_ARGUMENTS + 12, "command");
    if (!rh_commands())
        rh_raisef(L, "no_commands", "there is no run that could own a command");
    provider = rh_commands();
    rh_command_spec spec = {.id = field(L, "id"),
                            .output_path = field(L, "output"),
                            .log_path = field(L, "log"),
                            .argv = argv,
                            .capture = CAPTURE};
    rh_command **box = rh_new_object(L, sizeof(rh_command *), COMMAND, command_gc);
    const int result = lua_gettop(L);
    lua_getfield(L, 1, "argv");
    size_t count = lua_rawlen(L, -1);
    luaL_argcheck(L, count > 0 && count <= MAX_ARGUMENTS, 1, "argv");
    int list = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        argv[i] = luaL_checkstring(L, -1);
    }
    lua_getfield(L, 1, "timeout");
    spec.timeout_ms = luaL_optinteger(L, -1, 0);
    lua_getfield(L, 1, "input");
    if (!lua_isnil(L, -1))
        spec.input = rh_check_secret_text(L, -1, &spec.input_size);
    rh_command *command = (rh_command *)rh_op_new(&command_class);
    bool started = provider->start(command, &spec, &error);
    if (!started) {
        rh_op_discard(&command->op);
        rh_error_module(&error, "database");
        rh_raise(L, &error);
    }
    rh_op_retain(&command->op);
    *box = command;
    lua_settop(L, result);
    return 1;
}

static int push_watch(rh_op *op, lua_State *L)
{
    static const char *const names[] = {"ended", "found", "tick"};
    lua_pushstring(L, names[((rh_database_watch *)op)->seen]);
    return 1;
}

static const rh_op_class watch_class = {.name = "database.watch",
                                        .size = sizeof(rh_database_watch),
                                        .cancel = rh_database_watch_cancel,
                                        .push = push_watch,
                                        .fini = rh_database_watch_fini};

static int native_watch(lua_State *L)
{
    rh_command *command = check_command(L, 1);
    lua_Integer ms = luaL_checkinteger(L, 2);
    const char *path = luaL_optstring(L, 3, NULL), *text = path ? luaL_checkstring(L, 4) : NULL;
    rh_database_watch *watch = (rh_database_watch *)rh_op_new(&watch_class);
    rh_database_watch_start(watch, command, ms, path, text);
    return rh_await(L, &watch->op, 0);
}

static int native_result(lua_State *L)
{
    rh_command *command = check_command(L, 1);
    rh_error error = {0};
    luaL_argcheck(L, command->op.done, 1, "the command is running");
    rh_error_move(&error, &command->op.error);
    if (rh_error_is_set(&error))
        rh_raise(L, &error);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, command->code);
    lua_setfield(L, -2, "code");
    lua_pushinteger(L, command->signal);
    lua_setfield(L, -2, "signal");
    lua_pushinteger(L, command->ms);
    lua_setfield(L, -2, "ms");
    lua_pushboolean(L, command->timed_out);
    lua_setfield(L, -2, "timed_out");
    lua_pushlstring(L, command->err.data ? command->err.data : "", command->err.size);
    lua_setfield(L, -2, "err");
    lua_pushlstring(L, command->out.data ? command->out.data : "", command->out.size);
    lua_setfield(L, -2, "out");
    return 1;
}

static int native_offset(lua_State *L)
{
    const int64_t offset =
        rh_database_offset(luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2));
    if (offset < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, offset);
    return 1;
}

static int native_stop_command(lua_State *L)
{
    rh_op_cancel(&check_command(L, 1)->op);
    return 0;
}

static int native_command_state(lua_State *L)
{
    static const char *const names[] = {"never", "alive", "ended", "lost"};
    const char *id = luaL_checkstring(L, 1);
    lua_pushstring(L, rh_commands() ? names[rh_commands()->state(id)] : "never");
    return 1;
}

void rh_database_bind_commands(lua_State *L)
{
    static const luaL_Reg functions[] = {{"command", native_command},
                                         {"watch", native_watch},
                                         {"result", native_result},
                                         {"offset", native_offset},
                                         {"stop_command", native_stop_command},
                                         {"command_state", native_command_state},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
