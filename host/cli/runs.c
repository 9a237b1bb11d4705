#include "cli/runs.h"

#include "core/buffer.h"
#include "run/journal.h"
#include "run/state.h"

#include <stdlib.h>
#include <string.h>

char *rh_cli_state(const rh_args *args, bool write, rh_error *error)
{
    /* The user's own folder is made by whatever looks at it first; one that is named must be there to be read. */
    const char *given = rh_arg(args, "state");
    return rh_state_open(given, write || (!given && !getenv("ROLLOUTHOST_STATE")), error);
}

bool rh_run_ref_find(rh_run_ref *ref, const rh_args *args, const char *word, bool write,
                     rh_error *error)
{
    *ref = (rh_run_ref){.state = rh_cli_state(args, write, error)};
    if (!ref->state)
        return false;
    ref->id =
        word ? rh_state_find_run(ref->state, word, error) : rh_state_pick_run(ref->state, error);
    if (!ref->id) {
        rh_run_ref_clear(ref);
        return false;
    }
    ref->dir = rh_state_run_dir(ref->state, ref->id);
    return true;
}

void rh_run_ref_clear(rh_run_ref *ref)
{
    free(ref->state);
    free(ref->id);
    free(ref->dir);
    *ref = (rh_run_ref){0};
}

bool rh_run_read(const rh_run_ref *ref, rh_model *model, rh_change_fn fn, void *data,
                 rh_error *error)
{
    rh_journal *journal = rh_journal_read(ref->dir, error);
    if (!journal)
        return false;
    char *option = rh_state_option(ref->state);
    rh_model_init(model, option, true);
    free(option);
    const int64_t last = rh_journal_last(journal);
    rh_event event;
    for (int64_t seq = 1; seq <= last; seq++) {
        if (!rh_journal_at(journal, seq, &event))
            continue;
        event.replayed = false;
        rh_model_apply(model, &event, fn, data);
    }
    rh_journal_close(journal);
    return true;
}

int rh_cli_not_found(rh_error *error)
{
    return rh_complain(
        error->code && strcmp(error->code, "journal") == 0 ? RH_EXIT_BROKEN : RH_EXIT_USAGE, error);
}

const char *rh_run_standing(const char *dir, const rh_model *model)
{
    if (rh_journal_is_live(dir))
        return model->rolling_back ? "rolling back" : "running";
    return model->status ? model->status : "interrupted";
}
