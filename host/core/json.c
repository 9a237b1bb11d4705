#include "core/json.h"

#include "core/json_part.h"
#include "core/mask.h"

#include <jansson.h>
#include <lua5.4/lauxlib.h>
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

bool rh_json_is_array(lua_State *L, int idx)
{
    if (!lua_getmetatable(L, idx))
        return false;
    luaL_getmetatable(L, array_mark);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

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

bool rh_json_is_utf8(const char *text, size_t size)
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
