#include "cli/message.h"
#include "run/journal.h"

static int run(const rh_args *args)
{
    rh_run_ref ref;
    rh_error error = {0};
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error))
        return rh_cli_not_found(&error);
    const bool live = rh_journal_is_live(ref.dir);
    rh_run_ref_clear(&ref);
    if (!live)
        return rh_complainf(
            RH_EXIT_STOPPED,
            "no process works on that run: there is nothing to pause. See `rollouthost runs`");
    return rh_cli_intent(args, "pause");
}

const rh_command_def rh_command_pause = {
    .name = "pause",
    .summary = "let a run finish its effect in flight, then stop until `resume`",
    .usage = "[RUN] [--reason WHY]",
    .options =
        (const rh_option[]){{.name = "reason", .value = "WHY", .help = "kept in the journal"}, {0}},
    .most = 1,
    .run = run,
};
