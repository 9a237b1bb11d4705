/* Existing runs, as commands name and look at them. */
#ifndef RH_CLI_RUNS_H
#define RH_CLI_RUNS_H

#include "cli/cli.h"
#include "show/model.h"

/* The state folder that --state, ROLLOUTHOST_STATE or the default names; free() it. NULL: *error. `write`: it
 * is made if it is missing, and must be writable. */
char *rh_cli_state(const rh_args *args, bool write, rh_error *error);

typedef struct rh_run_ref {
    char *state, *id, *dir;
} rh_run_ref;

/* The run that `word` (an unambiguous part of an id) names. Without a word: the only unfinished run, else the
 * newest; several unfinished ones are an error that lists them. Free with rh_run_ref_clear(). */
bool rh_run_ref_find(rh_run_ref *ref, const rh_args *args, const char *word, bool write,
                     rh_error *error);
void rh_run_ref_clear(rh_run_ref *ref);
/* Prints why a run was not found or cannot be read; returns the exit code. */
int rh_cli_not_found(rh_error *error);

/* Reads the whole journal of a run into `model`, effects included. `fn` as rh_model_apply's. */
bool rh_run_read(const rh_run_ref *ref, rh_model *model, rh_change_fn fn, void *data,
                 rh_error *error);

/* In one or two words how it stands: "succeeded", "running", "paused", "interrupted", … */
const char *rh_run_standing(const char *dir, const rh_model *model);

#endif
