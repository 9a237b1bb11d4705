#include "core/command.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "run/host.h"
#include "run/state.h"
#include "run/who.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <unistd.h>

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool flag)
{
    lua_pushboolean(L, flag);
    lua_setfield(L, -2, name);
}

/* --set's words as they were given; lang knows what they may be. */
static void set_words(lua_State *L, const char *const *words)
{
    lua_newtable(L);
    for (lua_Integer i = 0; words && words[i]; i++) {
        lua_pushstring(L, words[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "set");
}

static void set_who(lua_State *L)
{
    char *login = rh_who_login(getuid()), *machine = rh_who_host();
    set_text(L, "operator", login);
    set_text(L, "host", machine);
    free(login);
    free(machine);
}

void rh_host_describe(lua_State *L, rh_host *host)
{
    const rh_run_request *request = host->request;
    if (lua_getfield(L, -1, "run") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "run");
    }
    set_text(L, "id", host->id);
    set_text(L, "run_dir", host->run_dir);
    set_text(L, "start_dir", host->start_dir);
    set_text(L, "mode", host->mode);
    set_text(L, "name", host->name);
    set_text(L, "environment", host->environment ? host->environment : request->environment);
    set_text(L, "playbook", request->playbook);
    set_text(L, "state_dir", request->state);
    char *option = request->state ? rh_state_option(request->state) : NULL;
    set_text(L, "state_option", option ? option : "");
    free(option);
    set_text(L, "at", request->at);
    set_text(L, "env_file", request->env_file);
    set_text(L, "roles_file", request->roles_file);
    set_text(L, "emergency", request->emergency);
    set_text(L, "intent", request->intent);
    set_text(L, "reason", request->reason);
    set_flag(L, "wait", request->wait);
    set_flag(L, "yes", request->yes);
    set_flag(L, "interactive", request->interactive);
    set_flag(L, "resumed", host->resumed);
    set_words(L, request->set);
    set_who(L);
    lua_pop(L, 1);
    lua_pushinteger(L, host->journal ? rh_journal_epoch(host->journal) : 0);
    lua_setfield(L, -2, "epoch");
}

/* (id) → "never" | "alive" | "ended" | "lost" */
static int command_state(lua_State *L)
{
    const rh_command_provider *commands = rh_commands();
    const char *id = luaL_checkstring(L, 1);
    switch (commands ? commands->state(id) : RH_COMMAND_NEVER) {
    case RH_COMMAND_NEVER:
        lua_pushliteral(L, "never");
        break;
    case RH_COMMAND_ALIVE:
        lua_pushliteral(L, "alive");
        break;
    case RH_COMMAND_ENDED:
        lua_pushliteral(L, "ended");
        break;
    case RH_COMMAND_LOST:
        lua_pushliteral(L, "lost");
        break;
    }
    return 1;
}

/* (reason): the environment stays locked after the run, until someone unlocks it. */
static int hold(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    const char *reason = luaL_checkstring(L, 1);
    rh_error error = {0};
    if (host->name && host->environment &&
        !rh_lock_hold(host->request->state, host->name, host->environment, reason, host->id,
                      &error))
        rh_raise(L, &error);
    return 0;
}

/* (): removes the record that this run left, if it did. */
static int unhold(lua_State *L)
{
    rh_host *host = rh_host_of(L);
    if (host->name && host->environment && host->id)
        rh_lock_unhold_own(host->request->state, host->name, host->environment, host->id);
    return 0;
}

/* (id) → whether that run of this state folder is not at its end; nil where there is none of that id. */
static int run_unfinished(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1), *state = rh_host_of(L)->request->state;
    bool unfinished = false;
    if (!state || !rh_state_run_is_there(state, id, &unfinished))
        return 0;
    lua_pushboolean(L, unfinished);
    return 1;
}

void rh_host_open_run(lua_State *L, rh_host *host)
{
    static const luaL_Reg calls[] = {{"command_state", command_state},
                                     {"hold", hold},
                                     {"unhold", unhold},
                                     {"run_unfinished", run_unfinished},
                                     {NULL, NULL}};
    lua_pushlightuserdata(L, host);
    luaL_setfuncs(L, calls, 1);
    lua_newtable(L);
    lua_pushinteger(L, (lua_Integer)RH_LUA_MEMORY);
    lua_setfield(L, -2, "memory");
    lua_pushinteger(L, RH_LUA_CPU_MS);
    lua_setfield(L, -2, "cpu");
    lua_setfield(L, -2, "limits");
    rh_host_describe(L, host);
}
