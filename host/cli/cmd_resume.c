#include "cli/execute.h"
#include "cli/runs.h"

static int run(const rh_args *args)
{
    rh_run_ref ref;
    rh_error error = {0};
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error))
        return rh_cli_not_found(&error);
    const int code = rh_cli_execute(
        args, &(rh_run_request){.intent = "resume", .state = ref.state, .run = ref.id});
    rh_run_ref_clear(&ref);
    return code;
}

const rh_command_def rh_command_resume = {
    .name = "resume",
    .summary = "go on with a run that crashed, paused, stopped or waits",
    .usage = "[RUN]",
    .about =
        "What is recorded is not done again. A stopped run tries its failed step again, an unwinding one\n"
        "goes on unwinding, one that has ended prints its end. Without RUN: the only unfinished run,\n"
        "else the newest.",
    .options =
        (const rh_option[]){
            RH_OPTION_ENV_FILE,
            RH_OPTION_ROLES,
            RH_OPTION_EMERGENCY,
            RH_OPTION_WAIT,
            RH_OPTION_YES,
            RH_OPTION_OUTPUT,
            {0},
        },
    .most = 1,
    .run = run,
};
