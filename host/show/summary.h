/* How a run stands or ended, in words, and what a person does next. */
#ifndef RH_SHOW_SUMMARY_H
#define RH_SHOW_SUMMARY_H

#include "core/buffer.h"
#include "show/model.h"

typedef enum { RH_MOOD_GOOD, RH_MOOD_BAD, RH_MOOD_PENDING } rh_mood;

/* "Succeeded", "Failed and rolled back", "Waiting", … */
const char *rh_summary_title(const rh_model *model, rh_mood *mood);

/* Calls `fn` for each further line: a label ("why", "undone", "in doubt", "next") and its text. */
void rh_summary_each(const rh_model *model,
                     void (*fn)(void *data, const char *label, const char *text), void *data);

/* Appends "version=v1.4.0 schema_change=true". */
void rh_summary_inputs(rh_buffer *out, const rh_model *model);

/* "committed: NAME; no longer undoable: a, b" of a rollback.drop's payload; free() it. */
char *rh_summary_commit(const json_t *payload);

/* The last node that failed, in the order of events, or NULL: where to look. */
const rh_node *rh_summary_culprit(const rh_model *model);

#endif
