/* git: the binding. Commands are sh's.
 *
 *   native.status(text, limit) → { commit, branch, upstream, ahead, behind, staged, changed, unmerged,
 *          untracked, total, files = { { path, state, from, submodule }, … } }   at most `limit` files
 *   native.has_ssh_command() → boolean: the host's environment says how ssh is run
 *   native.absolute(path) → path, from the folder where the run started; nothing need be there
 *   native.parts   the compiled parts of the sugar */
#include "git.h"

#include "core/luaerror.h"
#include "core/module.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct listing {
    lua_State *L; /* the list of files is on its top */
    lua_Integer count, limit;
} listing;

static void set_text(lua_State *L, const char *name, const char *text, size_t size)
{
    if (text) {
        lua_pushlstring(L, text, size);
        lua_setfield(L, -2, name);
    }
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void add_file(void *data, const rh_git_entry *entry)
{
    listing *list = data;
    lua_State *L = list->L;
    if (list->count == list->limit)
        return;
    lua_createtable(L, 0, 3);
    set_text(L, "path", entry->path, strlen(entry->path));
    set_text(L, "state", (const char[]){entry->index, entry->tree}, 2);
    if (entry->renamed)
        set_text(L, "from", entry->renamed, strlen(entry->renamed));
    if (entry->submodule) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "submodule");
    }
    lua_rawseti(L, -2, ++list->count);
}

static int native_status(lua_State *L)
{
    size_t size;
    rh_error error = {0};
    rh_git_status status;
    const char *text = luaL_checklstring(L, 1, &size);
    listing list = {.L = L, .limit = luaL_checkinteger(L, 2)};
    lua_createtable(L, 0, 12);
    lua_newtable(L);
    if (!rh_git_status_read(text, size, &status, add_file, &list, &error)) {
        rh_error_module(&error, "git");
        rh_raise(L, &error);
    }
    lua_setfield(L, -2, "files");
    set_text(L, "commit", status.commit, status.commit_size);
    set_text(L, "branch", status.branch, status.branch_size);
    set_text(L, "upstream", status.upstream, status.upstream_size);
    if (status.compared) {
        set_integer(L, "ahead", status.ahead);
        set_integer(L, "behind", status.behind);
    }
    set_integer(L, "staged", (lua_Integer)status.staged);
    set_integer(L, "changed", (lua_Integer)status.changed);
    set_integer(L, "unmerged", (lua_Integer)status.unmerged);
    set_integer(L, "untracked", (lua_Integer)status.untracked);
    set_integer(L, "total", (lua_Integer)status.total);
    return 1;
}

static int native_has_ssh_command(lua_State *L)
{
    lua_pushboolean(L, getenv("GIT_SSH_COMMAND") != NULL || getenv("GIT_SSH") != NULL);
    return 1;
}

static int native_absolute(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (folder) {
        lua_pushfstring(L, "%s/%s", folder, path);
        free(folder);
    } else {
        lua_pushvalue(L, 1);
    }
    return 1;
}

/* clang-format off */
#define PARTS(X) X(command) X(read) X(refs) X(place) X(move) X(pull) X(revert) X(copy)
/* clang-format on */
RH_PARTS(PARTS)

static int open_git(lua_State *L)
{
    static const luaL_Reg functions[] = {{"status", native_status},
                                         {"has_ssh_command", native_has_ssh_command},
                                         {"absolute", native_absolute},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("git", open_git, NULL);
