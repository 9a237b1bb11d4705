/* Saying something to a run: a file in its inbox. */
#ifndef RH_CLI_MESSAGE_H
#define RH_CLI_MESSAGE_H

#include "cli/runs.h"

#include <jansson.h>

/* Drops the message (`data` is released) and tells the person what follows. Returns the exit code. */
int rh_cli_drop(const rh_run_ref *ref, const char *kind, json_t *data, const char *said);
/* pause, rollback, abort: to the process that holds the run, or, where none does, by executing it here. */
int rh_cli_intent(const rh_args *args, const char *intent);

/* The options of those that may execute it. */
extern const rh_option rh_intent_options[];

/* The unit in `model` that `word` names, by its name or key, among those that `fits` accepts. Without a word: the
 * only one. NULL: *error says which there are; `what` names them ("open approval"). */
const rh_node *rh_cli_unit(const rh_model *model, const char *word, const char *what,
                           bool (*fits)(const rh_node *node), rh_error *error);

#endif
