#include "value.h"

#include "core/json.h"
#include "core/secret.h"

#include <lua5.4/lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_DIMENSIONS = 6 };

enum {
    BOOL = 16,
    BYTEA = 17,
    INT8 = 20,
    INT2 = 21,
    INT4 = 23,
    OID = 26,
    JSON = 114,
    FLOAT4 = 700,
    FLOAT8 = 701,
    TIMESTAMP = 1114,
    TIMESTAMPTZ = 1184,
    NUMERIC = 1700,
    JSONB = 3802,
};

/* Array types that every server has: type, element. */
static const unsigned arrays[][2] = {
    {143, 142},          {199, JSON},    {271, 5069},       {629, 628},   {651, 650},
    {719, 718},          {775, 774},     {791, 790},        {1000, BOOL}, {1001, BYTEA},
    {1002, 18},          {1003, 19},     {1005, INT2},      {1007, INT4}, {1008, 24},
    {1009, 25},          {1010, 27},     {1011, 28},        {1012, 29},   {1014, 1042},
    {1015, 1043},        {1016, INT8},   {1017, 600},       {1018, 601},  {1019, 602},
    {1021, FLOAT4},      {1022, FLOAT8}, {1027, 604},       {1028, OID},  {1034, 1033},
    {1040, 829},         {1041, 869},    {1115, TIMESTAMP}, {1182, 1082}, {1183, 1083},
    {1185, TIMESTAMPTZ}, {1187, 1186},   {1231, NUMERIC},   {1270, 1266}, {1561, 1560},
    {1563, 1562},        {2207, 2202},   {2210, 2205},      {2211, 2206}, {2949, 2970},
    {2951, 2950},        {3221, 3220},   {3643, 3614},      {3645, 3615}, {3735, 3734},
    {3770, 3769},        {3807, JSONB},  {3905, 3904},      {3907, 3906}, {3909, 3908},
    {3911, 3910},        {3913, 3912},   {3927, 3926},      {4073, 4072}, {4090, 4089},
    {4097, 4096},
};

static unsigned element_of(const rh_pg_column *column)
{
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i][0] == column->type)
            return arrays[i][1];
    return column->element;
}

/* From the server ----------------------------------------------------------------------------------- */

static void push_integer(lua_State *L, const char *text, size_t size)
{
    /* lua_stringtonumber makes a float of what does not fit: nothing of int8's range. */
    if (lua_stringtonumber(L, text) != size + 1)
        lua_pushlstring(L, text, size);
}

static void push_float(lua_State *L, const char *text, size_t size)
{
    char *end;
    double number = strtod(text, &end);
    if (isfinite(number) && end == text + size)
        lua_pushnumber(L, number);
    else
        lua_pushlstring(L, text, size); /* NaN, Infinity */
}

static int hex_digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static void push_bytes(lua_State *L, const char *text, size_t size)
{
    luaL_Buffer bytes;
    if (size < 2 || strncmp(text, "\\x", 2) != 0) { /* bytea_output = escape */
        lua_pushlstring(L, text, size);
        return;
    }
    size_t count = size / 2 - 1;
    char *to = luaL_buffinitsize(L, &bytes, count);
    for (size_t i = 0; i < count; i++)
        to[i] = (char)(hex_digit(text[2 + 2 * i]) * 16 + hex_digit(text[3 + 2 * i]));
    luaL_pushresultsize(&bytes, count);
}

static void push_json(lua_State *L, const char *text, size_t size)
{
    rh_error error = {0};
    if (!rh_json_decode(L, text, size, 0, &error)) {
        rh_error_clear(&error); /* 1e400: beyond any number of ours */
        lua_pushlstring(L, text, size);
    }
}

static void push_time(lua_State *L, const char *text, size_t size)
{
    rh_buffer iso = {0};
    rh_pg_add_time(&iso, text, size);
    char bytes[96];
    size = iso.size < sizeof bytes ? iso.size : sizeof bytes;
    if (size > 0)
        memcpy(bytes, iso.data, size);
    rh_buffer_free(&iso); /* pushing may raise */
    lua_pushlstring(L, bytes, size);
}

static void push_scalar(lua_State *L, unsigned type, const char *text, size_t size, bool numbers)
{
    switch (type) {
    case BOOL:
        lua_pushboolean(L, *text == 't');
        break;
    case INT2:
    case INT4:
    case INT8:
    case OID:
        push_integer(L, text, size);
        break;
    case FLOAT4:
    case FLOAT8:
        push_float(L, text, size);
        break;
    case NUMERIC:
        if (!numbers)
            lua_pushlstring(L, text, size);
        else if (strchr(text, '.'))
            push_float(L, text, size);
        else
            push_integer(L, text, size);
        break;
    case BYTEA:
        push_bytes(L, text, size);
        break;
    case JSON:
    case JSONB:
        push_json(L, text, size);
        break;
    case TIMESTAMP:
    case TIMESTAMPTZ:
        push_time(L, text, size);
        break;
    default:
        lua_pushlstring(L, text, size);
        break;
    }
}

struct array {
    const char *at;
    unsigned element;
    bool numbers;
    char *
        word; /* scratch, a userdata on the stack: what is between two commas, without quotes and escapes */
};

/* Pushes one element that is no array; leaves `at` behind it. */
static void push_element(lua_State *L, struct array *array)
{
    char delimiter = array->element == 603 ? ';' : ','; /* box */
    size_t size = 0;
    bool quoted = *array->at == '"';
    array->at += quoted;
    while (*array->at &&
           (quoted ? *array->at != '"' : *array->at != delimiter && *array->at != '}')) {
        array->at += *array->at == '\\' && array->at[1];
        array->word[size++] = *array->at++;
    }
    array->at += quoted;
    array->word[size] = '\0';
    if (!quoted && strcasecmp(array->word, "NULL") == 0)
        rh_json_null(L);
    else
        push_scalar(L, array->element, array->word, size, array->numbers);
}

static void push_array(lua_State *L, struct array *array)
{
    lua_Integer count = 0;
    luaL_checkstack(L, 6, "array");
    lua_newtable(L);
    rh_json_array(L, -1);
    array->at++; /* { */
    while (*array->at && *array->at != '}') {
        if (*array->at == '{')
            push_array(L, array);
        else
            push_element(L, array);
        lua_rawseti(L, -2, ++count);
        array->at += *array->at == ',' || *array->at == ';';
    }
    array->at += *array->at == '}';
}

void rh_pg_push_value(lua_State *L, const rh_pg_column *column, const char *text, size_t size,
                      bool numbers)
{
    unsigned element = text ? element_of(column) : 0;
    if (!text) {
        rh_json_null(L);
    } else if (element == 0 || !strchr("{[", *text)) {
        push_scalar(L, column->type, text, size, numbers);
    } else {
        struct array array = {text, element, numbers, lua_newuserdatauv(L, size + 1, 0)};
        array.at += strcspn(text, "{"); /* [0:1]={…}: bounds of its own */
        push_array(L, &array);
        lua_remove(L, -2);
    }
}

/* To the server ------------------------------------------------------------------------------------- */

/* The shortest decimal that is this number again: numeric columns keep every digit that they are given. */
static void add_float(rh_buffer *out, double number)
{
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    rh_buffer_adds(out, text);
}

static bool add_number(lua_State *L, rh_buffer *out)
{
    if (lua_isinteger(L, -1))
        rh_buffer_addf(out, "%lld", (long long)lua_tointeger(L, -1));
    else
        add_float(out, lua_tonumber(L, -1));
    return isfinite(lua_tonumber(L, -1));
}

static bool add_array(lua_State *L, int idx, int depth, rh_buffer *out);

static bool add_array_item(lua_State *L, int depth, rh_buffer *out)
{
    size_t size;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TTABLE:
        return add_array(L, lua_gettop(L), depth + 1, out);
    case LUA_TLIGHTUSERDATA:
        rh_buffer_adds(out, "NULL");
        return true;
    case LUA_TBOOLEAN:
        rh_buffer_adds(out, lua_toboolean(L, -1) ? "t" : "f");
        return true;
    case LUA_TNUMBER:
        return add_number(L, out);
    default:
        text = rh_secret_text(L, -1, &size);
        if (!text || strlen(text) != size)
            return false;
        rh_buffer_adds(out, "\"");
        for (; *text; text++) {
            if (*text == '"' || *text == '\\')
                rh_buffer_adds(out, "\\");
            rh_buffer_add(out, text, 1);
        }
        rh_buffer_adds(out, "\"");
        return true;
    }
}

/* False: not a sequence, or of something that no array holds. */
static bool add_array(lua_State *L, int idx, int depth, rh_buffer *out)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, idx), keys = 0;
    bool ok = depth <= MAX_DIMENSIONS;
    luaL_checkstack(L, 6, "array");
    for (lua_pushnil(L); ok && lua_next(L, idx); lua_pop(L, 1))
        keys++;
    if (!ok || keys != count)
        return false;
    rh_buffer_adds(out, "{");
    for (lua_Integer i = 1; ok && i <= count; i++) {
        if (i > 1)
            rh_buffer_adds(out, ",");
        lua_rawgeti(L, idx, i);
        ok = add_array_item(L, depth, out);
        lua_pop(L, 1);
    }
    rh_buffer_adds(out, "}");
    return ok;
}

static bool set_table(lua_State *L, rh_pg_param *param, rh_error *error)
{
    rh_buffer json = {0}, array = {0};
    if (!rh_json_encode(L, -1, &json, RH_JSON_REVEAL, error)) {
        rh_buffer_free(&json);
        return false;
    }
    bool is_array = add_array(L, lua_gettop(L), 1, &array);
    param->size = json.size;
    param->text = rh_buffer_take(&json);
    if (is_array)
        param->array = rh_buffer_take(&array);
    rh_buffer_free(&array);
    return true;
}

bool rh_pg_set_param(lua_State *L, rh_pg_param *param, size_t number, rh_error *error)
{
    size_t size;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        param->text = rh_strdup(lua_toboolean(L, -1) ? "true" : "false");
        break;
    case LUA_TNUMBER: {
        rh_buffer out = {0};
        bool finite = add_number(L, &out);
        param->text = rh_buffer_take(&out);
        if (!finite)
            return rh_fail(error, "usage", "pg: parameter %zu is not a finite number", number);
        break;
    }
    case LUA_TLIGHTUSERDATA:
        return true;
    case LUA_TTABLE:
        return set_table(L, param, error);
    case LUA_TNIL:
        return rh_fail(error, "usage", "pg: parameter %zu is nil: pg.null is SQL's NULL", number);
    default: {
        const char *text = rh_secret_text(L, -1, &size);
        if (!text)
            return rh_fail(
                error, "usage",
                "pg: parameter %zu is a %s: give a string, number, boolean, table or pg.null",
                number, luaL_typename(L, -1));
        param->text = rh_alloc(size + 1);
        memcpy(param->text, text, size);
        param->size = size;
        return true;
    }
    }
    param->size = strlen(param->text);
    return true;
}
