#include "core/module.h"

#include "core/buffer.h"
#include "core/luaerror.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <lua5.4/lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the executable, found once. */
static const char *executable_folder(void)
{
    static char folder[PATH_MAX];
    if (!folder[0]) {
        ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
        folder[size > 0 ? size : 0] = '\0';
        char *slash = strrchr(folder, '/');
        if (slash)
            *slash = '\0';
    }
    return folder;
}

char *rh_module_path(const char *file)
{
    const char *given = getenv("ROLLOUTHOST_MODULES");
    const char *beside = executable_folder();
    char *tries[] = {given ? rh_format("%s/%s", given, file) : NULL,
                     rh_format("%s/modules/%s", beside, file),
                     rh_format("%s/../lib/rollouthost/modules/%s", beside, file)};
    char *found = NULL;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (tries[i] && !found && access(tries[i], R_OK) == 0)
            found = tries[i];
        else
            free(tries[i]);
    }
    return found;
}

/* Libraries that modules need bring GnuTLS along, and use nothing of it. Asked by it when it is loaded, this
 * keeps it from setting itself up, which would cost a megabyte and a millisecond. */
int _gnutls_global_init_skip(void);
int _gnutls_global_init_skip(void) { return 1; }

void rh_push_parts(lua_State *L, const rh_part *parts)
{
    lua_newtable(L);
    for (; parts->name; parts++) {
        if (luaL_loadbufferx(L, parts->from, (size_t)(parts->end - parts->from), parts->name,
                             "b") != LUA_OK)
            lua_error(L);
        lua_setfield(L, -2, parts->name);
    }
}

void *rh_new_object(lua_State *L, size_t size, const char *type, lua_CFunction gc)
{
    void *object = lua_newuserdatauv(L, size, 0);
    memset(object, 0, size);
    if (luaL_newmetatable(L, type)) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return object;
}

static bool plain_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

const rh_module_def *rh_module_load(lua_State *L, const char *name)
{
    if (!plain_name(name))
        rh_raisef(L, "module",
                  "rollout.%s is not the name of a module: lower-case letters, digits and _", name);
    const char *file = lua_pushfstring(L, "%s.so", name);
    char *path = rh_module_path(file);
    lua_pop(L, 1);
    if (!path)
        return NULL;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *why = object ? NULL : dlerror();
    if (!object)
        lua_pushfstring(L, "rollout.%s cannot be loaded: %s", name, why);
    free(path);
    if (!object)
        rh_raisef(L, "module", "%s. Is the library it needs installed? `rollouthost doctor` tells",
                  lua_tostring(L, -1));
    const rh_module_def *def = dlsym(object, "rh_module");
    if (!def || def->abi != RH_MODULE_ABI || strcmp(def->host_version, RH_HOST_VERSION) != 0)
        rh_raisef(
            L, "module",
            "rollout.%s was built for rollouthost %s, this is %s: install the module that belongs to it",
            name, def && def->abi == RH_MODULE_ABI ? def->host_version : "of another kind",
            RH_HOST_VERSION);
    return def;
}
