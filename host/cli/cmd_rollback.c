#include "cli/message.h"

static int run(const rh_args *args) { return rh_cli_intent(args, "rollback"); }

const rh_command_def rh_command_rollback = {
    .name = "rollback",
    .summary = "undo what a run did, last in, first out",
    .usage = "[RUN] [--reason WHY]",
    .about =
        "A run that a process works on is told to; another one is unwound here. A run that succeeded can be rolled\n"
        "back too, until its commit or the next run of its environment.",
    .options = rh_intent_options,
    .most = 1,
    .run = run,
};
