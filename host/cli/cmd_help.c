#include "cli/cli.h"

static int run(const rh_args *args)
{
    const char *word = rh_word(args, 0);
    if (!word) {
        rh_help_overview();
        return RH_EXIT_OK;
    }
    const rh_command_def *command = rh_command_find(word);
    if (!command)
        return rh_complainf(RH_EXIT_USAGE,
                            "no help on \"%s\": it is no command. See `rollouthost help`", word);
    rh_help_command(command);
    return RH_EXIT_OK;
}

const rh_command_def rh_command_help = {
    .name = "help",
    .summary = "this overview, or the help of one command",
    .usage = "[COMMAND]",
    .most = 1,
    .run = run,
};
