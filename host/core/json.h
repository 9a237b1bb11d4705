/* The one JSON of the host, on jansson: integers stay integers, floats round-trip (17 digits, always with
 * a point or an exponent), keys are sorted bytewise, so equal values have equal text. lua-cjson is not
 * used: it turns 5000 into 5000.0 and cannot hold 2^53+1. */
#ifndef RH_CORE_JSON_H
#define RH_CORE_JSON_H

#include "core/buffer.h"
#include "core/error.h"

#include <lua5.4/lua.h>

enum {
    /* Journal form: what plain JSON would lose is written as an object with one key that begins with "$":
     * bytes that are not UTF-8 {"$bytes": base64}, inf and nan {"$float": "inf"}, a secret
     * {"$secret": ["Bearer ", {"name": "TOKEN"}]}, and a table of the caller's that looks like one of these
     * {"$table": …}. Decoding with the same flag restores it. Without it such values are errors. */
    RH_JSON_JOURNAL = 1,
    RH_JSON_PRETTY = 2,
    RH_JSON_REVEAL =
        4, /* secrets are written as their text: for what an effect sends, never for a log */
    RH_JSON_MAX_DEPTH = 100, /* of nesting, both ways */
};

/* Appends the value at idx. A table with the keys 1..n, or one marked by rh_json_array(), is an array.
 * Errors ("json"): a function, a cycle, a table with mixed keys; the message names the path
 * (".rows[3].name"). Never raises a Lua error. */
bool rh_json_encode(lua_State *L, int idx, rh_buffer *out, unsigned flags, rh_error *error);
/* The same with every string, key and number masked by the process's set, each on its own, so that the
 * text stays JSON; a number that is a secret becomes a string. *altered: masking changed something. */
bool rh_json_encode_masked(lua_State *L, int idx, rh_buffer *out, unsigned flags, bool *altered,
                           rh_error *error);
/* Appends JSON text masked in the same way, for C callers, whose keys are constants and stay. */
void rh_json_mask(const char *text, size_t size, rh_buffer *out);

/* Pushes the value; nothing on errors ("json", which name line and column). JSON null is rh_json_null(),
 * arrays are marked, integers beyond 64 bits become floats. */
bool rh_json_decode(lua_State *L, const char *text, size_t size, unsigned flags, rh_error *error);
void rh_json_null(lua_State *L);           /* pushes json.null: a light userdata NULL */
void rh_json_array(lua_State *L, int idx); /* marks the table at idx as an array, also when empty */
/* "…" with escapes, for C callers; what is not UTF-8 becomes U+FFFD. */
void rh_json_quote(rh_buffer *out, const char *text, size_t size);

#endif
