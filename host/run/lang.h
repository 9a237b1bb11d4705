/* The language: the Lua files of host/lang, embedded in the binary. */
#ifndef RH_RUN_LANG_H
#define RH_RUN_LANG_H

#include <lua5.4/lua.h>

/* Gives the state its private `require "lang.x"`, and "lang.host": the table on top of the stack (popped), to which
 * the calls about Lua itself (basics, module, digest, …) are added here. */
void rh_lang_open(lua_State *L);
/* Pushes what `require "lang.NAME"` returns. Raises. */
void rh_lang_require(lua_State *L, const char *name);

#endif
