#include "core/json.h"
#include "core/luaerror.h"
#include "core/task.h"
#include "run/host.h"

#include <lua5.4/lauxlib.h>
#include <string.h>

/* A message that was dealt with and could not be removed: it lies in another user's run. */
static const char taken[] = "inbox.taken";

struct collector {
    lua_State *L;
    rh_host *host;
    lua_Integer count;
};

static void collect(void *data, const rh_inbox_message *message)
{
    struct collector *collector = data;
    lua_State *L = collector->L;
    rh_event event;
    if (rh_journal_recall(collector->host->journal, taken, message->file, &event))
        return;
    lua_createtable(L, 0, 5);
    if (!rh_json_decode(L, message->data, strlen(message->data), 0, NULL)) {
        lua_pop(L, 1);
        return;
    }
    lua_setfield(L, -2, "data");
    lua_pushstring(L, message->file);
    lua_setfield(L, -2, "file");
    lua_pushstring(L, message->kind);
    lua_setfield(L, -2, "kind");
    lua_pushinteger(L, message->time_ms);
    lua_setfield(L, -2, "time");
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)message->uid);
    lua_setfield(L, -2, "uid");
    lua_pushstring(L, message->by);
    lua_setfield(L, -2, "name");
    lua_setfield(L, -2, "by");
    lua_rawseti(L, -2, ++collector->count);
}

/* () → array */
static int inbox(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    rh_error error = {0};
    lua_newtable(L);
    struct collector collector = {.L = L, .host = host};
    if (host->inbox && !rh_inbox_scan(host->inbox, collect, &collector, &error))
        rh_raise(L, &error);
    return 1;
}

/* () */
static int inbox_wait(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    if (!host->inbox)
        return luaL_error(L, "there is no inbox to wait for");
    return rh_await(L, rh_inbox_wait(host->inbox), 0);
}

/* () → whether a message came before the inbox is watched; who waits for one is woken */
static int inbox_early(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    lua_pushboolean(L, host->inbox && rh_inbox_look_early(host->inbox));
    return 1;
}

/* (file) */
static int inbox_done(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    const char *file = luaL_checkstring(L, 1);
    rh_error error = {0};
    if (host->inbox && !rh_inbox_remove(host->inbox, file) &&
        !rh_journal_append(host->journal, taken, file, "{}", 2, &error))
        rh_raise(L, &error);
    return 0;
}

void rh_host_open_inbox(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {{"inbox", inbox},
                                     {"inbox_wait", inbox_wait},
                                     {"inbox_done", inbox_done},
                                     {"inbox_early", inbox_early},
                                     {NULL, NULL}};
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
}
