/* http: the binding.
 *
 *   native.request{ … } ⏳ → { status, headers, body, ms, retry_after, redirect, redirect_to }
 *       where they apply: sent, sent_sha256 (of `file`), received, sha256 (of what went to `to`, or was hashed)
 *       certificate (where it was asked for): see push_certificate
 *   native.sample{ …, count, duration (ms), concurrency, rate, expect } ⏳ → see sample_lua.c
 *   native.jar() → the cookies of a session
 *   native.secret(name, text) → secret
 *   native.mail{ … } ⏳ → see mail_lua.c
 *   native.base64(text) → text
 *   native.hmac(key, text[, encoded]) → HMAC-SHA-256 in hex; the key is a text or a secret, where `encoded` in base64, after
 *       "whsec_" or not
 *   native.parts → { arguments, check, … }: the chunks of the sugar's parts
 *
 * Fields of a request: method, url (text), query and form (arrays of { name, value }), json (any value),
 * body (text), file, file_offset, file_size, to, to_mark, to_mode, progress (key), digest, sha256, stall (ms), aws { access_key,
 * secret_key, session_token, region, service }, headers (array of { name, value }), bearer, user and password (text), ca, certificate_file,
 * key_file, proxy,
 * unix_socket, timeout, connect_timeout (ms), max_body (bytes), once, certificate, public_only, jar, multipart (array of
 * { name, text | file, filename, type }). A text is a string or a
 * secret; secrets are opened here, also inside `json`. */
#include "binding.h"
#include "mail.h"
#include "tls.h"

#include "core/digest.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void push_link(lua_State *L, const char **text)
{
    static const char *const names[] = {"subject", "issuer"};
    lua_createtable(L, 0, 3);
    for (size_t i = 0; i < 2; i++) {
        lua_pushstring(L, *text);
        lua_setfield(L, -2, names[i]);
        *text += strlen(*text) + 1;
    }
    lua_pushinteger(L, atoll(*text));
    lua_setfield(L, -2, "not_after");
    *text += strlen(*text) + 1;
}

/* { names, not_before, chain = { { subject, issuer, not_after }, … } }: times in seconds since 1970 */
static void push_certificate(lua_State *L, const rh_http_certificate *certificate)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, certificate->names ? certificate->names : "");
    lua_setfield(L, -2, "names");
    lua_pushinteger(L, certificate->not_before);
    lua_setfield(L, -2, "not_before");
    lua_newtable(L);
    const char *text = certificate->chain.data, *end = text + certificate->chain.size;
    for (lua_Integer n = 1; text < end; n++) {
        push_link(L, &text);
        lua_seti(L, -2, n);
    }
    lua_setfield(L, -2, "chain");
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
    lua_pushboolean(L, request->private_peer);
    lua_setfield(L, -2, "private_peer");
    if (request->certificate) {
        push_certificate(L, request->certificate);
        lua_setfield(L, -2, "certificate");
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
    rh_http_spec spec;
    rh_error error = {0};
    rh_http_parts *parts = rh_http_read_spec(L, &spec);
    rh_op *op = rh_op_new(&request_class);
    if (!rh_http_start((rh_http_request *)op, &spec, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    rh_http_free_parts(parts);
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

static int base64(lua_State *L)
{
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    rh_buffer text = {0};
    rh_base64_encode(bytes, size, &text);
    lua_pushlstring(L, text.data ? text.data : "", text.size);
    rh_buffer_free(&text);
    return 1;
}

static int hmac(lua_State *L)
{
    size_t key_size, size;
    const char *key = rh_check_secret_text(L, 1, &key_size), *data = luaL_checklstring(L, 2, &size);
    bool encoded = lua_toboolean(L, 3);
    rh_buffer plain = {0};
    char hex[RH_SHA256_HEX];
    size_t prefix = encoded && strncmp(key, "whsec_", 6) == 0 ? 6 : 0;
    key += prefix;
    key_size -= prefix;
    if (encoded && !rh_base64_decode(key, key_size, &plain))
        rh_raisef(L, "usage", "the key is not base64");
    if (encoded)
        rh_hmac_sha256_hex(plain.data ? plain.data : "", plain.size, data, size, hex);
    else
        rh_hmac_sha256_hex(key, key_size, data, size, hex);
    rh_buffer_free(&plain);
    lua_pushstring(L, hex);
    return 1;
}

static int close_engine(lua_State *L)
{
    (void)L;
    rh_mail_close();
    rh_http_close();
    return 0;
}

/* clang-format off */
#define PARTS(X) X(arguments) X(sample) X(conditions) X(session) X(check)
/* clang-format on */
RH_PARTS(PARTS)

static int open_http(lua_State *L)
{
    static const luaL_Reg functions[] = {{"request", request},
                                         {"sample", rh_http_sample_lua},
                                         {"jar", rh_http_jar_lua},
                                         {"secret", secret},
                                         {"mail", rh_http_mail_lua},
                                         {"base64", base64},
                                         {"hmac", hmac},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_engine);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return 1;
}

RH_MODULE("http", open_http, &rh_http);
