#include "cli/cli.h"
#include "run/lua.h"

#include <stdint.h>

static int run(const rh_args *args)
{
    return rh_lua_main(args->count, (char **)(uintptr_t)args->words);
}

const rh_command_def rh_command_lua = {
    .name = "lua",
    .summary = "a Lua 5.4 with rollout.*, for specs and editors",
    .usage = "FILE [ARGUMENT]…",
    .about =
        "Runs FILE as a script with all of Lua's library, and `require \"rollout.…\"` besides: no run, no\n"
        "journal, effects happen at once.",
    .least = 1,
    .most = -1,
    .raw = true,
    .run = run,
};
