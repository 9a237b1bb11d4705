#include "show/show.h"

#include "show/view.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rh_view *view;

bool rh_show_mode_parse(const char *name, rh_show_mode *mode)
{
    const char *term = getenv("TERM");
    const bool capable = isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
    if (!name || strcmp(name, "auto") == 0)
        *mode = capable ? RH_SHOW_TERMINAL : RH_SHOW_PLAIN;
    else if (strcmp(name, "plain") == 0)
        *mode = RH_SHOW_PLAIN;
    else if (strcmp(name, "json") == 0)
        *mode = RH_SHOW_JSON;
    else
        return false;
    return true;
}

bool rh_show_format_parse(const char *name, rh_show_mode *mode)
{
    if (!name || strcmp(name, "text") == 0)
        *mode = RH_SHOW_PLAN_TEXT;
    else if (strcmp(name, "md") == 0)
        *mode = RH_SHOW_PLAN_MARKDOWN;
    else if (strcmp(name, "json") == 0)
        *mode = RH_SHOW_PLAN_JSON;
    else
        return false;
    return true;
}

static void on_change(void *data, const rh_change *change, const rh_event *event)
{
    (void)data;
    view->class->change(view, change, event);
}

static void on_event(void *data, const rh_event *event)
{
    (void)data;
    if (!view || rh_sink_is_gone(view->sink))
        return;
    if (event->replayed && !view->class->replays && strncmp(event->type, "run.", 4) != 0)
        return;
    if (view->class->event)
        view->class->event(view, event);
    else
        rh_model_apply(&view->model, event, on_change, NULL);
}

void rh_show_open(rh_show_mode mode, const char *state_option)
{
    switch (mode) {
    case RH_SHOW_TERMINAL:
        view = rh_terminal_open();
        break;
    case RH_SHOW_PLAIN:
        view = rh_plain_open();
        break;
    case RH_SHOW_JSON:
        view = rh_lines_open();
        break;
    case RH_SHOW_PLAN_TEXT:
        view = rh_planned_open(RH_PLAN_TEXT);
        break;
    case RH_SHOW_PLAN_MARKDOWN:
        view = rh_planned_open(RH_PLAN_MARKDOWN);
        break;
    case RH_SHOW_PLAN_JSON:
        view = rh_planned_open(RH_PLAN_JSON);
        break;
    }
    view->sink = rh_sink_open(STDOUT_FILENO);
    rh_model_init(&view->model, state_option, false);
    rh_event_subscribe(on_event, NULL);
}

void rh_show_notice(const char *text)
{
    if (view && view->class->notice && !rh_sink_is_gone(view->sink))
        view->class->notice(view, text);
}

void rh_show_detach(void)
{
    if (view)
        rh_sink_detach(view->sink);
}

void rh_show_close(void)
{
    if (!view)
        return;
    rh_view *closing = view;
    closing->class->close(closing);
    view = NULL;
}
