/* sh: commands for playbooks, and for modules that build on commands (mysql's dump). The engine is
 * core/command.h: the run's guardian starts and owns every process.
 *
 *   native.run{ id=, argv={…}, … } ⏳ → { code, signal, out, err, ms, … }   waits for the command's end
 *   native.run{ …, service = true } ⏳ → { pid }                            waits for its start
 *   native.stop(id) ⏳                                                      ends a service
 *   native.state(id) → "never" | "alive" | "ended" | "lost"
 *
 * The fields are those of rh_command_spec: id argv env cwd input input_path output_path timeout grace (ms)
 * capture (bytes) log service. `env` maps names to a string or secret, which is added to the host's
 * environment, or to false, which takes the name out of it. */
#include "core/command.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <string.h>
#include <unistd.h>

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void set_buffer(lua_State *L, const char *name, const rh_buffer *buffer)
{
    lua_pushlstring(L, buffer->data != NULL ? buffer->data : "", buffer->size);
    lua_setfield(L, -2, name);
}

static int push_result(rh_op *op, lua_State *L)
{
    const rh_command *command = (const rh_command *)op;
    lua_createtable(L, 0, 12);
    set_integer(L, "code", command->code);
    if (command->signal != 0) {
        const char *name = sigabbrev_np(command->signal);
        if (name == NULL)
            lua_pushfstring(L, "signal %d", command->signal);
        else
            lua_pushfstring(L, "SIG%s", name);
        lua_setfield(L, -2, "signal");
    }
    set_buffer(L, "out", &command->out);
    set_buffer(L, "err", &command->err);
    set_integer(L, "ms", command->ms);
    set_integer(L, "pid", command->pid);
    set_integer(L, "out_total", (lua_Integer)command->out_total);
    set_integer(L, "err_total", (lua_Integer)command->err_total);
    set_flag(L, "timed_out", command->timed_out);
    set_flag(L, "truncated", command->truncated);
    set_flag(L, "held", command->held);
    set_flag(L, "adopted", command->adopted);
    return 1;
}

static int push_service(rh_op *op, lua_State *L)
{
    lua_createtable(L, 0, 1);
    set_integer(L, "pid", ((const rh_command *)op)->pid);
    return 1;
}

static void cancel_command(rh_op *op) { rh_commands()->cancel(op); }
static void free_command(rh_op *op) { rh_commands()->fini(op); }

static const rh_op_class run_class = {
    .name = "sh.run",
    .size = sizeof(rh_command),
    .cancel = cancel_command,
    .push = push_result,
    .fini = free_command,
};

static const rh_op_class service_class = {
    .name = "sh.start",
    .size = sizeof(rh_command),
    .cancel = cancel_command,
    .push = push_service,
    .fini = free_command,
};

static const rh_op_class stop_class = {
    .name = "sh.stop",
    .size = sizeof(rh_command),
    .fini = free_command,
};

/* The fields below leave their values on the stack, so that the pointers stay valid. */

static const char *text_field(lua_State *L, const char *name)
{
    size_t size;
    lua_getfield(L, 1, name);
    if (lua_isnil(L, -1))
        return NULL;
    const char *text = luaL_checklstring(L, -1, &size);
    if (strlen(text) != size)
        luaL_error(L, "%s has a NUL byte", name);
    return text;
}

static lua_Integer integer_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optinteger(L, -1, 0);
}

static const char *const *argv_field(lua_State *L)
{
    lua_getfield(L, 1, "argv");
    luaL_checktype(L, -1, LUA_TTABLE);
    const int table = lua_gettop(L);
    const size_t count = lua_rawlen(L, table);
    if (count == 0)
        luaL_error(L, "argv is empty");
    const char **argv = lua_newuserdatauv(L, (count + 1) * sizeof *argv, 0);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        if (lua_rawgeti(L, table, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "argv[%d] is not a string", (int)i + 1);
        argv[i] = lua_tolstring(L, -1, &size); /* alive in the table */
        if (strlen(argv[i]) != size)
            luaL_error(L, "argv[%d] has a NUL byte", (int)i + 1);
        lua_pop(L, 1);
    }
    argv[count] = NULL;
    return argv;
}

/* One block: the pointers, then the strings, so that one wipe clears every opened secret. */
typedef struct environment {
    const char **names;
    size_t size;
} environment;

static bool is_overridden(lua_State *L, int table, const char *entry)
{
    const char *equals = strchr(entry, '=');
    if (equals == NULL)
        return true;
    lua_pushlstring(L, entry, (size_t)(equals - entry));
    const bool found = lua_rawget(L, table) != LUA_TNIL;
    lua_pop(L, 1);
    return found;
}

static environment env_field(lua_State *L)
{
    environment env = {NULL, 0};
    lua_getfield(L, 1, "env");
    if (lua_isnil(L, -1))
        return env;
    luaL_checktype(L, -1, LUA_TTABLE);
    const int table = lua_gettop(L);
    size_t bytes = 0;
    size_t count = 1;
    for (char **entry = environ; *entry != NULL; entry++)
        count++;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        size_t name_size;
        size_t value_size = 0;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "a name in env is not a string");
        const char *name = lua_tolstring(L, -2, &name_size);
        const bool removed = lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
        const char *value = removed ? "" : rh_check_secret_text(L, -1, &value_size);
        if (strlen(name) != name_size || strchr(name, '=') != NULL || strlen(value) != value_size)
            luaL_error(L, "env.%s cannot be passed: it has a NUL byte, or = in its name", name);
        bytes += name_size + value_size + 2;
        count++;
        lua_pop(L, 1);
    }
    env.size = count * sizeof *env.names + bytes;
    env.names = lua_newuserdatauv(L, env.size, 0);
    char *text = (char *)(env.names + count);
    size_t at = 0;
    for (char **entry = environ; *entry != NULL; entry++)
        if (!is_overridden(L, table, *entry))
            env.names[at++] = *entry;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_toboolean(L, -1)) {
            env.names[at++] = text;
            text = stpcpy(text, lua_tostring(L, -2));
            *text++ = '=';
            size_t size;
            text = stpcpy(text, rh_secret_text(L, -1, &size)) + 1;
        }
        lua_pop(L, 1);
    }
    env.names[at] = NULL;
    return env;
}

static int native_run(lua_State *L)
{
    rh_error error = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 24, "sh.run");
    if (rh_commands() == NULL)
        rh_raisef(L, "no_commands", "there is no run that could own a command");
    rh_command_spec spec = {
        .id = text_field(L, "id"),
        .argv = argv_field(L),
        .cwd = text_field(L, "cwd"),
        .input_path = text_field(L, "input_path"),
        .output_path = text_field(L, "output_path"),
        .log_path = text_field(L, "log"),
        .timeout_ms = integer_field(L, "timeout"),
        .grace_ms = integer_field(L, "grace"),
        .capture = (size_t)integer_field(L, "capture"),
    };
    if (spec.id == NULL)
        return luaL_error(L, "id is missing");
    lua_getfield(L, 1, "service");
    spec.service = lua_toboolean(L, -1);
    lua_getfield(L, 1, "input");
    if (!lua_isnil(L, -1))
        spec.input = rh_check_secret_text(L, -1, &spec.input_size);
    const environment env = env_field(L);
    spec.env = env.names;

    rh_op *op = rh_op_new(spec.service ? &service_class : &run_class);
    const bool started = rh_commands()->start((rh_command *)op, &spec, &error);
    if (env.names != NULL)
        explicit_bzero(env.names, env.size);
    if (!started) {
        rh_op_discard(op);
        rh_error_module(&error, "sh");
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}

static int native_stop(lua_State *L)
{
    rh_error error = {0};
    const char *id = luaL_checkstring(L, 1);
    if (rh_commands() == NULL)
        rh_raisef(L, "no_commands", "there is no run that could own a command");
    rh_op *op = rh_op_new(&stop_class);
    if (!rh_commands()->stop((rh_command *)op, id, &error)) {
        rh_op_discard(op);
        rh_error_module(&error, "sh");
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}

static int native_state(lua_State *L)
{
    static const char *const names[] = {"never", "alive", "ended", "lost"};
    const char *id = luaL_checkstring(L, 1);
    lua_pushstring(L, rh_commands() == NULL ? "never" : names[rh_commands()->state(id)]);
    return 1;
}

static int open_sh(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", native_run},
        {"stop", native_stop},
        {"state", native_state},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}

RH_MODULE("sh", open_sh, NULL);
