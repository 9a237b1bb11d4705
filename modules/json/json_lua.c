/* json: text to values and back, by the host's own JSON (core/json.h). Pure: no effects.
 *   native.encode(value, pretty) → text      native.decode(text) → value      native.null, native.array(t) → t */
#include "core/json.h"
#include "core/luaerror.h"
#include "core/module.h"

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>

/* The text lives in a collected box: pushing the result may raise. */
static int free_text(lua_State *L)
{
    rh_buffer_free(lua_touserdata(L, 1));
    return 0;
}

static rh_buffer *new_text(lua_State *L)
{
    rh_buffer *text = lua_newuserdatauv(L, sizeof *text, 0);
    *text = (rh_buffer){0};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_text);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return text;
}

static int native_encode(lua_State *L)
{
    rh_error error = {0};
    luaL_checkany(L, 1);
    const unsigned flags = lua_toboolean(L, 2) ? RH_JSON_PRETTY : 0;
    rh_buffer *text = new_text(L);
    if (!rh_json_encode(L, 1, text, flags, &error))
        rh_raise(L, &error);
    lua_pushlstring(L, text->data, text->size);
    rh_buffer_free(text);
    return 1;
}

static int native_decode(lua_State *L)
{
    rh_error error = {0};
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (!rh_json_decode(L, text, size, 0, &error))
        rh_raise(L, &error);
    return 1;
}

static int native_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    rh_json_array(L, 1);
    return 1;
}

static int open_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", native_encode},
        {"decode", native_decode},
        {"array", native_array},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    rh_json_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}

RH_MODULE("json", open_json, NULL);
