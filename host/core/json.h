/* The one JSON of the host, on jansson: integers stay integers, floats round-trip (17 digits, always with
 * a point or an exponent), keys are sorted bytewise, so equal values have equal text. lua-cjson is not
 * used: it turns 5000 into 5000.0 and cannot hold 2^53+1. */
#ifndef RH_CORE_JSON_H
#define RH_CORE_JSON_H

#include "core/buffer.h"
#include "core/error.h"

#include <lua5.4/lua.h>

enum {
    /* Journal form: strings that are not UTF-8 become {"$bytes": base64}, inf and nan {"$float": "inf"},
     * a secret {"$secret": …}, an empty array {"$array": 0}… everything that plain JSON would lose.
     * Decoding with the same flag restores it. Without it such values are errors. */
    RH_JSON_JOURNAL = 1,
    RH_JSON_PRETTY = 2,
    RH_JSON_MAX_DEPTH = 100, /* of nesting, both ways */
};

/* Appends the value at idx. Errors ("json"): a function, a cycle, a table with mixed keys; the message
 * names the path (".rows[3].name"). Never raises a Lua error. */
bool rh_json_encode(lua_State *L, int idx, rh_buffer *out, unsigned flags, rh_error *error);
/* Pushes the value. JSON null is rh_json_null(). Errors name line and column. Integers beyond 64 bits
 * become floats. */
bool rh_json_decode(lua_State *L, const char *text, size_t size, unsigned flags, rh_error *error);
void rh_json_null(lua_State *L);            /* pushes json.null: a light userdata NULL */
void rh_json_array(lua_State *L, int idx);  /* marks the table at idx as an array, also when empty */
void rh_json_quote(rh_buffer *out, const char *text, size_t size); /* "…" with escapes, for C callers */

#endif
