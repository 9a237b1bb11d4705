/* redis: the binding.
 *
 *   native.talk{ url, user, password, ca, timeout (ms), commands = { { "PING" }, … } } ⏳ → { reply, … }
 *
 * url, user, password and the words of commands are texts or secrets; user and password replace the URL's. A reply is a text,
 * an integer, false (nil), an array, or { error = "NOAUTH …" }. */
#include "redis.h"

#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* What is put together before it is started. A userdata, so that an error raised on the way frees it. */
struct parts {
    rh_redis_config config;
    rh_buffer commands;
};

static int free_parts(lua_State *L)
{
    struct parts *parts = lua_touserdata(L, 1);
    rh_redis_config_clear(&parts->config);
    rh_buffer_free(&parts->commands);
    return 0;
}

static struct parts *new_parts(lua_State *L)
{
    return rh_new_object(L, sizeof(struct parts), "redis.parts", free_parts);
}

static void set_text(lua_State *L, const char *field, char **to)
{
    if (lua_getfield(L, 1, field) != LUA_TNIL) {
        free(*to);
        *to = rh_strdup(rh_check_secret_text(L, -1, NULL));
    }
    lua_pop(L, 1);
}

static void read_config(lua_State *L, rh_redis_config *config)
{
    rh_error error = {0};
    lua_getfield(L, 1, "url");
    if (!rh_redis_config_parse(config, rh_check_secret_text(L, -1, NULL), &error))
        rh_raise(L, &error);
    lua_pop(L, 1);
    set_text(L, "user", &config->user);
    set_text(L, "password", &config->password);
    set_text(L, "ca", &config->ca);
    lua_getfield(L, 1, "timeout");
    config->timeout_ms = lua_tointeger(L, -1);
    lua_pop(L, 1);
}

enum { MOST_WORDS = 64 };

/* The command at the top of the stack. */
static void read_command(lua_State *L, rh_buffer *out)
{
    const char *words[MOST_WORDS];
    size_t sizes[MOST_WORDS], count = lua_rawlen(L, -1);
    if (count == 0 || count > MOST_WORDS)
        rh_raisef(L, "usage", "a command to Redis has 1 to %d words", MOST_WORDS);
    luaL_checkstack(L, (int)count, NULL);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1 - (int)i, (lua_Integer)i + 1);
        words[i] = rh_check_secret_text(L, -1, &sizes[i]);
    }
    rh_redis_format(out, count, words, sizes);
    lua_pop(L, (int)count);
}

static void push_reply(lua_State *L, const redisReply *reply)
{
    luaL_checkstack(L, 4, NULL);
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        lua_pushinteger(L, reply->integer);
        break;
    case REDIS_REPLY_NIL:
        lua_pushboolean(L, 0);
        break;
    case REDIS_REPLY_ARRAY:
        lua_createtable(L, (int)reply->elements, 0);
        for (size_t i = 0; i < reply->elements; i++) {
            push_reply(L, reply->element[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case REDIS_REPLY_ERROR:
        lua_createtable(L, 0, 1);
        lua_pushlstring(L, reply->str, reply->len);
        lua_setfield(L, -2, "error");
        break;
    default:
        lua_pushlstring(L, reply->str, reply->len);
    }
}

static int push_replies(rh_op *op, lua_State *L)
{
    const rh_redis_talk *talk = (const rh_redis_talk *)op;
    lua_createtable(L, (int)talk->count, 0);
    for (size_t i = 0; i < talk->count; i++) {
        push_reply(L, talk->replies[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static const rh_op_class talk_class = {
    .name = "redis.talk",
    .size = sizeof(rh_redis_talk),
    .cancel = rh_redis_cancel,
    .push = push_replies,
    .fini = rh_redis_fini,
};

static int talk(lua_State *L)
{
    rh_error error = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct parts *parts = new_parts(L);
    read_config(L, &parts->config);
    lua_getfield(L, 1, "commands");
    size_t count = lua_rawlen(L, -1);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        read_command(L, &parts->commands);
        lua_pop(L, 1);
    }
    rh_op *op = rh_op_new(&talk_class);
    if (!rh_redis_start((rh_redis_talk *)op, &parts->config, &parts->commands, count, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}

static int open_redis(lua_State *L)
{
    static const luaL_Reg functions[] = {{"talk", talk}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}

RH_MODULE("redis", open_redis, NULL);
