/* The parts of the binding. Each pushes nothing and adds its functions to the table at the top. */
#ifndef RH_MODULES_MYSQL_BINDING_H
#define RH_MODULES_MYSQL_BINDING_H

struct lua_State;

#define RH_MYSQL_CONFIG "rollout.mysql.config" /* the metatable of a config's box */

void rh_mysql_bind_files(struct lua_State *L);
void rh_mysql_bind_commands(struct lua_State *L);

#endif
