#include "cli/execute.h"

static int run(const rh_args *args) { return rh_cli_start(args, "run"); }

const rh_command_def rh_command_run = {
    .name = "run",
    .summary = "run a playbook; the word `run` may be left out",
    .usage = "PLAYBOOK [--env E] [--set NAME=VALUE]…",
    .about =
        "Runs the playbook from its first line, durably: whatever happens to this process, `resume` goes\n"
        "on where it was. Ctrl-C pauses when the effect in flight has ended, a second one cancels that\n"
        "effect. Closing the terminal does not end the run.",
    .options =
        (const rh_option[]){
            RH_OPTION_ENV,
            RH_OPTION_SET,
            RH_OPTION_AT,
            RH_OPTION_ENV_FILE,
            RH_OPTION_ROLES,
            RH_OPTION_EMERGENCY,
            RH_OPTION_WAIT,
            RH_OPTION_YES,
            RH_OPTION_OUTPUT,
            {0},
        },
    .least = 1,
    .most = 1,
    .run = run,
};
