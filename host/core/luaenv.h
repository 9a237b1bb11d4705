/* The Lua environment (LANGUAGE.md, section 1): a state with a limited allocator and a CPU budget, and the basics
 * that a playbook may use: no way to touch the world, to see an address, or to depend on hash order. */
#ifndef RH_CORE_LUAENV_H
#define RH_CORE_LUAENV_H

#include <lua5.4/lua.h>
#include <stddef.h>

#define RH_LUA_MEMORY ((size_t)256 << 20)
#define RH_LUA_CPU_MS 1000

/* A state with string, table, math, utf8, coroutine, debug and the basic functions as globals, for the host's own Lua.
 * Never NULL (aborts without memory). Close with rh_luaenv_close(). */
lua_State *rh_luaenv_new(size_t memory, int cpu_ms);
void rh_luaenv_close(lua_State *L);
size_t rh_luaenv_memory(lua_State *L);             /* bytes in use */
void rh_luaenv_limit(lua_State *L, size_t memory); /* another limit from now on */

/* For each new state and coroutine: gives it a stack that need not grow. Where `"a" .. b .. "c"` calls a __concat (a
 * secret's, that of what a plan does not know) just when the stack moves, Lua 5.4.4 goes on in the old one: wrong text, or
 * memory that is written after its end. It does not shrink below what is asked for here. Raises without memory. */
void rh_luaenv_reserve(lua_State *L, lua_State *co);

/* Pushes a new table of what a playbook may use: string (without dump, with %p refused), table, math (without the
 * random functions: lang seeds its own), utf8, coroutine (create resume wrap status close isyieldable running, yield
 * only inside a coroutine of its own), assert error ipairs pairs next pcall xpcall rawequal rawget rawlen rawset select
 * setmetatable getmetatable tonumber tostring type _VERSION. pairs and next go in sorted order; pcall, xpcall and
 * coroutine.resume pass on errors whose field `control` is true. */
void rh_luaenv_push_basics(lua_State *L);

/* Sorted iteration, also used by the host's own Lua. */
int rh_pairs(lua_State *L);
int rh_next(lua_State *L);

/* Loads text only. Returns a status like luaL_loadbufferx. */
int rh_load_text(lua_State *L, const char *text, size_t size, const char *chunkname);

#endif
