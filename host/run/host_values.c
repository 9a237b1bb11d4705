#include "core/buffer.h"
#include "core/digest.h"
#include "core/json.h"
#include "core/loop.h"
#include "core/luaerror.h"
#include "core/secret.h"
#include "core/suggest.h"
#include "run/host.h"
#include "run/zone.h"

#include <lua5.4/lauxlib.h>
#include <string.h>

/* Variables and secrets. --------------------------------------------------------------------------- */

/* (name) → text, origin | nil */
static int variable(lua_State *L)
{
    rh_buffer value = {0};
    const char *origin;
    if (!rh_variables_get(rh_host_of(L)->variables, luaL_checkstring(L, 1), &value, &origin)) {
        rh_buffer_free(&value);
        return 0;
    }
    lua_pushlstring(L, value.data ? value.data : "", value.size);
    rh_buffer_free(&value);
    lua_pushstring(L, origin);
    return 2;
}

/* (file, name) → text | nil[, why] */
static int variable_in(lua_State *L)
{
    rh_buffer value = {0};
    rh_error error = {0};
    if (rh_variables_in_file(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &value, &error))
        lua_pushlstring(L, value.data ? value.data : "", value.size);
    else
        lua_pushnil(L);
    lua_pushstring(L, error.message);
    rh_buffer_free(&value);
    rh_error_clear(&error);
    return 2;
}

/* Pushes the secret of that name if it is found anywhere. */
static bool push_secret(lua_State *L, rh_host *host, const char *name, rh_error *error)
{
    rh_buffer value = {0};
    bool found = rh_variables_get(host->variables, name, &value, NULL) &&
                 rh_secret_push(L, name, value.data ? value.data : "", value.size, error);
    rh_buffer_free(&value);
    return found;
}

/* (name) → secret | nil */
static int secret(lua_State *L)
{
    rh_error error = {0};
    bool found = push_secret(L, rh_host_of(L), luaL_checkstring(L, 1), &error);
    if (rh_error_is_set(&error))
        rh_raise(L, &error);
    return found;
}

static bool find_secret(lua_State *L, const char *name, void *data)
{
    return push_secret(L, data, name, NULL);
}

/* (name, text) → secret */
static int make_secret(lua_State *L)
{
    size_t size;
    const char *name = luaL_checkstring(L, 1), *text = rh_check_secret_text(L, 2, &size);
    rh_error error = {0};
    if (!rh_secret_push(L, name, text, size, &error))
        rh_raise(L, &error);
    return 1;
}

static int is_secret(lua_State *L)
{
    lua_pushboolean(L, rh_secret_is(L, 1));
    return 1;
}

/* (text) → hex */
static int fingerprint(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    size_t size;
    const char *text = rh_check_secret_text(L, 1, &size);
    rh_error error = {0};
    if (!host->has_key && !host->request->state) /* a plan keeps nothing: equal is enough */
        rh_random(host->key, sizeof host->key);
    else if (!host->has_key && !rh_state_key(host->request->state, host->key, &error))
        rh_raise(L, &error);
    host->has_key = true;
    char hex[RH_SHA256_HEX];
    rh_hmac_sha256_hex(host->key, sizeof host->key, text, size, hex);
    lua_pushstring(L, hex);
    return 1;
}

/* Digests. ----------------------------------------------------------------------------------------- */

/* (text) → hex */
static int sha256(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    char hex[RH_SHA256_HEX];
    rh_sha256_hex(text, size, hex);
    lua_pushstring(L, hex);
    return 1;
}

/* (value) → hex of its journal form, in which secrets stand by name */
static int digest(lua_State *L)
{
    rh_buffer text = {0};
    rh_error error = {0};
    char hex[RH_SHA256_HEX];
    luaL_checkany(L, 1);
    bool ok = rh_json_encode(L, 1, &text, RH_JSON_JOURNAL, &error);
    if (ok)
        rh_sha256_hex(text.data, text.size, hex);
    rh_buffer_free(&text);
    if (!ok)
        rh_raise(L, &error);
    lua_pushstring(L, hex);
    return 1;
}

/* (bytes) → hex */
static int random_hex(lua_State *L)
{
    uint8_t bytes[64];
    char hex[2 * sizeof bytes + 1];
    lua_Integer size = luaL_checkinteger(L, 1);
    luaL_argcheck(L, size > 0 && size <= (lua_Integer)sizeof bytes, 1, "1 to 64 bytes");
    rh_random(bytes, (size_t)size);
    rh_hex(bytes, (size_t)size, hex);
    lua_pushstring(L, hex);
    return 1;
}

/* JSON. -------------------------------------------------------------------------------------------- */

/* (value[, { pretty, reveal, journal }]) → text */
static int json_encode(lua_State *L)
{
    static const struct {
        const char *name;
        unsigned flag;
    } options[] = {
        {"pretty", RH_JSON_PRETTY}, {"reveal", RH_JSON_REVEAL}, {"journal", RH_JSON_JOURNAL}};
    unsigned flags = 0;
    luaL_checkany(L, 1);
    for (size_t i = 0; lua_istable(L, 2) && i < sizeof options / sizeof *options; i++) {
        lua_getfield(L, 2, options[i].name);
        flags |= lua_toboolean(L, -1) ? options[i].flag : 0;
        lua_pop(L, 1);
    }
    rh_buffer text = {0};
    rh_error error = {0};
    bool ok = rh_json_encode(L, 1, &text, flags, &error);
    if (ok)
        lua_pushlstring(L, text.data, text.size);
    rh_buffer_free(&text);
    if (!ok)
        rh_raise(L, &error);
    return 1;
}

/* (text) → value */
static int json_decode(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    rh_error error = {0};
    if (!rh_json_decode(L, text, size, 0, &error))
        rh_raise(L, &error);
    return 1;
}

/* (table) → the same, marked as an array */
static int json_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    rh_json_array(L, 1);
    return 1;
}

/* Words and clocks. -------------------------------------------------------------------------------- */

/* (word, list) → 'did you mean "x"?' | nil */
static int suggest(lua_State *L)
{
    const char *word = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    const size_t count = (size_t)luaL_len(L, 2);
    /* In Lua's memory: an error on the way frees it. */
    const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    size_t n = 0;
    luaL_checkstack(L, (int)count + 5, "too many words");
    for (size_t i = 1; i <= count; i++)
        if (lua_rawgeti(L, 2, (lua_Integer)i) == LUA_TSTRING)
            list[n++] = lua_tostring(L, -1); /* the table keeps it */
    list[n] = NULL;
    const char *nearest = rh_suggest(word, list);
    if (!nearest)
        return 0;
    lua_pushfstring(L, "did you mean \"%s\"?", nearest);
    return 1;
}

static int now(lua_State *L)
{
    lua_pushinteger(L, rh_wall_ms());
    return 1;
}

static int mono(lua_State *L)
{
    lua_pushinteger(L, rh_mono_us() / 1000);
    return 1;
}

/* (zone | nil, seconds) → offset, abbreviation | nil, why */
static int zone_offset(lua_State *L)
{
    int32_t offset;
    char abbreviation[RH_ZONE_NAME];
    rh_error error = {0};
    if (!rh_zone_offset(luaL_optstring(L, 1, NULL), luaL_checkinteger(L, 2), &offset, abbreviation,
                        &error)) {
        lua_pushnil(L);
        lua_pushstring(L, error.message);
        rh_error_clear(&error);
        return 2;
    }
    lua_pushinteger(L, offset);
    lua_pushstring(L, abbreviation);
    return 2;
}

void rh_host_open_values(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {{"variable", variable},
                                     {"variable_in", variable_in},
                                     {"secret", secret},
                                     {"make_secret", make_secret},
                                     {"is_secret", is_secret},
                                     {"fingerprint", fingerprint},
                                     {"sha256", sha256},
                                     {"digest", digest},
                                     {"random", random_hex},
                                     {"suggest", suggest},
                                     {"now", now},
                                     {"mono", mono},
                                     {"zone_offset", zone_offset},
                                     {NULL, NULL}};
    static const luaL_Reg json[] = {
        {"encode", json_encode}, {"decode", json_decode}, {"array", json_array}, {NULL, NULL}};
    rh_secret_open(L);
    rh_secret_found_by(find_secret, host);
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
    luaL_newlib(L, json);
    rh_json_null(L);
    lua_setfield(L, -2, "null");
    lua_setfield(L, -2, "json");
}
