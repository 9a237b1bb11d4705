#include "core/digest.h"
#include "core/json.h"
#include "core/json_part.h"
#include "core/mask.h"
#include "core/secret.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest text that reads back as the same float. */
static void format_float(double value, char *text, size_t size)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    char *comma = strchr(text, ',');
    if (comma)
        *comma = '.';
    if (!strpbrk(text, ".e"))
        strncat(text, ".0", size - strlen(text) - 1);
}

/* Where the encoder is, for its messages: a key, or an index where there is no key. */
struct place {
    const struct place *up;
    const char *key;
    lua_Integer index;
    unsigned depth;
};

struct encoder {
    lua_State *L;
    rh_buffer *out;
    rh_error *error;
    const rh_mask *mask; /* NULL: nothing is masked */
    unsigned flags;
    bool altered;
};

static void add_path(rh_buffer *path, const struct place *place)
{
    if (!place->up)
        return;
    add_path(path, place->up);
    if (place->key)
        rh_buffer_addf(path, ".%s", place->key);
    else
        rh_buffer_addf(path, "[%lld]", (long long)place->index);
}

static bool refuse(struct encoder *e, const struct place *place, const char *what)
{
    rh_buffer path = {0};
    add_path(&path, place);
    rh_fail(e->error, "json", "%s %s", path.size ? path.data : "the value", what);
    rh_buffer_free(&path);
    return false;
}

static void new_line(struct encoder *e, unsigned depth)
{
    if (!(e->flags & RH_JSON_PRETTY))
        return;
    rh_buffer_add(e->out, "\n", 1);
    for (unsigned i = 0; i < depth; i++)
        rh_buffer_add(e->out, "  ", 2);
}

static void add_bytes(struct encoder *e, const char *text, size_t size)
{
    rh_buffer_adds(e->out, "{\"$bytes\":\"");
    rh_base64_encode(text, size, e->out);
    rh_buffer_adds(e->out, "\"}");
}

static bool add_text(struct encoder *e, const char *text, size_t size, const struct place *place,
                     bool key)
{
    rh_buffer masked = {0};
    if (e->mask && rh_mask_text(e->mask, text, size, &masked)) {
        e->altered = true;
        text = masked.data;
        size = masked.size;
    }
    bool ok = true;
    if (rh_json_is_utf8(text, size) && !(key && memchr(text, 0, size)))
        rh_json_quote(e->out, text, size);
    else if (key)
        ok = refuse(e, place, "has a key that is not UTF-8 text");
    else if (e->flags & RH_JSON_JOURNAL)
        add_bytes(e, text, size);
    else
        ok = refuse(e, place, "is a string that is not UTF-8 text");
    rh_buffer_free(&masked);
    return ok;
}

static bool add_number(struct encoder *e, int idx, const struct place *place)
{
    char text[40];
    if (lua_isinteger(e->L, idx)) {
        snprintf(text, sizeof text, LUA_INTEGER_FMT, lua_tointeger(e->L, idx));
    } else {
        double value = lua_tonumber(e->L, idx);
        if (!isfinite(value)) {
            if (!(e->flags & RH_JSON_JOURNAL))
                return refuse(e, place, "is a number that JSON cannot hold (inf or nan)");
            rh_buffer_addf(e->out, "{\"$float\":\"%s\"}",
                           isnan(value) ? "nan"
                           : value > 0  ? "inf"
                                        : "-inf");
            return true;
        }
        format_float(value, text, sizeof text);
    }
    rh_buffer masked = {0};
    if (e->mask && rh_mask_text(e->mask, text, strlen(text), &masked)) {
        e->altered = true;
        rh_json_quote(e->out, masked.data, masked.size);
    } else {
        rh_buffer_adds(e->out, text);
    }
    rh_buffer_free(&masked);
    return true;
}

static bool add_secret(struct encoder *e, int idx, const struct place *place)
{
    if (e->flags & RH_JSON_JOURNAL) {
        rh_buffer_adds(e->out, "{\"$secret\":");
        rh_secret_reference(e->L, idx, e->out);
        rh_buffer_adds(e->out, "}");
        return true;
    }
    if (!(e->flags & RH_JSON_REVEAL))
        return refuse(e, place, "is a secret: it stays out of JSON");
    size_t size;
    const char *text = rh_secret_text(e->L, idx, &size);
    if (!text)
        return refuse(e, place, "is a secret that is not found any more");
    return add_text(e, text, size, place, false);
}

static bool add_value(struct encoder *e, int idx, const struct place *place);

static bool add_array(struct encoder *e, int idx, lua_Integer count, const struct place *place)
{
    rh_buffer_add(e->out, "[", 1);
    for (lua_Integer i = 1; i <= count; i++) {
        struct place item = {place, NULL, i, place->depth + 1};
        rh_buffer_add(e->out, ",", i > 1);
        new_line(e, item.depth);
        lua_rawgeti(e->L, idx, i);
        bool ok = add_value(e, lua_gettop(e->L), &item);
        lua_pop(e->L, 1);
        if (!ok)
            return false;
    }
    if (count)
        new_line(e, place->depth);
    rh_buffer_add(e->out, "]", 1);
    return true;
}

struct key {
    const char *text;
    size_t size;
    int slot; /* where the key is on the Lua stack: reading the field allocates nothing */
};

static int compare_keys(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->text, b->text, common);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static bool add_fields(struct encoder *e, int idx, const struct key *keys, size_t count,
                       const struct place *place)
{
    rh_buffer_add(e->out, "{", 1);
    for (size_t i = 0; i < count; i++) {
        struct place field = {place, keys[i].text, 0, place->depth + 1};
        rh_buffer_add(e->out, ",", i > 0);
        new_line(e, field.depth);
        if (!add_text(e, keys[i].text, keys[i].size, place, true))
            return false;
        rh_buffer_adds(e->out, e->flags & RH_JSON_PRETTY ? ": " : ":");
        lua_pushvalue(e->L, keys[i].slot);
        lua_rawget(e->L, idx);
        bool ok = add_value(e, lua_gettop(e->L), &field);
        lua_pop(e->L, 1);
        if (!ok)
            return false;
    }
    if (count)
        new_line(e, place->depth);
    rh_buffer_add(e->out, "}", 1);
    return true;
}

static bool add_object(struct encoder *e, int idx, size_t count, const struct place *place)
{
    lua_State *L = e->L;
    int top = lua_gettop(L);
    if (count > INT32_MAX / 2 || !lua_checkstack(L, (int)count + 10))
        return refuse(e, place, "has too many keys");
    struct key *keys = rh_alloc(count * sizeof *keys);
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, idx); n++) {
        lua_pop(L, 1);
        keys[n].text = lua_tolstring(L, -1, &keys[n].size);
        keys[n].slot = lua_gettop(L);
        lua_pushvalue(L, -1);
    }
    qsort(keys, count, sizeof *keys, compare_keys);
    bool hidden = (e->flags & RH_JSON_JOURNAL) && count == 1 && keys[0].text[0] == '$';
    if (hidden)
        rh_buffer_adds(e->out, "{\"$table\":");
    bool ok = add_fields(e, idx, keys, count, place);
    if (hidden)
        rh_buffer_adds(e->out, "}");
    free(keys);
    lua_settop(L, top);
    return ok;
}

static bool add_table(struct encoder *e, int idx, const struct place *place)
{
    lua_State *L = e->L;
    if (place->depth >= RH_JSON_MAX_DEPTH)
        return refuse(e, place, "is nested too deeply (over 100 levels), or contains itself");
    size_t integers = 0, strings = 0;
    lua_Integer highest = 0;
    bool odd = false;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2)) {
            lua_Integer key = lua_tointeger(L, -2);
            odd |= key < 1;
            highest = key > highest ? key : highest;
            integers++;
        } else {
            odd |= lua_type(L, -2) != LUA_TSTRING;
            strings++;
        }
    }
    if (odd || (integers && strings))
        return refuse(e, place,
                      "is a table with mixed keys: a list has 1 to n, anything else has names");
    if ((size_t)highest != integers)
        return refuse(e, place, "is a list with holes: use json.null for a missing item");
    if (integers || (!strings && rh_json_is_array(L, idx)))
        return add_array(e, idx, highest, place);
    return add_object(e, idx, strings, place);
}

static bool add_value(struct encoder *e, int idx, const struct place *place)
{
    if (!lua_checkstack(e->L, 10))
        return refuse(e, place, "is nested too deeply");
    switch (lua_type(e->L, idx)) {
    case LUA_TNIL:
        rh_buffer_adds(e->out, "null");
        return true;
    case LUA_TBOOLEAN:
        rh_buffer_adds(e->out, lua_toboolean(e->L, idx) ? "true" : "false");
        return true;
    case LUA_TNUMBER:
        return add_number(e, idx, place);
    case LUA_TSTRING: {
        size_t size;
        const char *text = lua_tolstring(e->L, idx, &size);
        return add_text(e, text, size, place, false);
    }
    case LUA_TTABLE:
        return add_table(e, idx, place);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(e->L, idx) == NULL) {
            rh_buffer_adds(e->out, "null");
            return true;
        }
        break;
    case LUA_TUSERDATA:
        if (rh_secret_is(e->L, idx))
            return add_secret(e, idx, place);
        break;
    default:
        break;
    }
    char what[64];
    snprintf(what, sizeof what, "is a %s: it cannot be kept",
             lua_typename(e->L, lua_type(e->L, idx)));
    return refuse(e, place, what);
}

static bool encode(struct encoder *e, int idx)
{
    const struct place root = {0};
    const size_t size = e->out->size;
    rh_buffer_reserve(e->out, 0);
    if (lua_checkstack(e->L, 10) && add_value(e, lua_absindex(e->L, idx), &root))
        return true;
    e->out->data[e->out->size = size] = '\0';
    return false;
}

bool rh_json_encode(lua_State *L, int idx, rh_buffer *out, unsigned flags, rh_error *error)
{
    struct encoder e = {.L = L, .out = out, .error = error, .flags = flags};
    return encode(&e, idx);
}

bool rh_json_encode_masked(lua_State *L, int idx, rh_buffer *out, unsigned flags, bool *altered,
                           rh_error *error)
{
    const rh_mask *mask = rh_mask_process();
    struct encoder e = {.L = L,
                        .out = out,
                        .error = error,
                        .mask = rh_mask_is_empty(mask) ? NULL : mask,
                        .flags = flags};
    bool ok = encode(&e, idx);
    if (altered)
        *altered = e.altered;
    return ok;
}
