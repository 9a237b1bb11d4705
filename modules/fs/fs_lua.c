/* fs: files for playbooks. native.work{ verb=, path=, … } ⏳ → by verb (see push_result). */
#include "fs.h"

#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <string.h>

static const char *const verb_names[] = {"stat", "read", "write",  "copy", "mkdir", "remove",
                                         "list", "glob", "sha256", "free", NULL};

static void push_stat(lua_State *L, const struct stat *stat)
{
    const mode_t mode = stat->st_mode;
    char octal[8];
    lua_createtable(L, 0, 6);
    lua_pushstring(L, S_ISREG(mode)   ? "file"
                      : S_ISDIR(mode) ? "directory"
                      : S_ISLNK(mode) ? "link"
                                      : "other");
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, stat->st_size);
    lua_setfield(L, -2, "size");
    snprintf(octal, sizeof octal, "%04o", (unsigned)(mode & 07777));
    lua_pushstring(L, octal);
    lua_setfield(L, -2, "mode");
    lua_pushinteger(L, (lua_Integer)stat->st_mtim.tv_sec * 1000 + stat->st_mtim.tv_nsec / 1000000);
    lua_setfield(L, -2, "modified");
    lua_pushinteger(L, stat->st_uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, stat->st_gid);
    lua_setfield(L, -2, "gid");
}

static void push_written(lua_State *L, const rh_fs *fs)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, fs->to != NULL ? fs->to : fs->path);
    lua_setfield(L, -2, "path");
    lua_pushinteger(L, fs->size);
    lua_setfield(L, -2, "bytes");
    lua_pushstring(L, fs->digest);
    lua_setfield(L, -2, "sha256");
}

static int push_result(rh_op *op, lua_State *L)
{
    const rh_fs *fs = (const rh_fs *)op;
    switch (fs->verb) {
    case RH_FS_STAT:
        if (fs->found)
            push_stat(L, &fs->stat);
        else
            lua_pushnil(L);
        break;
    case RH_FS_READ:
        lua_pushlstring(L, fs->data.size > 0 ? fs->data.data : "", fs->data.size);
        break;
    case RH_FS_WRITE:
    case RH_FS_COPY:
        push_written(L, fs);
        break;
    case RH_FS_MKDIR:
    case RH_FS_REMOVE:
        lua_pushboolean(L, fs->found);
        break;
    case RH_FS_LIST:
    case RH_FS_GLOB:
        lua_createtable(L, (int)fs->names_count, 0);
        for (size_t i = 0; i < fs->names_count; i++) {
            lua_pushstring(L, fs->names[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case RH_FS_SHA256:
        lua_pushstring(L, fs->digest);
        break;
    case RH_FS_FREE:
        lua_pushinteger(L, fs->size);
        break;
    }
    return 1;
}

static const rh_op_class fs_class = {
    .name = "fs",
    .size = sizeof(rh_fs),
    .cancel = rh_fs_cancel,
    .push = push_result,
    .fini = rh_fs_fini,
};

/* The values stay on the stack, so that the pointers stay valid. */
static const char *field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
}

static int native_work(lua_State *L)
{
    rh_error error = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "verb");
    rh_fs_request request = {
        .verb = (rh_fs_verb)luaL_checkoption(L, -1, NULL, verb_names),
        .path = field(L, "path"),
        .to = field(L, "to"),
    };
    if (request.path == NULL || (request.verb == RH_FS_COPY && request.to == NULL))
        return luaL_error(L, "path is missing");
    lua_getfield(L, 1, "data");
    if (!lua_isnil(L, -1))
        request.data = rh_check_secret_text(L, -1, &request.data_size);
    lua_getfield(L, 1, "mode");
    request.mode = (int)luaL_optinteger(L, -1, -1);
    lua_getfield(L, 1, "limit");
    request.limit = luaL_optinteger(L, -1, 0);
    rh_op *op = rh_op_new(&fs_class);
    if (!rh_fs_start((rh_fs *)op, &request, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}

static int native_secret(lua_State *L)
{
    rh_error error = {0};
    size_t size;
    const char *name = luaL_checkstring(L, 1);
    const char *text = luaL_checklstring(L, 2, &size);
    if (!rh_secret_push(L, name, text, size, &error)) {
        rh_error_module(&error, "fs");
        rh_raise(L, &error);
    }
    return 1;
}

static int open_fs(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"work", native_work},
        {"secret", native_secret},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}

RH_MODULE("fs", open_fs, NULL);
