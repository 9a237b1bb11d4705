/* A request, as the sugar describes it, made into the engine's spec. */
#include "binding.h"
#include "jar.h"

#include "core/json.h"
#include "core/luaerror.h"
#include "core/mask.h"
#include "core/module.h"
#include "core/secret.h"

#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rh_http_free_parts(rh_http_parts *parts)
{
    rh_buffer_free(&parts->url);
    rh_buffer_free(&parts->body);
    rh_buffer_free(&parts->lines);
    free(parts->headers);
    free(parts->form);
    parts->headers = NULL;
    parts->form = NULL;
}

static int parts_gc(lua_State *L)
{
    rh_http_free_parts(lua_touserdata(L, 1));
    return 0;
}

static rh_http_parts *new_parts(lua_State *L)
{
    return rh_new_object(L, sizeof(rh_http_parts), "rollout.http.parts", parts_gc);
}

/* The text at idx, which libcurl takes as a C string. */
static const char *c_text(lua_State *L, int idx, const char *what)
{
    size_t size;
    const char *text = rh_check_secret_text(L, idx, &size);
    if (strlen(text) != size)
        rh_raisef(L, "usage", "%s has a NUL byte, which cannot be sent", what);
    return text;
}

/* The field's text, or NULL. It stays on the stack, so that it stays valid. */
static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return lua_isnil(L, -1) ? NULL : c_text(L, -1, name);
}

int64_t rh_http_integer(lua_State *L, const char *name, int64_t otherwise)
{
    lua_getfield(L, 1, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

/* Texts of the table at idx stay on the stack, as those of text_field do. */
static bool aws_field(lua_State *L, rh_http_aws *aws)
{
    if (lua_getfield(L, 1, "aws") != LUA_TTABLE)
        return false;
    int idx = lua_gettop(L);
    const struct {
        const char *name, **text;
    } fields[] = {
        {"access_key", &aws->access_key},
        {"secret_key", &aws->secret_key},
        {"session_token", &aws->session_token},
        {"region", &aws->region},
        {"service", &aws->service},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_getfield(L, idx, fields[i].name);
        *fields[i].text = lua_isnil(L, -1) ? NULL : c_text(L, -1, fields[i].name);
    }
    return true;
}

static bool flag_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* Calls add(L, parts, name, value) for each { name, value } of the array in the field. */
static void each_pair(lua_State *L, const char *field, rh_http_parts *parts,
                      void (*add)(lua_State *L, rh_http_parts *parts, int name, int value))
{
    lua_getfield(L, 1, field);
    for (lua_Integer i = 1; lua_istable(L, -1) && lua_geti(L, -1, i) == LUA_TTABLE; i++) {
        int pair = lua_gettop(L);
        lua_geti(L, pair, 1);
        lua_geti(L, pair, 2);
        add(L, parts, pair + 1, pair + 2);
        lua_settop(L, pair - 1);
    }
    lua_settop(L, 2);
}

static void add_escaped(lua_State *L, rh_buffer *out, int name, int value)
{
    size_t size;
    const char *text = rh_check_secret_text(L, name, &size);
    rh_http_escape(out, text, size);
    rh_buffer_adds(out, "=");
    text = rh_check_secret_text(L, value, &size);
    rh_http_escape(out, text, size);
}

static void add_query(lua_State *L, rh_http_parts *parts, int name, int value)
{
    rh_buffer_adds(&parts->url, strchr(parts->url.data, '?') ? "&" : "?");
    add_escaped(L, &parts->url, name, value);
}

static void add_form(lua_State *L, rh_http_parts *parts, int name, int value)
{
    if (parts->body.size)
        rh_buffer_adds(&parts->body, "&");
    add_escaped(L, &parts->body, name, value);
}

static void add_header(lua_State *L, rh_http_parts *parts, int name, int value)
{
    const char *label = c_text(L, name, "a header's name");
    rh_buffer_addf(&parts->lines, "%s: %s", label, c_text(L, value, label));
    rh_buffer_add(&parts->lines, "", 1);
}

static void index_headers(rh_http_parts *parts)
{
    size_t count = 0, next = 0;
    for (size_t i = 0; i < parts->lines.size; i++)
        count += parts->lines.data[i] == '\0';
    parts->headers = rh_alloc((count + 1) * sizeof *parts->headers);
    for (size_t at = 0; at < parts->lines.size; at += strlen(parts->lines.data + at) + 1)
        parts->headers[next++] = parts->lines.data + at;
}

/* Without the fragment, which is never sent and would swallow the query. */
static void add_url(lua_State *L, rh_http_parts *parts)
{
    const char *url = text_field(L, "url");
    rh_buffer_add(&parts->url, url ? url : "", url ? strcspn(url, "#") : 0);
    lua_settop(L, 2);
    each_pair(L, "query", parts, add_query);
}

static bool add_body(lua_State *L, rh_http_parts *parts)
{
    bool given = lua_getfield(L, 1, "body") != LUA_TNIL;
    if (given) {
        size_t size;
        const char *text = rh_check_secret_text(L, -1, &size);
        rh_buffer_add(&parts->body, text, size);
    }
    if (lua_getfield(L, 1, "json") != LUA_TNIL) {
        rh_error error = {0};
        given = true;
        if (!rh_json_encode(L, -1, &parts->body, RH_JSON_REVEAL, &error))
            rh_raise(L, &error);
    }
    given |= lua_getfield(L, 1, "form") != LUA_TNIL;
    lua_settop(L, 2);
    each_pair(L, "form", parts, add_form);
    if (given && !parts->body.data)
        rh_buffer_adds(&parts->body, "");
    return given;
}

/* A server that echoes the Authorization header must not leak the password: base64 hides it otherwise. */
static void mask_basic(lua_State *L, const char *user, const char *password)
{
    char name[128];
    if (user && password && rh_secret_is(L, -1) &&
        sscanf(luaL_tolstring(L, -1, NULL), "‹secret %127[^›]", name) == 1)
        rh_mask_add_basic(rh_mask_process(), name, user, password, strlen(password));
}

/* ---- cookies ---- */

static const char JAR[] = "rollout.http.jar";

static int jar_gc(lua_State *L)
{
    rh_http_jar **jar = lua_touserdata(L, 1);
    rh_http_jar_release(*jar);
    *jar = NULL;
    return 0;
}

/* native.jar() → a jar for the field `jar` of requests */
int rh_http_jar_lua(lua_State *L)
{
    rh_http_jar **jar = rh_new_object(L, sizeof(rh_http_jar *), JAR, jar_gc);
    *jar = rh_http_jar_new();
    if (!*jar)
        rh_raisef(L, "http", "libcurl is out of memory");
    return 1;
}

static rh_http_jar *jar_field(lua_State *L)
{
    lua_getfield(L, 1, "jar");
    rh_http_jar **jar = lua_isnil(L, -1) ? NULL : luaL_checkudata(L, -1, JAR);
    return jar ? *jar : NULL;
}

/* ---- forms ---- */

static const char *part_text(lua_State *L, int part, const char *name)
{
    lua_getfield(L, part, name);
    return lua_isnil(L, -1) ? NULL : c_text(L, -1, name);
}

/* The field `multipart`, an array of { name, text | file, filename, type }. Its texts stay on the stack. */
static size_t read_form(lua_State *L, rh_http_parts *parts)
{
    if (lua_getfield(L, 1, "multipart") != LUA_TTABLE)
        return 0;
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list);
    luaL_checkstack(L, (int)count * 6, "too many parts");
    parts->form = rh_alloc((count + 1) * sizeof *parts->form);
    for (size_t i = 0; i < count; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        int part = lua_gettop(L);
        parts->form[i] = (rh_http_part){
            .name = part_text(L, part, "name"),
            .file = part_text(L, part, "file"),
            .filename = part_text(L, part, "filename"),
            .type = part_text(L, part, "type"),
        };
        if (lua_getfield(L, part, "text") != LUA_TNIL)
            parts->form[i].text = rh_check_secret_text(L, -1, &parts->form[i].size);
    }
    return count;
}

rh_http_parts *rh_http_read_spec(lua_State *L, rh_http_spec *spec)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkstack(L, 32, NULL); /* the texts of the spec stay on it */
    lua_settop(L, 1);
    rh_http_parts *parts = new_parts(L); /* at 2 */
    add_url(L, parts);
    bool has_body = add_body(L, parts);
    each_pair(L, "headers", parts, add_header);
    index_headers(parts);

    *spec = (rh_http_spec){
        .url = parts->url.data,
        .headers = parts->headers,
        .body = has_body ? parts->body.data : NULL,
        .body_size = parts->body.size,
        .timeout_ms = rh_http_integer(L, "timeout", 0),
        .connect_timeout_ms = rh_http_integer(L, "connect_timeout", 0),
        .max_body = (size_t)rh_http_integer(L, "max_body", 0),
        .stall_ms = rh_http_integer(L, "stall", 0),
        .file_offset = rh_http_integer(L, "file_offset", 0),
        .file_size = rh_http_integer(L, "file_size", -1),
        .to_mode = (int)rh_http_integer(L, "to_mode", -1),
        .once = flag_field(L, "once"),
        .digest = flag_field(L, "digest"),
        .certificate = flag_field(L, "certificate"),
        .public_only = flag_field(L, "public_only"),
        .method = text_field(L, "method"),
        .file = text_field(L, "file"),
        .to = text_field(L, "to"),
        .to_mark = text_field(L, "to_mark"),
        .progress = text_field(L, "progress"),
        .sha256 = text_field(L, "sha256"),
        .bearer = text_field(L, "bearer"),
        .ca = text_field(L, "ca"),
        .certificate_file = text_field(L, "certificate_file"),
        .key_file = text_field(L, "key_file"),
        .proxy = text_field(L, "proxy"),
        .unix_socket = text_field(L, "unix_socket"),
        .aws = aws_field(L, &parts->aws) ? &parts->aws : NULL,
    };
    spec->jar = jar_field(L);
    spec->parts_count = read_form(L, parts);
    spec->parts = parts->form;
    spec->user = text_field(L, "user");
    spec->password = text_field(L, "password");
    mask_basic(L, spec->user, spec->password);
    if (!spec->method)
        rh_raisef(L, "usage", "a request needs a method");
    return parts;
}
