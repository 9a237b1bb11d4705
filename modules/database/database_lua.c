/* database: what rollout.mysql and rollout.pg share: files.h, watch.h, and the procedure in Lua.
 *
 *   native.parts   the compiled parts of the sugar, which adds what the drivers call */
#include "binding.h"

#include "core/module.h"

#include <lua5.4/lauxlib.h>

/* clang-format off */
#define PARTS(X) X(work) X(fingerprint) X(archive) X(plain) X(statements) X(since) X(dump)         \
    X(restore) X(backups) X(inspect) X(judged) X(reads) X(shown) X(told)
/* clang-format on */
RH_PARTS(PARTS)

static int open_database(lua_State *L)
{
    lua_newtable(L);
    rh_database_bind_files(L);
    rh_database_bind_commands(L);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("database", open_database, NULL);
