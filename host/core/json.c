#include "core/json.h"

#include "core/digest.h"
#include "core/mask.h"
#include "core/secret.h"

#include <errno.h>
#include <jansson.h>
#include <lua5.4/lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char array_mark[] = "json.array";

void rh_json_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

void rh_json_array(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (luaL_newmetatable(L, array_mark)) {
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, idx);
}

static bool is_marked(lua_State *L, int idx)
{
    if (!lua_getmetatable(L, idx))
        return false;
    luaL_getmetatable(L, array_mark);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* Text. ------------------------------------------------------------------------------------------ */

/* The length of the UTF-8 sequence at text, 0 where there is none (overlong, surrogate, cut off). */
static size_t sequence(const unsigned char *text, size_t size)
{
    if (text[0] < 0x80)
        return 1;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

static bool is_utf8(const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t length = sequence((const unsigned char *)text + i, size - i);
        if (!length)
            return false;
        i += length;
    }
    return true;
}

void rh_json_quote(rh_buffer *out, const char *text, size_t size)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    rh_buffer_add(out, "\"", 1);
    for (size_t i = 0, plain = 0; i <= size; i++) {
        unsigned char c = i < size ? (unsigned char)text[i] : 0;
        size_t length =
            i < size && c >= 0x80 ? sequence((const unsigned char *)text + i, size - i) : 1;
        if (i < size && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && length) {
            i += length - 1;
            continue;
        }
        rh_buffer_add(out, text + plain, i - plain);
        plain = i + 1;
        const char *found = c ? strchr(named, c) : NULL;
        if (i == size)
            break;
        if (found)
            rh_buffer_addf(out, "\\%c", letters[found - named]);
        else if (!length)
            rh_buffer_adds(out, "\\ufffd");
        else
            rh_buffer_addf(out, "\\u%04x", c);
    }
    rh_buffer_add(out, "\"", 1);
}

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

/* Encoding. -------------------------------------------------------------------------------------- */

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
    if (is_utf8(text, size) && !(key && memchr(text, 0, size)))
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
    size_t size;
    const char *text = rh_secret_text(e->L, idx, &size);
    if (e->flags & RH_JSON_JOURNAL) {
        rh_buffer_adds(e->out, "{\"$secret\":");
        rh_secret_reference(e->L, idx, e->out);
        rh_buffer_adds(e->out, "}");
        return true;
    }
    if (!(e->flags & RH_JSON_REVEAL))
        return refuse(e, place, "is a secret: it stays out of JSON");
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
    if (integers || (!strings && is_marked(L, idx)))
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
    struct encoder e = {
        .L = L, .out = out, .error = error, .mask = rh_mask_process(), .flags = flags};
    bool ok = encode(&e, idx);
    if (altered)
        *altered = e.altered;
    return ok;
}

/* Decoding. -------------------------------------------------------------------------------------- */

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

/* Masking JSON text. ------------------------------------------------------------------------------ */

static json_t *mask_leaf(const char *text, size_t size)
{
    rh_buffer masked = {0};
    json_t *leaf = NULL;
    if (rh_mask_text(rh_mask_process(), text, size, &masked))
        leaf = json_stringn(masked.data, masked.size);
    rh_buffer_free(&masked);
    return leaf;
}

/* What takes the place of `value`, or NULL where it can stay. */
static json_t *mask_value(json_t *value)
{
    if (json_is_string(value))
        return mask_leaf(json_string_value(value), json_string_length(value));
    if (json_is_number(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        json_t *leaf = text ? mask_leaf(text, strlen(text)) : NULL;
        free(text);
        return leaf;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *masked = mask_value(json_array_get(value, i));
        if (masked)
            json_array_set_new(value, i, masked);
    }
    const char *key;
    json_t *field;
    json_object_foreach(value, key, field)
    {
        json_t *masked = mask_value(field);
        if (masked)
            json_object_set_new(value, key, masked);
    }
    return NULL;
}

void rh_json_mask(const char *text, size_t size, rh_buffer *out)
{
    const size_t start = out->size;
    if (!rh_mask_text(rh_mask_process(), text, size, out))
        return;
    json_t *root = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!root)
        return; /* no JSON to begin with: masked text is all there is to give */
    json_t *masked = mask_value(root);
    char *dumped =
        json_dumps(masked ? masked : root, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    if (dumped) {
        out->size = start;
        rh_buffer_adds(out, dumped);
    }
    free(dumped);
    json_decref(masked);
    json_decref(root);
}
