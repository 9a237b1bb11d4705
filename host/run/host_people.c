#include "core/buffer.h"
#include "core/json.h"
#include "core/luaerror.h"
#include "core/secret.h"
#include "core/task.h"
#include "run/ask.h"
#include "run/attach.h"
#include "run/host.h"
#include "run/secret_command.h"

#include <lua5.4/lauxlib.h>
#include <pwd.h>
#include <stdlib.h>

/* (login) → true if this machine knows the user. */
static int user_exists(lua_State *L)
{
    lua_pushboolean(L, getpwnam(luaL_checkstring(L, 1)) != NULL);
    return 1;
}

/* (key, { question, choices, prompt, … }) → the line that was typed, or nil. Waits. */
static int ask_person(lua_State *L)
{
    const char *key = luaL_checkstring(L, 1);
    rh_buffer payload = {0};
    rh_error error = {0};
    if (!rh_json_encode_masked(L, 2, &payload, RH_JSON_JOURNAL, NULL, &error))
        rh_raise(L, &error);
    rh_op *op = rh_ask(key, payload.data);
    rh_buffer_free(&payload);
    return rh_await(L, op, 0);
}

/* (kind, data) drops a message as the user of this process. */
static int inbox_drop(lua_State *L)
{
    const char *kind = luaL_checkstring(L, 1);
    rh_buffer data = {0};
    rh_error error = {0};
    bool ok = rh_json_encode(L, 2, &data, 0, &error) &&
              rh_inbox_drop(rh_host_of(L)->run_dir, kind, data.data, &error);
    rh_buffer_free(&data);
    if (!ok)
        rh_raise(L, &error);
    return 0;
}

/* (path, name) → { path, bytes, sha256 } */
static int attach(lua_State *L)
{
    rh_attached kept = {0};
    rh_error error = {0};
    const char *path = luaL_checkstring(L, 1), *name = luaL_checkstring(L, 2);
    if (!rh_attach(rh_host_of(L)->run_dir, path, name, &kept, &error))
        rh_raise(L, &error);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, kept.path);
    free(kept.path);
    lua_setfield(L, -2, "path");
    lua_pushinteger(L, kept.bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushstring(L, kept.sha256);
    lua_setfield(L, -2, "sha256");
    return 1;
}

/* (path, name) → the value of a name in a .env file, or nil; nil and why where it cannot be read. */
static int variable_in(lua_State *L)
{
    rh_buffer value = {0};
    rh_error error = {0};
    bool found =
        rh_variables_in_file(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &value, &error);
    if (found)
        lua_pushlstring(L, value.data ? value.data : "", value.size);
    rh_buffer_free(&value);
    if (rh_error_is_set(&error)) {
        lua_pushnil(L);
        lua_pushstring(L, error.message);
        rh_error_clear(&error);
        return 2;
    }
    if (!found)
        lua_pushnil(L);
    return 1;
}

enum { SECRET_COMMAND_MS = 60000, SECRET_COMMAND_WORDS = 32 };

static const char COMMANDS[] = "rh.secret_commands"; /* registry: name → { "program", "word", … } */

/* (name, { "program", "word", … }) → a secret that the command prints when it is opened first. */
static int secret_command(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const lua_Integer count = luaL_len(L, 2);
    if (count < 1 || count > SECRET_COMMAND_WORDS)
        return luaL_error(L, "a secret's command has 1 to %d words", SECRET_COMMAND_WORDS);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, COMMANDS);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, name);
    rh_secret_find(L, name);
    return 1;
}

/* The command of the secret of that name; false: it has none. Its words stay on the stack while argv points to them. */
static bool push_command(lua_State *L, const char *name, const char **argv)
{
    luaL_checkstack(L, SECRET_COMMAND_WORDS + 4, "secret");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, COMMANDS);
    if (lua_getfield(L, -1, name) != LUA_TTABLE) {
        lua_pop(L, 2);
        return false;
    }
    const int list = lua_gettop(L);
    for (lua_Integer i = 0; i < luaL_len(L, list); i++) {
        lua_rawgeti(L, list, i + 1);
        argv[i] = luaL_checkstring(L, -1);
    }
    return true;
}

static int push_opened(rh_op *op, lua_State *L)
{
    const rh_secret_op *run = (const rh_secret_op *)op;
    const rh_buffer *text = &run->child.text;
    rh_error error = {0};
    if (!rh_secret_push(L, run->name, text->data ? text->data : "", text->size, &error))
        rh_raise(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_pushboolean(L, true);
    return 1;
}

/* A pure wait: what needs the secret has not begun. */
static const rh_op_class open_class = {.name = "secret",
                                       .size = sizeof(rh_secret_op),
                                       .cancel = rh_secret_op_cancel,
                                       .push = push_opened,
                                       .fini = rh_secret_op_fini,
                                       .idle = true};

/* (value) → true when a command that this secret needs has ended: another one may be needed still. Nil: no (more), or nothing
 * can wait here, and native code opens it. Waits. */
static int await_secret(lua_State *L)
{
    const char *argv[SECRET_COMMAND_WORDS + 1] = {NULL};
    const char *name;
    size_t at = 0;
    do
        name = rh_secret_absent(L, 1, &at);
    while (name && !push_command(L, name, argv));
    if (!name || !rh_task_current(L) || !lua_isyieldable(L))
        return 0;
    rh_op *op = rh_secret_op_join(name);
    if (op)
        return rh_await_k(L, op, 0, 0, joined);
    op = rh_op_new(&open_class);
    rh_secret_op_start((rh_secret_op *)op, name, argv, SECRET_COMMAND_MS);
    return rh_await(L, op, 0);
}

/* The secret of that name, which is used for the first time where nothing can wait. */
static bool open_secret(lua_State *L, const char *name, void *data)
{
    (void)data;
    const char *argv[SECRET_COMMAND_WORDS + 1] = {NULL};
    const int top = lua_gettop(L);
    if (!push_command(L, name, argv))
        return false;
    rh_buffer text = {0};
    rh_error error = {0};
    const bool ok = rh_secret_command(name, argv, SECRET_COMMAND_MS, &text, &error) &&
                    rh_secret_push(L, name, text.data ? text.data : "", text.size, &error);
    rh_secret_command_forget(&text);
    if (!ok)
        rh_raise(L, &error);
    lua_settop(L, top);
    return true;
}

void rh_host_open_people(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {
        {"user_exists", user_exists},   {"ask", ask_person},
        {"inbox_drop", inbox_drop},     {"attach", attach},
        {"variable_in", variable_in},   {"secret_command", secret_command},
        {"await_secret", await_secret}, {NULL, NULL}};
    rh_secret_opened_by(open_secret, NULL);
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
}
