#include "show/view.h"

#include "core/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void rh_lines_format(rh_buffer *out, const rh_event *event)
{
    const time_t seconds = (time_t)(event->time_us / 1000000);
    struct tm tm;
    char time[32];
    gmtime_r(&seconds, &tm);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &tm);
    rh_buffer_addf(out, "{\"seq\":%lld,\"time\":\"%s.%06dZ\",\"type\":", (long long)event->seq,
                   time, (int)(event->time_us % 1000000));
    rh_json_quote(out, event->type, strlen(event->type));
    rh_buffer_adds(out, ",\"key\":");
    const char *key = event->key ? event->key : "";
    rh_json_quote(out, key, strlen(key));
    rh_buffer_addf(out, ",\"payload\":%s}\n",
                   event->payload && *event->payload ? event->payload : "{}");
}

static void print(rh_view *view, const rh_event *event)
{
    /* The same events as the journal's, the plan's, which has no journal, and how far an effect is. */
    if (event->replayed || (event->seq == 0 && strcmp(event->type, "plan") != 0 &&
                            strcmp(event->type, "progress") != 0))
        return;
    rh_buffer line = {0};
    rh_lines_format(&line, event);
    rh_sink_write(view->sink, line.data, line.size);
    rh_buffer_free(&line);
}

static void close_lines(rh_view *view)
{
    rh_sink_close(view->sink);
    rh_model_free(&view->model);
    free(view);
}

rh_view *rh_lines_open(void)
{
    static const rh_view_class class = {.event = print, .close = close_lines};
    rh_view *view = rh_alloc(sizeof *view);
    view->class = &class;
    return view;
}
