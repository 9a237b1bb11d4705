#include "core/luaerror.h"
#include "run/host.h"

#include <lua5.4/lauxlib.h>

/* (path) → text, sha256 */
static int source(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    rh_buffer text = {0};
    rh_error error = {0};
    char sha256[RH_SHA256_HEX];
    if (!rh_sources_get(host->sources, luaL_checkstring(L, 1), &text, sha256, &error)) {
        rh_buffer_free(&text);
        rh_raise(L, &error);
    }
    lua_pushlstring(L, text.data ? text.data : "", text.size);
    rh_buffer_free(&text);
    lua_pushstring(L, sha256);
    return 2;
}

/* (path) → boolean */
static int exists_source(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    rh_error error = {0};
    bool there = rh_sources_exists(host->sources, luaL_checkstring(L, 1), &error);
    if (rh_error_is_set(&error))
        rh_raise(L, &error);
    lua_pushboolean(L, there);
    return 1;
}

void rh_host_open_sources(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {
        {"source", source}, {"exists_source", exists_source}, {NULL, NULL}};
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
}
