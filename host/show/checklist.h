/* A run as a checklist, line by line as it happens: stages are headings, what ended gets its tick, a rollback
 * its banner, the end a summary. The terminal shows it live, `show RUN` from the journal. */
#ifndef RH_SHOW_CHECKLIST_H
#define RH_SHOW_CHECKLIST_H

#include "show/model.h"
#include "show/pen.h"

typedef struct rh_checklist {
    rh_pen pen;
    const rh_model *model;
    bool detail; /* each measurement with its limit, and the effects of a model that keeps them */
} rh_checklist;

/* Writes what the change adds for good. */
void rh_checklist_change(const rh_checklist *list, const rh_change *change, const rh_event *event);
/* A question, without its prompt. */
void rh_checklist_question(const rh_checklist *list, const rh_node *node, const json_t *payload);
/* Whatever is open now: what runs, with its wheel at `spin` and its last lines of output, what is waited for.
 * Returns true if some of it goes on by itself, so that its clock should tick. */
bool rh_checklist_open(const rh_pen *pen, const rh_node *root, unsigned spin);
/* The same where no process works on it: nothing turns. */
void rh_checklist_left(const rh_pen *pen, const rh_node *root);

/* The name, with the scopes that have no heading of their own before it: "web › deploy". */
void rh_checklist_name(rh_buffer *out, const rh_node *node);
int rh_checklist_indent(const rh_node *node);
void rh_checklist_tail(const rh_pen *pen, const rh_node *node, int indent, int rows);

#endif
