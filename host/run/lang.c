#include "run/lang.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/task.h"

#include <dirent.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define LANG(NAME) RH_EMBED(rh_lang_##NAME, RH_LUA_DIR "/host/lang/" #NAME ".luac")
#include "run/lang_files.h"
#undef LANG

static const struct {
    const char *name, *text, *end;
} files[] = {
#define LANG(NAME) {#NAME, rh_lang_##NAME, rh_lang_##NAME##_end},
#include "run/lang_files.h"
#undef LANG
};

static const char LOADED[] = "rh_lang_loaded";

static int lang_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LOADED);
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        return 1;
    const char *file = strncmp(name, "lang.", 5) == 0 ? name + 5 : name;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(files[i].name, file) != 0)
            continue;
        const char *chunk = lua_pushfstring(L, "=[lang.%s]", file);
        if (luaL_loadbufferx(L, files[i].text, (size_t)(files[i].end - files[i].text), chunk,
                             "b") != LUA_OK)
            return lua_error(L);
        lua_call(L, 0, 1);
        if (lua_isnil(L, -1))
            lua_pushboolean(L, 1), lua_replace(L, -2);
        lua_pushvalue(L, -1);
        lua_setfield(L, 2, name);
        return 1;
    }
    return luaL_error(L, "the host has no %s", name);
}

void rh_lang_require(lua_State *L, const char *name)
{
    lua_pushcfunction(L, lang_require);
    lua_pushfstring(L, "lang.%s", name);
    lua_call(L, 1, 1);
}

/* ---- what lang/ asks of C about Lua itself ---- */

static int l_basics(lua_State *L)
{
    rh_luaenv_push_basics(L);
    return 1;
}

/* (name) → native, sugar (compiled); nil where there is no such module. */
static int l_module(lua_State *L)
{
    const rh_module_def *def = rh_module_load(L, luaL_checkstring(L, 1));
    if (!def)
        return 0;
    int top = lua_gettop(L);
    def->open(L);
    lua_settop(L, top + 1);
    lua_pushlstring(L, def->sugar, (size_t)(def->sugar_end - def->sugar));
    return 2;
}

static int l_module_path(lua_State *L)
{
    char *path = rh_module_path(luaL_checkstring(L, 1));
    lua_pushstring(L, path);
    free(path);
    return 1;
}

/* The modules that are installed, by name: for suggestions and the doctor. */
static int l_module_names(lua_State *L)
{
    lua_newtable(L);
    char *folder = rh_module_path(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    free(folder);
    lua_Integer count = 0;
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || (strcmp(dot, ".so") != 0 && strcmp(dot, ".lua") != 0))
            continue;
        lua_pushlstring(L, entry->d_name, (size_t)(dot - entry->d_name));
        lua_rawseti(L, -2, ++count);
    }
    if (dir)
        closedir(dir);
    return 1;
}

/* () → "file:line" of the playbook's code that is being executed, whose chunks are named "@path"; or nil. */
static int l_line(lua_State *L)
{
    lua_Debug frame;
    for (int level = 1; level < 60 && lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (*frame.source == '@' && frame.currentline > 0) {
            lua_pushfstring(L, "%s:%d", frame.source + 1, frame.currentline);
            return 1;
        }
    }
    return 0;
}

static int l_getenv(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static int l_memory(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)rh_luaenv_memory(L));
    return 1;
}

void rh_lang_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"basics", l_basics},
                                         {"module", l_module},
                                         {"module_path", l_module_path},
                                         {"module_names", l_module_names},
                                         {"line", l_line},
                                         {"getenv", l_getenv},
                                         {"memory", l_memory},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    rh_task_open(L);
    lua_setfield(L, -2, "task");
    lua_pushstring(L, RH_HOST_VERSION);
    lua_setfield(L, -2, "version");
    rh_error none = {.code = "none"}; /* the metatable of errors comes with the first one */
    rh_error_push(L, &none);
    lua_getmetatable(L, -1);
    lua_setfield(L, -3, "error_metatable");
    lua_pop(L, 1);

    lua_newtable(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "lang.host");
    lua_setfield(L, LUA_REGISTRYINDEX, LOADED);
    lua_pushcfunction(L, lang_require);
    lua_setglobal(L, "require");
}
