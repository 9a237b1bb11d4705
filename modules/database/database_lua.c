/* database: what rollout.mysql and rollout.pg share: files.h, watch.h, and the procedure in Lua.
 *
 *   native.parts   the compiled parts of the sugar, which adds what the drivers call */
#include "binding.h"

#include "core/module.h"

#include <lua5.4/lauxlib.h>

RH_EMBED(rh_database_work_lua, RH_LUA_DIR "/modules/database/work.luac")
RH_EMBED(rh_database_fingerprint_lua, RH_LUA_DIR "/modules/database/fingerprint.luac")
RH_EMBED(rh_database_archive_lua, RH_LUA_DIR "/modules/database/archive.luac")
RH_EMBED(rh_database_plain_lua, RH_LUA_DIR "/modules/database/plain.luac")
RH_EMBED(rh_database_statements_lua, RH_LUA_DIR "/modules/database/statements.luac")
RH_EMBED(rh_database_since_lua, RH_LUA_DIR "/modules/database/since.luac")
RH_EMBED(rh_database_dump_lua, RH_LUA_DIR "/modules/database/dump.luac")
RH_EMBED(rh_database_restore_lua, RH_LUA_DIR "/modules/database/restore.luac")
RH_EMBED(rh_database_backups_lua, RH_LUA_DIR "/modules/database/backups.luac")
RH_EMBED(rh_database_inspect_lua, RH_LUA_DIR "/modules/database/inspect.luac")
RH_EMBED(rh_database_judged_lua, RH_LUA_DIR "/modules/database/judged.luac")
RH_EMBED(rh_database_shown_lua, RH_LUA_DIR "/modules/database/shown.luac")
RH_EMBED(rh_database_told_lua, RH_LUA_DIR "/modules/database/told.luac")

static const struct {
    const char *name, *from, *end;
} parts[] = {
    {"work", rh_database_work_lua, rh_database_work_lua_end},
    {"fingerprint", rh_database_fingerprint_lua, rh_database_fingerprint_lua_end},
    {"archive", rh_database_archive_lua, rh_database_archive_lua_end},
    {"plain", rh_database_plain_lua, rh_database_plain_lua_end},
    {"statements", rh_database_statements_lua, rh_database_statements_lua_end},
    {"since", rh_database_since_lua, rh_database_since_lua_end},
    {"dump", rh_database_dump_lua, rh_database_dump_lua_end},
    {"restore", rh_database_restore_lua, rh_database_restore_lua_end},
    {"backups", rh_database_backups_lua, rh_database_backups_lua_end},
    {"inspect", rh_database_inspect_lua, rh_database_inspect_lua_end},
    {"judged", rh_database_judged_lua, rh_database_judged_lua_end},
    {"shown", rh_database_shown_lua, rh_database_shown_lua_end},
    {"told", rh_database_told_lua, rh_database_told_lua_end},
};

static int open_database(lua_State *L)
{
    lua_newtable(L);
    rh_database_bind_files(L);
    rh_database_bind_commands(L);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        lua_pushfstring(L, "=modules/database/%s.lua", parts[i].name);
        if (luaL_loadbufferx(L, parts[i].from, (size_t)(parts[i].end - parts[i].from),
                             lua_tostring(L, -1), "b") != LUA_OK)
            lua_error(L);
        lua_remove(L, -2);
        lua_setfield(L, -2, parts[i].name);
    }
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("database", open_database, NULL);
