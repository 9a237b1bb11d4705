#include "core/digest.h"
#include "core/json.h"
#include "core/secret.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct decoder {
    json_t *root;
    unsigned flags;
    rh_error *error;
};

static bool push_json(lua_State *L, const json_t *value, unsigned depth, struct decoder *d);

static bool push_array(lua_State *L, const json_t *array, unsigned depth, struct decoder *d)
{
    size_t count = json_array_size(array);
    lua_createtable(L, (int)count, 0);
    rh_json_array(L, -1);
    for (size_t i = 0; i < count; i++) {
        if (!push_json(L, json_array_get(array, i), depth, d))
            return false;
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return true;
}

static bool push_object(lua_State *L, const json_t *object, unsigned depth, struct decoder *d)
{
    const char *key;
    json_t *value;
    lua_createtable(L, 0, (int)json_object_size(object));
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        lua_pushstring(L, key);
        if (!push_json(L, value, depth, d))
            return false;
        lua_rawset(L, -3);
    }
    return true;
}

static bool push_secret(lua_State *L, const json_t *parts)
{
    lua_pushliteral(L, "");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *name = json_string_value(json_object_get(part, "name"));
        if (name)
            rh_secret_find(L, name);
        else
            lua_pushlstring(L, json_string_value(part), json_string_length(part));
        if (i == 0)
            lua_remove(L, -2);
        else
            lua_concat(L, 2);
    }
    return true;
}

/* An object with one key that begins with "$". False and no error: it is an ordinary one. */
static bool push_hidden(lua_State *L, const json_t *object, unsigned depth, struct decoder *d)
{
    const char *key = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)object));
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (strcmp(key, "$bytes") == 0 && text) {
        rh_buffer bytes = {0};
        bool ok = rh_base64_decode(text, json_string_length(value), &bytes);
        if (ok)
            lua_pushlstring(L, bytes.data, bytes.size);
        rh_buffer_free(&bytes);
        return ok || rh_fail(d->error, "json", "$bytes is not base64");
    }
    if (strcmp(key, "$float") == 0 && text) {
        lua_pushnumber(L, strtod(text, NULL));
        return true;
    }
    if (strcmp(key, "$secret") == 0 && json_is_array(value))
        return push_secret(L, value);
    if (strcmp(key, "$table") == 0 && json_is_object(value))
        return push_object(L, value, depth, d);
    return rh_fail(d->error, "json", "\"%s\" is no value that this version knows", key);
}

static bool push_json(lua_State *L, const json_t *value, unsigned depth, struct decoder *d)
{
    const bool nests = json_is_array(value) || json_is_object(value);
    if ((nests && depth >= RH_JSON_MAX_DEPTH) || !lua_checkstack(L, 10))
        return rh_fail(d->error, "json", "nested too deeply (over %d levels)", RH_JSON_MAX_DEPTH);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        if ((d->flags & RH_JSON_JOURNAL) && json_object_size(value) == 1 &&
            json_object_iter_key(json_object_iter((json_t *)(uintptr_t)value))[0] == '$')
            return push_hidden(L, value, depth + 1, d);
        return push_object(L, value, depth + 1, d);
    case JSON_ARRAY:
        return push_array(L, value, depth + 1, d);
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        return true;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(value));
        return true;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        return true;
    default:
        rh_json_null(L);
        return true;
    }
}

/* jansson refuses integers beyond 64 bits: this makes floats of them, outside of strings. */
static json_t *load_large(const char *text, size_t size, size_t flags, json_error_t *error)
{
    rh_buffer widened = {0};
    bool quoted = false;
    for (size_t i = 0; i < size;) {
        size_t length = 0;
        while (!quoted && i + length < size && text[i + length] &&
               strchr("-+.eE0123456789", text[i + length]))
            length++;
        if (quoted && text[i] == '\\' && i + 1 < size)
            length = 2;
        else if (text[i] == '"')
            quoted = !quoted;
        const size_t start = widened.size;
        const bool number = length > 2;
        length = length ? length : 1;
        rh_buffer_add(&widened, text + i, length);
        i += length;
        errno = 0;
        if (number && !strpbrk(widened.data + start, ".eE") &&
            (strtoll(widened.data + start, NULL, 10), errno == ERANGE))
            rh_buffer_adds(&widened, ".0");
    }
    json_t *root = json_loadb(widened.data, widened.size, flags, error);
    rh_buffer_free(&widened);
    return root;
}

static json_t *load(const char *text, size_t size, rh_error *error)
{
    static const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t failure;
    json_t *root = json_loadb(text, size, flags, &failure);
    if (!root && json_error_code(&failure) == json_error_numeric_overflow)
        root = load_large(text, size, flags, &failure);
    if (!root)
        rh_fail(error, "json", "not JSON: line %d, column %d: %s", failure.line, failure.column,
                failure.text);
    return root;
}

static int push_protected(lua_State *L)
{
    struct decoder *d = lua_touserdata(L, 1);
    lua_pushboolean(L, push_json(L, d->root, 0, d));
    lua_insert(L, -2);
    return 2;
}

bool rh_json_decode(lua_State *L, const char *text, size_t size, unsigned flags, rh_error *error)
{
    struct decoder d = {.flags = flags, .error = error};
    if (!lua_checkstack(L, 5) || !(d.root = load(text, size, error)))
        return rh_fail(error, "json", "no memory");
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, &d);
    /* Protected: a memory limit that is reached half-way must not leak the tree. */
    int status = lua_pcall(L, 1, 2, 0);
    json_decref(d.root);
    if (status != LUA_OK) {
        rh_fail(error, "memory", "no memory left for %zu bytes of JSON", size);
        lua_pop(L, 1);
        return false;
    }
    bool ok = lua_toboolean(L, -2);
    lua_remove(L, -2);
    if (!ok)
        lua_pop(L, 1);
    return ok;
}
