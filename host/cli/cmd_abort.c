#include "cli/message.h"

static int run(const rh_args *args) { return rh_cli_intent(args, "abort"); }

const rh_command_def rh_command_abort = {
    .name = "abort",
    .summary = "end a run for good and undo nothing",
    .usage = "[RUN] [--reason WHY]",
    .about =
        "A run that a process works on is told to; another one is ended here. What it changed stays changed.",
    .options = rh_intent_options,
    .most = 1,
    .run = run,
};
