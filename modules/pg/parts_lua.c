/* The compiled parts of pg's sugar: native.parts.NAME is a chunk. */
#include "parts_lua.h"

#include "core/module.h"

#include <lua5.4/lauxlib.h>

RH_EMBED(rh_pg_words_lua, RH_LUA_DIR "/modules/pg/words.luac")
RH_EMBED(rh_pg_marker_lua, RH_LUA_DIR "/modules/pg/marker.luac")
RH_EMBED(rh_pg_catalog_lua, RH_LUA_DIR "/modules/pg/catalog.luac")
RH_EMBED(rh_pg_normal_lua, RH_LUA_DIR "/modules/pg/normal.luac")
RH_EMBED(rh_pg_fingerprint_lua, RH_LUA_DIR "/modules/pg/fingerprint.luac")
RH_EMBED(rh_pg_backup_lua, RH_LUA_DIR "/modules/pg/backup.luac")
RH_EMBED(rh_pg_clients_lua, RH_LUA_DIR "/modules/pg/clients.luac")
RH_EMBED(rh_pg_databases_lua, RH_LUA_DIR "/modules/pg/databases.luac")
RH_EMBED(rh_pg_health_lua, RH_LUA_DIR "/modules/pg/health.luac")
RH_EMBED(rh_pg_inspect_lua, RH_LUA_DIR "/modules/pg/inspect.luac")
RH_EMBED(rh_pg_in_place_lua, RH_LUA_DIR "/modules/pg/in_place.luac")
RH_EMBED(rh_pg_preflight_lua, RH_LUA_DIR "/modules/pg/preflight.luac")
RH_EMBED(rh_pg_snapshot_lua, RH_LUA_DIR "/modules/pg/snapshot.luac")
RH_EMBED(rh_pg_swap_lua, RH_LUA_DIR "/modules/pg/swap.luac")
RH_EMBED(rh_pg_written_lua, RH_LUA_DIR "/modules/pg/written.luac")

static const struct {
    const char *name, *from, *end;
} parts[] = {
    {"words", rh_pg_words_lua, rh_pg_words_lua_end},
    {"marker", rh_pg_marker_lua, rh_pg_marker_lua_end},
    {"catalog", rh_pg_catalog_lua, rh_pg_catalog_lua_end},
    {"normal", rh_pg_normal_lua, rh_pg_normal_lua_end},
    {"fingerprint", rh_pg_fingerprint_lua, rh_pg_fingerprint_lua_end},
    {"backup", rh_pg_backup_lua, rh_pg_backup_lua_end},
    {"clients", rh_pg_clients_lua, rh_pg_clients_lua_end},
    {"databases", rh_pg_databases_lua, rh_pg_databases_lua_end},
    {"health", rh_pg_health_lua, rh_pg_health_lua_end},
    {"inspect", rh_pg_inspect_lua, rh_pg_inspect_lua_end},
    {"in_place", rh_pg_in_place_lua, rh_pg_in_place_lua_end},
    {"preflight", rh_pg_preflight_lua, rh_pg_preflight_lua_end},
    {"snapshot", rh_pg_snapshot_lua, rh_pg_snapshot_lua_end},
    {"swap", rh_pg_swap_lua, rh_pg_swap_lua_end},
    {"written", rh_pg_written_lua, rh_pg_written_lua_end},
};

void rh_pg_bind_parts(lua_State *L)
{
    lua_newtable(L);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        lua_pushfstring(L, "=modules/pg/%s.lua", parts[i].name);
        if (luaL_loadbufferx(L, parts[i].from, (size_t)(parts[i].end - parts[i].from),
                             lua_tostring(L, -1), "b") != LUA_OK)
            lua_error(L);
        lua_remove(L, -2);
        lua_setfield(L, -2, parts[i].name);
    }
    lua_setfield(L, -2, "parts");
}
