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

/* The secret of that name, which is used for the first time. */
static bool open_secret(lua_State *L, const char *name, void *data)
{
    (void)data;
    const char *argv[SECRET_COMMAND_WORDS + 1] = {NULL};
    const int top = lua_gettop(L);
    luaL_checkstack(L, SECRET_COMMAND_WORDS + 4, "secret");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, COMMANDS);
    if (lua_getfield(L, -1, name) != LUA_TTABLE) {
        lua_settop(L, top);
        return false;
    }
    const int list = lua_gettop(L);
    for (lua_Integer i = 0; i < luaL_len(L, list); i++) {
        lua_rawgeti(L, list, i + 1); /* stays on the stack while argv points to it */
        argv[i] = luaL_checkstring(L, -1);
    }
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
    static const luaL_Reg calls[] = {{"user_exists", user_exists},
                                     {"ask", ask_person},
                                     {"inbox_drop", inbox_drop},
                                     {"attach", attach},
                                     {"variable_in", variable_in},
                                     {"secret_command", secret_command},
                                     {NULL, NULL}};
    rh_secret_opened_by(open_secret, NULL);
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
}
