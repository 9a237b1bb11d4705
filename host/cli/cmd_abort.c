#include "cli/execute.h"
#include "cli/message.h"

static int run(const rh_args *args) { return rh_cli_intent(args, "abort"); }

const rh_command_def rh_command_abort = {
    .name = "abort",
    .summary = "end a run for good and undo nothing",
    .usage = "[RUN] [--reason WHY]",
    .about =
        "A run that a process works on is told to; another one is ended here. What it changed stays changed.",
    .options =
        (const rh_option[]){
            {.name = "reason", .value = "WHY", .help = "kept in the journal"},
            RH_OPTION_ENV_FILE,
            RH_OPTION_ROLES,
            RH_OPTION_YES,
            RH_OPTION_OUTPUT,
            {0},
        },
    .most = 1,
    .run = run,
};
