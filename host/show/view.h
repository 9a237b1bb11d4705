/* What the displays have in common: a view is told each change of the model. */
#ifndef RH_SHOW_VIEW_H
#define RH_SHOW_VIEW_H

#include "core/buffer.h"
#include "show/model.h"
#include "show/sink.h"

typedef struct rh_view rh_view;

typedef struct rh_view_class {
    void (*event)(rh_view *view, const rh_event *event); /* instead of `change`: wants no model */
    bool replays; /* wants what an earlier process recorded, too */
    void (*change)(rh_view *view, const rh_change *change, const rh_event *event);
    void (*notice)(rh_view *view, const char *text);
    void (*close)(
        rh_view *view); /* draws what is left, closes its handles; frees itself by and by */
} rh_view_class;

struct rh_view {
    const rh_view_class *class;
    rh_sink *sink;
    rh_model model;
};

rh_view *rh_terminal_open(void);
rh_view *rh_plain_open(void);
rh_view *rh_lines_open(void);

typedef enum { RH_PLAN_TEXT, RH_PLAN_MARKDOWN, RH_PLAN_JSON } rh_plan_format;
rh_view *rh_planned_open(rh_plan_format format);

/* A JSON line { seq, time, type, key, payload }, as `--output json` and `show --output json` print it. */
void rh_lines_format(rh_buffer *out, const rh_event *event);

#endif
