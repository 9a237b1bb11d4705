/* rh_error in Lua: a table { code, message, module, detail, cause, traceback } with a metatable whose
 * __tostring is "file:line: message" or "message". */
#ifndef RH_CORE_LUAERROR_H
#define RH_CORE_LUAERROR_H

#include "core/error.h"

#include <lua5.4/lua.h>

/* Pushes the error as a Lua table and empties *error. */
void rh_error_push(lua_State *L, rh_error *error);
/* Raises it (longjmp); *error is emptied first, so nothing leaks. */
_Noreturn void rh_raise(lua_State *L, rh_error *error);
_Noreturn void rh_raisef(lua_State *L, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Fills *error from the Lua value at idx (a table as above, or any value through tostring). */
void rh_error_from_lua(lua_State *L, int idx, rh_error *error);
/* Makes any Lua value at the top an error table in place (a plain string becomes code "lua"). */
void rh_error_normalise(lua_State *L);

#endif
