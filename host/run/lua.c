#include "run/lua.h"

#include "core/buffer.h"
#include "core/loop.h"
#include "core/luaenv.h"
#include "core/luaerror.h"
#include "core/mask.h"
#include "core/secret.h"
#include "core/task.h"
#include "run/guardian.h"
#include "run/host.h"
#include "run/lang.h"

#include <ftw.h>
#include <limits.h>
#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct script {
    rh_run_request request;
    rh_host host;
    char folder[PATH_MAX], start_dir[PATH_MAX];
    int argc;
    char **argv;
    rh_task *task;
} script;

/* A folder for the guardian's files; gone at the end. */
static bool make_folder(rh_error *error)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(script.folder, sizeof script.folder, "%s/rollouthost-lua-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(script.folder))
        return rh_fail(error, "io", "a temporary folder cannot be made in %s", tmp ? tmp : "/tmp");
    return true;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

/* Stack: … `package` opens with a require of its own; ours asks it for what is neither rollout.* nor lang.*. */
static int open_script(lua_State *L)
{
    rh_host_open(L, &script.host);
    rh_lang_open(L);
    rh_lang_require(L, "script");
    lua_getglobal(L, "require");
    luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
    luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 1);
    lua_pop(L, 3);
    lua_getglobal(L, "require"); /* script private public */
    lua_call(L, 2, 1);           /* → main */
    lua_pushstring(L, script.argv[0]);
    lua_newtable(L);
    for (int i = 0; i < script.argc; i++) {
        lua_pushstring(L, script.argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 2, 1); /* → the task's function */
    script.task = rh_task_spawn(L);
    return 0;
}

static void complain(const char *who, const char *text)
{
    rh_buffer masked = {0};
    rh_mask_text(rh_mask_process(), text, strlen(text), &masked);
    fprintf(stderr, "%s%s\n", who, masked.data ? masked.data : "");
    rh_buffer_free(&masked);
}

static int play(lua_State *L, rh_error *error)
{
    bool finished = false;
    lua_pushcfunction(L, open_script);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        rh_error_from_lua(L, -1, error);
        return 1;
    }
    rh_task_watch(script.task, &finished);
    if (!rh_loop_run(&finished)) {
        rh_fail(error, "internal", "the script waits and nothing is left to wait for");
        return 1;
    }
    int top = lua_gettop(L);
    rh_task_take(script.task, L);
    if (lua_toboolean(L, top + 1))
        return lua_isinteger(L, top + 2) ? (int)lua_tointeger(L, top + 2) : 0;
    lua_getfield(L, top + 2, "traceback");
    const char *trace = lua_tostring(L, -1);
    rh_error_from_lua(L, top + 2, error);
    if (trace)
        complain("", trace);
    return 1;
}

int rh_lua_main(int argc, char **argv)
{
    rh_error error = {0};
    int code = 1;
    rh_secret_close_up();
    script.argc = argc;
    script.argv = argv;
    script.request.intent = "lua";
    script.host.request = &script.request;
    script.host.mode = "lua";
    script.host.start_dir = getcwd(script.start_dir, sizeof script.start_dir);
    script.host.variables = rh_variables_open(NULL, &error);
    script.host.sources = rh_sources_new(script.start_dir);
    script.host.run_dir = script.folder;
    if (make_folder(&error)) {
        if (rh_guardian_start(script.folder, &error)) {
            lua_State *L = rh_luaenv_new((size_t)1 << 40, 0);
            code = play(L, &error);
            rh_guardian_leave(true);
            rh_luaenv_close(L);
        }
        nftw(script.folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    rh_sources_free(script.host.sources);
    rh_variables_close(script.host.variables);
    if (rh_error_is_set(&error))
        complain("rollouthost lua: ", error.message);
    rh_error_clear(&error);
    return code;
}
