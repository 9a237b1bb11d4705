#include "core/luaerror.h"

#include "core/buffer.h"
#include "core/json.h"

#include <lua5.4/lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char ERROR[] = "rh_error";

static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "where");
    lua_getfield(L, 1, "message");
    const char *where = lua_tostring(L, -2), *message = lua_tostring(L, -1);
    if (where)
        lua_pushfstring(L, "%s: %s", where, message ? message : "error");
    else
        lua_pushstring(L, message ? message : "error");
    return 1;
}

static void set_metatable(lua_State *L)
{
    if (luaL_newmetatable(L, ERROR)) {
        lua_pushcfunction(L, error_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushstring(L, "error");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0); /* a playbook may look at an error, and not at what makes it one */
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

static int fill(lua_State *L)
{
    const rh_error *error = lua_touserdata(L, 1);
    lua_createtable(L, 0, 6);
    lua_pushstring(L, error->code ? error->code : "error");
    lua_setfield(L, -2, "code");
    lua_pushstring(L, error->message ? error->message : "error");
    lua_setfield(L, -2, "message");
    lua_pushstring(L, error->module);
    lua_setfield(L, -2, "module");
    if (error->detail) {
        rh_error ignored = {0};
        if (rh_json_decode(L, error->detail, strlen(error->detail), 0, &ignored))
            lua_setfield(L, -2, "detail");
        rh_error_clear(&ignored);
    }
    set_metatable(L);
    return 1;
}

/* Where Lua has no memory for the table, its own error is raised instead, and ours is freed all the same. */
void rh_error_push(lua_State *L, rh_error *error)
{
    bool room = lua_checkstack(L, 8);
    if (room) {
        lua_pushcfunction(L, fill);
        lua_pushlightuserdata(L, error);
        room = lua_pcall(L, 1, 1, 0) == LUA_OK;
    }
    rh_error_clear(error);
    if (!room)
        lua_error(L);
}

void rh_raise(lua_State *L, rh_error *error)
{
    rh_error_push(L, error);
    lua_error(L);
    abort();
}

void rh_raisef(lua_State *L, const char *code, const char *format, ...)
{
    rh_error error = {0};
    va_list args;
    va_start(args, format);
    error.code = code;
    error.message = rh_vformat(format, args);
    va_end(args);
    rh_raise(L, &error);
}

void rh_error_normalise(lua_State *L)
{
    int top = lua_gettop(L);
    if (lua_istable(L, top) && lua_getmetatable(L, top)) {
        luaL_getmetatable(L, ERROR);
        bool same = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (same)
            return;
    }
    size_t size;
    const char *text = luaL_tolstring(L, top, &size);
    rh_error error = {.code = "lua", .message = rh_strndup(text, size)};
    if (strcmp(text, "not enough memory") == 0) {
        error.code = "memory";
        free(error.message);
        error.message =
            rh_strdup("the playbook's Lua needs more memory than it may have (256 MiB)");
    }
    lua_settop(L, top);
    rh_error_push(L, &error);
    lua_replace(L, top);
}

void rh_error_from_lua(lua_State *L, int idx, rh_error *error)
{
    /* Codes are a small set of words; a copy that lives as long as the process keeps `code` a plain string. */
    static const char *known[64];
    lua_pushvalue(L, idx);
    rh_error_normalise(L);
    lua_getfield(L, -1, "code");
    const char *code = lua_tostring(L, -1);
    const char *kept = "error";
    for (int i = 0; code && i < 64; i++) {
        if (!known[i])
            known[i] = rh_strdup(code);
        if (strcmp(known[i], code) == 0) {
            kept = known[i];
            break;
        }
    }
    luaL_tolstring(L, -2, NULL);
    rh_fail(error, kept, "%s", lua_tostring(L, -1));
    lua_pop(L, 3);
}
