/* docker: the binding.
 *
 *   native.request{ … } ⏳ → { status, body }   the whole answer, 32 MiB at most
 *   native.open{ …, framed, log, lines } → stream   log: a file that what comes is appended to; lines: whole lines only
 *       stream:next() ⏳ → out, err   what has come of both; masked. nil, nil at the end
 *       stream:status() → status, body   after the end; the body of an answer that is no 2xx
 *       stream:close()   also by __close and __gc: ends it where it has not
 *   native.sleep(ms) ⏳
 *   native.folder() → path   a new one of one's own, for sockets; removed at the end, with what is in it
 *   native.environment() → { NAME = text }   of the host's own variables those that say where the engine is
 *   native.parts   the compiled parts of the sugar
 *
 * Fields of a request: method, url, unix_socket, ca, certificate, key (PEM files), headers (array of "Name: value"), json (any
 * value; secrets in it are sent as what they are) or file (a path), auth (any value: X-Registry-Auth), timeout, stall (ms), once,
 * input (a text or a secret: follows the body once the answer has begun; then the sending half is closed). */
#include "docker.h"

#include "core/json.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"
#include "core/timer.h"

#include <dirent.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BODY = 32 * 1024 * 1024, MAX_HEADERS = 8 };

/* What a request is put together from. A userdata, so that an error raised on the way frees it. */
typedef struct parts {
    rh_buffer body, auth;
    const char *headers[MAX_HEADERS + 3];
    size_t count;
} parts;

static void free_parts(parts *made)
{
    rh_buffer_free(&made->body);
    rh_buffer_free(&made->auth);
}

static int parts_gc(lua_State *L)
{
    free_parts(lua_touserdata(L, 1));
    return 0;
}

static parts *new_parts(lua_State *L)
{
    return rh_new_object(L, sizeof(parts), "rollout.docker.parts", parts_gc);
}

/* Texts stay on the stack, so that they stay valid. */
static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL);
}

static int64_t integer_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optinteger(L, -1, 0);
}

static bool encode_field(lua_State *L, const char *name, rh_buffer *out)
{
    rh_error error = {0};
    if (lua_getfield(L, 1, name) == LUA_TNIL)
        return false;
    if (!rh_json_encode(L, -1, out, RH_JSON_REVEAL, &error))
        rh_raise(L, &error);
    return true;
}

static void add_base64(rh_buffer *out, const rh_buffer *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < bytes->size; i += 3) {
        size_t left = bytes->size - i;
        unsigned group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < left ? (unsigned char)bytes->data[i + k] : 0U);
        for (size_t k = 0; k < 4; k++)
            rh_buffer_add(out, k <= left ? &digits[group >> (18 - 6 * k) & 63] : "=", 1);
    }
}

static void add_headers(lua_State *L, parts *made)
{
    lua_getfield(L, 1, "headers");
    for (lua_Integer i = 1; lua_istable(L, -1) && i <= MAX_HEADERS; i++) {
        if (lua_geti(L, -1, i) == LUA_TNIL) {
            lua_pop(L, 1);
            break;
        }
        made->headers[made->count++] = luaL_checkstring(L, -1);
        lua_insert(L, -2); /* the text stays, the table is on top */
    }
    rh_buffer clear = {0};
    if (encode_field(L, "auth", &clear)) {
        rh_buffer_adds(&made->auth, "X-Registry-Auth: ");
        add_base64(&made->auth, &clear);
        made->headers[made->count++] = made->auth.data;
    }
    rh_buffer_free(&clear);
}

static parts *read_spec(lua_State *L, rh_http_spec *spec)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkstack(L, 40, NULL);
    lua_settop(L, 1);
    parts *made = new_parts(L);
    bool has_body = encode_field(L, "json", &made->body);
    if (has_body)
        made->headers[made->count++] = "Content-Type: application/json";
    add_headers(L, made);
    *spec = (rh_http_spec){
        .method = text_field(L, "method"),
        .url = text_field(L, "url"),
        .unix_socket = text_field(L, "unix_socket"),
        .ca = text_field(L, "ca"),
        .certificate_file = text_field(L, "certificate"),
        .key_file = text_field(L, "key"),
        .headers = made->headers,
        .body = has_body ? made->body.data : NULL,
        .body_size = made->body.size,
        .file = text_field(L, "file"),
        .file_size = -1,
        .to_mode = -1,
        .timeout_ms = integer_field(L, "timeout"),
        .stall_ms = integer_field(L, "stall"),
        .max_body = MAX_BODY,
    };
    if (lua_getfield(L, 1, "input") != LUA_TNIL)
        spec->input = rh_check_secret_text(L, -1, &spec->input_size);
    lua_getfield(L, 1, "once");
    spec->once = lua_toboolean(L, -1);
    if (!spec->method || !spec->url)
        rh_raisef(L, "usage", "a request needs a method and a URL");
    return made;
}

static const rh_http_engine *http;
static const char FOLDERS[] = "rollout.docker.folders";

/* ---- whole answers ---- */

static int push_answer(rh_op *op, lua_State *L)
{
    const rh_http_request *request = (const rh_http_request *)op;
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, request->status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, request->body.data ? request->body.data : "", request->body.size);
    lua_setfield(L, -2, "body");
    return 1;
}

static void cancel_request(rh_op *op) { http->cancel(op); }
static void free_request(rh_op *op) { http->fini(op); }

static const rh_op_class request_class = {
    .name = "docker.request",
    .size = sizeof(rh_http_request),
    .cancel = cancel_request,
    .push = push_answer,
    .fini = free_request,
};

static int native_request(lua_State *L)
{
    rh_http_spec spec;
    rh_error error = {0};
    parts *made = read_spec(L, &spec);
    rh_op *op = rh_op_new(&request_class);
    if (!http->start((rh_http_request *)op, &spec, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    free_parts(made);
    return rh_await(L, op, 0);
}

/* ---- streams ---- */

static const char STREAM[] = "rollout.docker.stream";

static const rh_op_class stream_class = {
    .name = "docker.stream",
    .size = sizeof(rh_docker_stream),
    .cancel = rh_docker_cancel,
    .fini = rh_docker_fini,
};

static int push_next(rh_op *op, lua_State *L)
{
    rh_docker_stream *stream = ((rh_docker_next *)op)->stream;
    if (stream->out.size == 0 && stream->err.size == 0) {
        lua_pushnil(L);
        lua_pushnil(L);
        return 2;
    }
    lua_pushlstring(L, stream->out.data ? stream->out.data : "", stream->out.size);
    lua_pushlstring(L, stream->err.data ? stream->err.data : "", stream->err.size);
    rh_docker_taken(stream);
    return 2;
}

static const rh_op_class next_class = {
    .name = "docker.next",
    .size = sizeof(rh_docker_next),
    .cancel = rh_docker_next_cancel,
    .push = push_next,
    .fini = rh_docker_next_fini,
};

static rh_docker_stream *check_stream(lua_State *L)
{
    rh_docker_stream **stream = luaL_checkudata(L, 1, STREAM);
    if (!*stream)
        rh_raisef(L, "usage", "the stream is closed");
    return *stream;
}

static int stream_next(lua_State *L)
{
    rh_docker_stream *stream = check_stream(L);
    rh_op *op = rh_op_new(&next_class);
    rh_docker_next_start((rh_docker_next *)op, stream);
    return rh_await(L, op, 0);
}

static int stream_status(lua_State *L)
{
    const rh_http_request *request = &check_stream(L)->request;
    lua_pushinteger(L, request->status);
    lua_pushlstring(L, request->body.data ? request->body.data : "", request->body.size);
    return 2;
}

static int stream_close(lua_State *L)
{
    rh_docker_stream **stream = luaL_checkudata(L, 1, STREAM);
    if (*stream) {
        rh_op_cancel(&(*stream)->request.op);
        rh_op_release(&(*stream)->request.op);
    }
    *stream = NULL;
    return 0;
}

static void stream_metatable(lua_State *L)
{
    static const luaL_Reg methods[] = {{"next", stream_next},   {"status", stream_status},
                                       {"close", stream_close}, {"__close", stream_close},
                                       {"__gc", stream_close},  {NULL, NULL}};
    if (luaL_newmetatable(L, STREAM)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
}

static int native_open(lua_State *L)
{
    rh_http_spec spec;
    rh_error error = {0};
    parts *made = read_spec(L, &spec);
    lua_getfield(L, 1, "framed");
    bool framed = lua_toboolean(L, -1);
    const char *log = text_field(L, "log");
    lua_getfield(L, 1, "lines");
    const bool lines = lua_toboolean(L, -1);
    rh_docker_stream **box = lua_newuserdatauv(L, sizeof(rh_docker_stream *), 0);
    *box = NULL;
    stream_metatable(L);
    lua_setmetatable(L, -2);
    rh_op *op = rh_op_new(&stream_class);
    if (!rh_docker_start((rh_docker_stream *)op, &spec, framed, log, lines, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    rh_op_retain(op);
    *box = (rh_docker_stream *)op;
    free_parts(made);
    return 1;
}

/* ---- the module ---- */

/* Short, since a socket's path is 107 bytes at most. */
static int native_folder(lua_State *L)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *temp = getenv("TMPDIR");
    const char *base = runtime && *runtime ? runtime : temp && *temp ? temp : "/tmp";
    lua_pushfstring(L, "%s/rollouthost-XXXXXX", base);
    char *path = rh_strdup(lua_tostring(L, -1));
    const char *made = mkdtemp(path);
    if (made)
        lua_pushstring(L, path);
    free(path);
    if (!made)
        rh_raisef(L, "io", "no folder can be made in %s, for the socket of an engine", base);
    lua_getfield(L, LUA_REGISTRYINDEX, FOLDERS);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    return 1;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *each; folder && (each = readdir(folder));)
        if (each->d_name[0] != '.')
            unlinkat(dirfd(folder), each->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

static int remove_folders(lua_State *L)
{
    for (lua_Integer i = 1; lua_rawgeti(L, 1, i) == LUA_TSTRING; i++) {
        remove_folder(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return 0;
}

/* The list of folders, which removes them when it is collected. */
static void add_folders(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, remove_folders);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, FOLDERS);
}

static int native_environment(lua_State *L)
{
    static const char *const names[] = {"DOCKER_HOST",       "DOCKER_CONTEXT",   "DOCKER_CONFIG",
                                        "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "HOME"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) {
            lua_pushstring(L, value);
            lua_setfield(L, -2, names[i]);
        }
    }
    return 1;
}

/* clang-format off */
#define PARTS(X) X(address) X(engine) X(container) X(output) X(exec) X(create) X(health)           \
    X(image) X(place) X(compose) X(command) X(lines)
/* clang-format on */
RH_PARTS(PARTS)

static int open_docker(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"request", native_request},         {"open", native_open},     {"sleep", rh_sleep},
        {"environment", native_environment}, {"folder", native_folder}, {NULL, NULL}};
    http = rh_module_load(L, "http")->engine;
    rh_docker_use(http);
    add_folders(L);
    luaL_newlib(L, functions);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("docker", open_docker, NULL);
