/* Values between Lua and the server. */
#ifndef RH_MODULES_PG_VALUE_H
#define RH_MODULES_PG_VALUE_H

#include "pg.h"

struct lua_State;

/* Pushes what the server sent as text, by its type. `numbers`: a numeric becomes a number as well. */
void rh_pg_push_value(struct lua_State *L, const rh_pg_column *column, const char *text,
                      size_t size, bool numbers);
/* Fills a parameter from the value on top of the stack. */
bool rh_pg_set_param(struct lua_State *L, rh_pg_param *param, size_t number, rh_error *error);

#endif
