#include "cli/execute.h"

static int run(const rh_args *args) { return rh_cli_start(args, "plan"); }

const rh_command_def rh_command_plan = {
    .name = "plan",
    .summary = "what a run would do, effect by effect; nothing is touched, no gate is evaluated",
    .usage = "PLAYBOOK [--env E] [--set NAME=VALUE]… [--format text|md|json]",
    .options =
        (const rh_option[]){
            RH_OPTION_ENV,
            RH_OPTION_SET,
            RH_OPTION_AT,
            RH_OPTION_ENV_FILE,
            RH_OPTION_ROLES,
            RH_OPTION_EMERGENCY,
            {.name = "format", .value = "FORMAT", .help = "text, md or json"},
            {0},
        },
    .least = 1,
    .most = 1,
    .run = run,
};
