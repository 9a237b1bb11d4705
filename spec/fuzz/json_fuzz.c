/* Whatever decodes must encode to text that decodes to the same, in both forms. */
#include "core/json.h"
#include "core/secret.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(lua_State *L, const char *text, size_t size, unsigned flags)
{
    rh_error error = {0};
    rh_buffer once = {0};
    rh_buffer twice = {0};
    if (rh_json_decode(L, text, size, flags, &error)) {
        /* a number beyond a double is no JSON any more */
        if (rh_json_encode(L, -1, &once, flags, &error)) {
            if (!rh_json_decode(L, once.data, once.size, flags, &error) ||
                !rh_json_encode(L, -1, &twice, flags, &error))
                abort();
            if (once.size != twice.size || memcmp(once.data, twice.data, once.size) != 0)
                abort();
        }
    }
    rh_error_clear(&error);
    rh_buffer_free(&once);
    rh_buffer_free(&twice);
    lua_settop(L, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (L == NULL) {
        L = luaL_newstate();
        rh_secret_open(L);
        lua_settop(L, 0);
    }
    round_trip(L, (const char *)data, size, 0);
    round_trip(L, (const char *)data, size, RH_JSON_JOURNAL);
    return 0;
}
