#include "core/json.h"
#include "core/loop.h"
#include "core/luaerror.h"
#include "core/task.h"
#include "run/host.h"

#include <lua5.4/lauxlib.h>
#include <string.h>

/* Encodes the value at idx as the journal keeps it; *out is the caller's to free. Raises. */
static bool encode(lua_State *L, int idx, rh_buffer *out)
{
    rh_error error = {0};
    bool altered = false;
    if (lua_isnoneornil(L, idx)) {
        rh_buffer_adds(out, "{}");
    } else if (!rh_json_encode_masked(L, idx, out, RH_JSON_JOURNAL, &altered, &error)) {
        rh_buffer_free(out);
        rh_raise(L, &error);
    }
    return altered;
}

static void push_payload(lua_State *L, const char *payload)
{
    rh_error error = {0};
    if (!rh_json_decode(L, payload, strlen(payload), RH_JSON_JOURNAL, &error))
        rh_raise(L, &error);
}

/* (type, key, payload) → seq */
static int append(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    const char *type = luaL_checkstring(L, 1), *key = luaL_checkstring(L, 2);
    rh_buffer payload = {0};
    rh_error error = {0};
    encode(L, 3, &payload);
    int64_t seq = 0;
    if (host->journal) {
        seq = rh_journal_append(host->journal, type, key, payload.data, payload.size, &error);
    } else {
        rh_event event = {
            .time_us = rh_wall_us(), .type = type, .key = key, .payload = payload.data};
        rh_event_emit(&event);
    }
    rh_buffer_free(&payload);
    if (rh_error_is_set(&error))
        rh_raise(L, &error);
    lua_pushinteger(L, seq);
    return 1;
}

/* (type, key, payload) */
static int say(lua_State *L)
{
    const char *type = luaL_checkstring(L, 1), *key = luaL_checkstring(L, 2);
    rh_buffer payload = {0};
    encode(L, 3, &payload);
    rh_event event = {.time_us = rh_wall_us(), .type = type, .key = key, .payload = payload.data};
    rh_event_emit(&event);
    rh_buffer_free(&payload);
    return 0;
}

/* () */
static int commit(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    if (!host->journal)
        return 0;
    if (rh_journal_failure(host->journal)) {
        rh_error error = {0};
        rh_journal_commit(host->journal, &error);
        rh_raise(L, &error);
    }
    if (!rh_journal_is_pending(host->journal))
        return 0;
    return rh_await(L, rh_waiters_add(&host->commits, false), 0);
}

/* (value) → value, altered */
static int keep(lua_State *L)
{
    rh_buffer text = {0};
    rh_error error = {0};
    luaL_checkany(L, 1);
    if (lua_isnil(L, 1)) {
        lua_pushboolean(L, false);
        return 2;
    }
    bool altered = encode(L, 1, &text);
    bool ok = rh_json_decode(L, text.data, text.size, RH_JSON_JOURNAL, &error);
    rh_buffer_free(&text);
    if (!ok)
        rh_raise(L, &error);
    lua_pushboolean(L, altered);
    return 2;
}

/* (type, key) → payload, seq, time, replayed | nil */
static int recall(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    const char *type = luaL_checkstring(L, 1), *key = luaL_checkstring(L, 2);
    rh_event event;
    if (!host->journal || !rh_journal_recall(host->journal, type, key, &event))
        return 0;
    push_payload(L, event.payload);
    lua_pushinteger(L, event.seq);
    lua_pushinteger(L, event.time_us / 1000);
    lua_pushboolean(L, event.replayed);
    return 4;
}

static void push_event(lua_State *L, const rh_event *event)
{
    lua_createtable(L, 0, 6);
    push_payload(L, event->payload);
    lua_setfield(L, -2, "payload");
    lua_pushinteger(L, event->seq);
    lua_setfield(L, -2, "seq");
    lua_pushinteger(L, event->time_us / 1000);
    lua_setfield(L, -2, "time");
    lua_pushstring(L, event->type);
    lua_setfield(L, -2, "type");
    lua_pushstring(L, event->key);
    lua_setfield(L, -2, "key");
    lua_pushboolean(L, event->replayed);
    lua_setfield(L, -2, "replayed");
}

/* ([type, [seq]]) → array of those after that seq */
static int history(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    const char *type = luaL_optstring(L, 1, NULL);
    const int64_t after = luaL_optinteger(L, 2, 0);
    lua_newtable(L);
    lua_Integer count = 0;
    rh_event event;
    for (int64_t seq = after + 1; host->journal && seq <= rh_journal_last(host->journal); seq++) {
        if (type && strcmp(rh_journal_type(host->journal, seq), type) != 0)
            continue;
        if (!rh_journal_at(host->journal, seq, &event))
            return luaL_error(L, "event %d of the journal cannot be read", (int)seq);
        push_event(L, &event);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

void rh_host_open_journal(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {{"append", append}, {"say", say},       {"commit", commit},
                                     {"keep", keep},     {"recall", recall}, {"history", history},
                                     {NULL, NULL}};
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
}
