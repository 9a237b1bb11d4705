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
    if (view->class->event)
        view->class->event(view, event);
    else
        rh_model_apply(&view->model, event, on_change, NULL);
}

void rh_show_open(rh_show_mode mode)
{
    view = mode == RH_SHOW_TERMINAL ? rh_terminal_open()
           : mode == RH_SHOW_JSON   ? rh_lines_open()
                                    : rh_plain_open();
    view->sink = rh_sink_open(STDOUT_FILENO);
    rh_model_init(&view->model, false);
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
