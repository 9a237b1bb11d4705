/* pg's Lua parts, for the binding. */
#ifndef RH_MODULES_PG_PARTS_LUA_H
#define RH_MODULES_PG_PARTS_LUA_H

struct lua_State;

/* Sets `parts` of the table on top of the stack: the compiled parts by name, each a function. */
void rh_pg_bind_parts(struct lua_State *L);

#endif
