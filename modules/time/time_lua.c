/* time: the one thing it needs from outside is the clock. native.now() → milliseconds since 1970. */
#include "core/loop.h"
#include "core/module.h"

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>

static int native_now(lua_State *L)
{
    lua_pushinteger(L, rh_wall_ms());
    return 1;
}

static int open_time(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"now", native_now},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}

RH_MODULE("time", open_time, NULL);
