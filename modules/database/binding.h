/* The parts of the binding. Each pushes nothing and adds its functions to the table at the top. */
#ifndef RH_MODULES_DATABASE_BINDING_H
#define RH_MODULES_DATABASE_BINDING_H

struct lua_State;

void rh_database_bind_files(struct lua_State *L);
void rh_database_bind_commands(struct lua_State *L);

#endif
