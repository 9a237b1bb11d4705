/* Files, as the procedure sees them; the rest is the fs module's. An archive is a file or a folder.
 *
 *   native.publish(partial, path) ⏳                 durable, then named; refused where there is one of that name
 *   native.size(path) → bytes or nil                of a folder: of all its files
 *   native.head(path, n), native.tail(path, n)      the first, the last n bytes of a file
 *   native.remove(path)                             a folder with all that is in it
 *   native.absolute(folder) → path                  it must be writable */
#include "binding.h"

#include "core/buffer.h"
#include "core/luaerror.h"
#include "core/task.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Not to be cut short: a file has its name or not. */
static const rh_op_class publish_class = {.name = "database.publish",
                                          .size = sizeof(rh_database_publish),
                                          .fini = rh_database_publish_fini};

static _Noreturn void raise(lua_State *L, rh_error *error)
{
    rh_error_module(error, "database");
    rh_raise(L, error);
}

static int native_publish(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
    rh_database_publish *publish = (rh_database_publish *)rh_op_new(&publish_class);
    rh_error error = {0};
    publish->path = rh_strdup(path);
    publish->to = rh_strdup(to);
    if (!rh_database_publish_start(publish, &error)) {
        rh_op_discard(&publish->op);
        raise(L, &error);
    }
    return rh_await(L, &publish->op, 0);
}

static int native_size(lua_State *L)
{
    int64_t size = rh_database_size(luaL_checkstring(L, 1));
    if (size < 0)
        return 0;
    lua_pushinteger(L, size);
    return 1;
}

static int push_part(lua_State *L, bool from_the_end)
{
    const char *path = luaL_checkstring(L, 1);
    const lua_Integer limit = luaL_checkinteger(L, 2);
    rh_error error = {0};
    FILE *file = fopen(path, "re");
    if (!file) {
        rh_fail_errno(&error, errno, "cannot read %s", path);
        raise(L, &error);
    }
    if (from_the_end && fseeko(file, -limit, SEEK_END) != 0)
        rewind(file); /* it is shorter */
    luaL_Buffer text;
    char *at = luaL_buffinitsize(L, &text, (size_t)limit);
    luaL_pushresultsize(&text, fread(at, 1, (size_t)limit, file));
    fclose(file);
    return 1;
}

static int native_head(lua_State *L) { return push_part(L, false); }
static int native_tail(lua_State *L) { return push_part(L, true); }

static int native_remove(lua_State *L)
{
    rh_error error = {0};
    if (!rh_database_remove(luaL_checkstring(L, 1), &error))
        raise(L, &error);
    return 0;
}

static int native_absolute(lua_State *L)
{
    rh_error error = {0};
    const char *path = luaL_checkstring(L, 1);
    char absolute[PATH_MAX];
    if (!realpath(path, absolute) || access(absolute, W_OK | X_OK) != 0) {
        rh_fail_errno(&error, errno, "cannot write to the folder %s", path);
        raise(L, &error);
    }
    lua_pushstring(L, absolute);
    return 1;
}

void rh_database_bind_files(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"publish", native_publish},
        {"size", native_size},
        {"head", native_head},
        {"tail", native_tail},
        {"remove", native_remove},
        {"absolute", native_absolute},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
