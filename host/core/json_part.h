/* What the parts of json.c share; nobody else includes it. */
#ifndef RH_CORE_JSON_PART_H
#define RH_CORE_JSON_PART_H

#include <lua5.4/lua.h>
#include <stdbool.h>
#include <stddef.h>

bool rh_json_is_utf8(const char *text, size_t size);
bool rh_json_is_array(lua_State *L, int idx); /* marked by rh_json_array() */

#endif
