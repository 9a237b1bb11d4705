/* What a run looks like, derived from its events alone: the same tree serves the live checklist, the plain
 * lines and `rollouthost show`. Tolerant of events and fields that it does not know. */
#ifndef RH_SHOW_MODEL_H
#define RH_SHOW_MODEL_H

#include "core/event.h"
#include "show/progress.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    RH_NODE_RUNNING,
    RH_NODE_WAITING,
    RH_NODE_OK,
    RH_NODE_FAILED,
    RH_NODE_SKIPPED,
    RH_NODE_CANCELLED,
    RH_NODE_DOUBT,
} rh_node_status;

enum { RH_TAIL = 12 }; /* lines of output that are kept of a running node */

typedef struct rh_node {
    struct rh_node *parent, *first, *last, *next;
    char *kind, *key, *name; /* "step", "Deploy/migrate", "migrate" */
    char *line;              /* "playbooks/shop.lua:23", or NULL */
    rh_node_status status;
    bool replayed; /* ended in an earlier turn at the run */
    int64_t begun_us, ended_us, ms;
    char *note;  /* what came of it: measurements, who answered, why it was skipped */
    char *error; /* why it failed */
    char *bound; /* of an approval: the digest of what it is bound to, or NULL */
    int attempt, checks;
    bool headed; /* a display's mark: its heading is printed */
    /* While it runs: */
    char *doing;       /* the effect in flight, described */
    char *waiting_for; /* and the command that ends the wait, where a person's answer does */
    char *command;
    int64_t until_us;
    rh_progress progress;
    char *tail[RH_TAIL]; /* newest last; NULL where there is none */
    bool tail_open;      /* the newest has not ended in a line break yet */
} rh_node;

typedef struct rh_model {
    rh_node root;                        /* its children are what the playbook's top level did */
    char *run, *name, *playbook, *title, /* name: in the header; playbook: its file */
        *environment, *operator, * host;
    char *mode;
    char *state_option; /* what commands to be typed carry: " --state DIR", or "" */
    json_t *inputs;
    /* Of the newest run.end or run.pause, if no process took it up since: */
    char *status; /* "succeeded", "paused", …; NULL: a process works on it, or crashed */
    char *error;
    int64_t exit_code; /* -1: none */
    int64_t begun_us, left_us;
    bool ended;        /* by run.end: for good */
    bool is_protected; /* the environment */
    bool rolling_back, rolled_back;
    bool asked;    /* a person asked for the rollback: nothing had failed */
    int turns;     /* processes that worked on it */
    json_t *armed; /* key → name of compensations that are registered and neither run nor dropped */
    json_t *committed; /* names of what commit() made impossible to undo */
    json_t *doubts;    /* effect key → { payload of the doubt } */
    bool keep;         /* nodes of effects too: for `show` */
    json_t *nodes;     /* key → address of the newest node with it */
} rh_model;

typedef enum {
    RH_CHANGE_NONE,
    RH_CHANGE_BEGAN,
    RH_CHANGE_ENDED,
    RH_CHANGE_UPDATED,
    RH_CHANGE_RUN
} rh_change_kind;

typedef struct rh_change {
    rh_change_kind kind;
    rh_node *node;   /* never NULL unless kind is NONE; the root for what concerns the run */
    json_t *payload; /* borrowed, valid during the call that gets the change */
} rh_change;

typedef void (*rh_change_fn)(void *data, const rh_change *change, const rh_event *event);

/* state_option: copied, see rh_model; NULL is "". keep: see rh_model. */
void rh_model_init(rh_model *model, const char *state_option, bool keep);
/* Applies an event and calls `fn` (may be NULL) with what it changed. */
void rh_model_apply(rh_model *model, const rh_event *event, rh_change_fn fn, void *data);
void rh_model_free(rh_model *model);

rh_node *rh_model_find(const rh_model *model, const char *key); /* by its key, or NULL */
/* The note, unless the error says the same. */
const char *rh_node_note(const rh_node *node);
/* What it waits for without its note, which is shown by itself; free() it. */
char *rh_node_waiting_for(const rh_node *node);
bool rh_node_is(const rh_node *node, const char *kind);
bool rh_node_is_open(const rh_node *node); /* running or waiting */
bool rh_node_is_asked(
    const rh_node *node); /* an approval that an effect asks for: its step's name is its own */
bool rh_node_is_point(const rh_node *node); /* a note: neither begin nor end */
/* Of the events that are neither begin nor end, those that are shown as a line of their own. */
bool rh_point_is(const char *type);
bool rh_node_has_failed_child(const rh_node *node); /* or one in doubt: it tells why */
int rh_node_depth(const rh_node *node);             /* 0: a child of the root */

#endif
