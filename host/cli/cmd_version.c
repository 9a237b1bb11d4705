#include "cli/cli.h"

#include "core/module.h"

#include <stdio.h>

static int run(const rh_args *args)
{
    (void)args;
    puts("rollouthost " RH_HOST_VERSION);
    return RH_EXIT_OK;
}

const rh_command_def rh_command_version = {
    .name = "version",
    .summary = "the version of this program (also --version)",
    .usage = "",
    .run = run,
};
