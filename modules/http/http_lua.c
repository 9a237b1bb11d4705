/* http: the binding.
 *
 *   native.request{ … } ⏳ → { status, headers, body, ms, retry_after, redirect, redirect_to }
 *       where they apply: sent, sent_sha256 (of `file`), received, sha256 (of what went to `to`, or was hashed)
 *   native.secret(name, text) → secret
 *   native.parts → { arguments, check }: sources of the sugar's parts
 *
 * Fields of a request: method, url (text), query and form (arrays of { name, value }), json (any value),
 * body (text), file, file_offset, file_size, to, to_mode, digest, sha256, stall (ms), aws { access_key,
 * secret_key, session_token, region, service }, headers (array of { name, value }), bearer, user and password (text), ca, proxy,
 * unix_socket, delay, timeout, connect_timeout (ms), max_body (bytes), once. A text is a string or a
 * secret; secrets are opened here, also inside `json`. */
#include "http.h"

#include "core/json.h"
#include "core/luaerror.h"
#include "core/mask.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a request is put together from. A userdata, so that an error raised on the way frees it. */
struct parts {
    rh_buffer url;
    rh_buffer body;
    rh_buffer lines; /* headers, each ended by a NUL */
    const char **headers;
};

static void free_parts(struct parts *parts)
{
    rh_buffer_free(&parts->url);
    rh_buffer_free(&parts->body);
    rh_buffer_free(&parts->lines);
    free(parts->headers);
    parts->headers = NULL;
}

static int parts_gc(lua_State *L)
{
    free_parts(lua_touserdata(L, 1));
    return 0;
}

static struct parts *new_parts(lua_State *L)
{
    struct parts *parts = lua_newuserdatauv(L, sizeof *parts, 0);
    memset(parts, 0, sizeof *parts);
    if (luaL_newmetatable(L, "rollout.http.parts")) {
        lua_pushcfunction(L, parts_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return parts;
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

static lua_Integer integer_field(lua_State *L, const char *name, lua_Integer otherwise)
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
static void each_pair(lua_State *L, const char *field, struct parts *parts,
                      void (*add)(lua_State *L, struct parts *parts, int name, int value))
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

static void add_query(lua_State *L, struct parts *parts, int name, int value)
{
    rh_buffer_adds(&parts->url, strchr(parts->url.data, '?') ? "&" : "?");
    add_escaped(L, &parts->url, name, value);
}

static void add_form(lua_State *L, struct parts *parts, int name, int value)
{
    if (parts->body.size)
        rh_buffer_adds(&parts->body, "&");
    add_escaped(L, &parts->body, name, value);
}

static void add_header(lua_State *L, struct parts *parts, int name, int value)
{
    const char *label = c_text(L, name, "a header's name");
    rh_buffer_addf(&parts->lines, "%s: %s", label, c_text(L, value, label));
    rh_buffer_add(&parts->lines, "", 1);
}

static void index_headers(struct parts *parts)
{
    size_t count = 0, next = 0;
    for (size_t i = 0; i < parts->lines.size; i++)
        count += parts->lines.data[i] == '\0';
    parts->headers = rh_alloc((count + 1) * sizeof *parts->headers);
    for (size_t at = 0; at < parts->lines.size; at += strlen(parts->lines.data + at) + 1)
        parts->headers[next++] = parts->lines.data + at;
}

/* Without the fragment, which is never sent and would swallow the query. */
static void add_url(lua_State *L, struct parts *parts)
{
    const char *url = text_field(L, "url");
    rh_buffer_add(&parts->url, url ? url : "", url ? strcspn(url, "#") : 0);
    lua_settop(L, 2);
    each_pair(L, "query", parts, add_query);
}

static bool add_body(lua_State *L, struct parts *parts)
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

static void add_response_header(lua_State *L, const char *name, const char *value)
{
    /* Lines of one name make one list (RFC 9110); cookies hold commas, so each keeps a line. */
    if (lua_getfield(L, -1, name) == LUA_TSTRING)
        lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), strcmp(name, "set-cookie") ? ", " : "\n",
                        value);
    else
        lua_pushstring(L, value);
    lua_setfield(L, -3, name);
    lua_pop(L, 1);
}

static void push_file(lua_State *L, const char *digest, int64_t bytes, const char *bytes_name,
                      const char *digest_name)
{
    if (!*digest)
        return;
    lua_pushinteger(L, bytes);
    lua_setfield(L, -2, bytes_name);
    lua_pushstring(L, digest);
    lua_setfield(L, -2, digest_name);
}

static int push_response(rh_op *op, lua_State *L)
{
    const rh_http_request *request = (const rh_http_request *)op;
    static const char *const kinds[] = {"same origin", "other origin", "clear text"};
    const char *name, *value;
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, request->status);
    lua_setfield(L, -2, "status");
    lua_pushinteger(L, request->ms);
    lua_setfield(L, -2, "ms");
    lua_pushlstring(L, request->body.data ? request->body.data : "", request->body.size);
    lua_setfield(L, -2, "body");
    if (request->redirect) {
        lua_pushstring(L, request->redirect);
        lua_setfield(L, -2, "redirect");
        lua_pushstring(L, kinds[request->redirect_to]);
        lua_setfield(L, -2, "redirect_to");
    }
    push_file(L, request->sent_sha256, request->sent, "sent", "sent_sha256");
    push_file(L, request->sha256, request->received, "received", "sha256");
    lua_pushinteger(L, request->retry_after);
    lua_setfield(L, -2, "retry_after");
    lua_newtable(L);
    for (size_t at = 0; rh_http_header_next(request, &at, &name, &value);)
        add_response_header(L, name, value);
    lua_setfield(L, -2, "headers");
    return 1;
}

static const rh_op_class request_class = {
    .name = "http.request",
    .size = sizeof(rh_http_request),
    .cancel = rh_http_cancel,
    .push = push_response,
    .fini = rh_http_fini,
};

static int request(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkstack(L, 32, NULL); /* the texts of the spec stay on it */
    lua_settop(L, 1);
    struct parts *parts = new_parts(L); /* at 2 */
    add_url(L, parts);
    bool has_body = add_body(L, parts);
    each_pair(L, "headers", parts, add_header);
    index_headers(parts);

    rh_http_spec spec = {
        .url = parts->url.data,
        .headers = parts->headers,
        .body = has_body ? parts->body.data : NULL,
        .body_size = parts->body.size,
        .delay_ms = integer_field(L, "delay", 0),
        .timeout_ms = integer_field(L, "timeout", 0),
        .connect_timeout_ms = integer_field(L, "connect_timeout", 0),
        .max_body = (size_t)integer_field(L, "max_body", 0),
        .stall_ms = integer_field(L, "stall", 0),
        .file_offset = integer_field(L, "file_offset", 0),
        .file_size = integer_field(L, "file_size", -1),
        .to_mode = (int)integer_field(L, "to_mode", -1),
        .method = text_field(L, "method"),
        .file = text_field(L, "file"),
        .to = text_field(L, "to"),
        .sha256 = text_field(L, "sha256"),
        .bearer = text_field(L, "bearer"),
        .ca = text_field(L, "ca"),
        .proxy = text_field(L, "proxy"),
        .unix_socket = text_field(L, "unix_socket"),
    };
    rh_http_aws aws = {0};
    spec.aws = aws_field(L, &aws) ? &aws : NULL;
    spec.once = flag_field(L, "once");
    spec.digest = flag_field(L, "digest");
    spec.user = text_field(L, "user");
    spec.password = text_field(L, "password");
    mask_basic(L, spec.user, spec.password);
    if (!spec.method)
        rh_raisef(L, "usage", "a request needs a method");

    rh_error error = {0};
    rh_op *op = rh_op_new(&request_class);
    if (!rh_http_start((rh_http_request *)op, &spec, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    free_parts(parts); /* now: a collection may be long away, and it may hold a secret */
    return rh_await(L, op, 0);
}

static int secret(lua_State *L)
{
    size_t size;
    const char *name = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &size);
    rh_error error = {0};
    if (!rh_secret_push(L, name, text, size, &error))
        rh_raise(L, &error);
    return 1;
}

static int close_engine(lua_State *L)
{
    (void)L;
    rh_http_close();
    return 0;
}

RH_EMBED(rh_http_arguments, RH_LUA_DIR "/modules/http/arguments.luac")
RH_EMBED(rh_http_check, RH_LUA_DIR "/modules/http/check.luac")

static void set_part(lua_State *L, const char *name, const char *text, const char *end)
{
    lua_pushlstring(L, text, (size_t)(end - text));
    lua_setfield(L, -2, name);
}

static int open_http(lua_State *L)
{
    static const luaL_Reg functions[] = {{"request", request}, {"secret", secret}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 2);
    set_part(L, "arguments", rh_http_arguments, rh_http_arguments_end);
    set_part(L, "check", rh_http_check, rh_http_check_end);
    lua_setfield(L, -2, "parts");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_engine);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return 1;
}

RH_MODULE("http", open_http, &rh_http);
