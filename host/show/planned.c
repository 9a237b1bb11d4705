/* What `plan` prints: the same `plan` events as text for a terminal, as Markdown, or as one JSON array. */
#include "show/payload.h"
#include "show/pen.h"
#include "show/text.h"
#include "show/view.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct rh_planned rh_planned;

struct rh_planned {
    rh_view view;
    rh_buffer out;
    rh_pen pen;
    void (*item)(rh_planned *planned, const char *kind, int depth, const json_t *facts);
    int base; /* depth of what stands directly below the last heading */
    size_t count, problems;
};

static bool is(const char *kind, const char *wanted) { return strcmp(kind, wanted) == 0; }

/* "within 2m, every 10s, role technical lead, rolls back by ask": what the playbook asks for besides. */
static void add_terms(rh_buffer *out, const json_t *facts)
{
    static const char *const terms[] = {
        "before", "window",     "role",        "roles", "count", "duration",
        "within", "every",      "schedule",    "needs", "fresh", "timeout",
        "retry",  "on_failure", "destructive", "to",    "items", "required"};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        const json_t *value = json_object_get(facts, terms[i]);
        if (!value || json_is_null(value) || json_is_false(value))
            continue;
        rh_buffer_addf(out, "%s%s", out->size ? ", " : "", terms[i]);
        if (json_is_true(value))
            continue;
        rh_buffer_adds(out, " ");
        if (json_is_array(value)) {
            size_t index;
            json_t *one;
            json_array_foreach(value, index, one)
            {
                rh_buffer_adds(out, index > 0 ? "; " : "");
                rh_payload_show(out, one);
            }
        } else if (json_is_object(value)) {
            const char *name;
            json_t *one;
            bool first = true;
            json_object_foreach((json_t *)(uintptr_t)value, name, one)
            {
                rh_buffer_addf(out, "%s%s ", first ? "" : " ", name);
                rh_payload_show(out, one);
                first = false;
            }
        } else
            rh_payload_show(out, value);
    }
}

/* The one line that says it: an effect's description, a name, a problem's text. */
static char *title_of(const json_t *facts)
{
    static const char *const fields[] = {"describe", "name", "text", "effect"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *text = rh_payload_shown(facts, fields[i]);
        if (text)
            return text;
    }
    return rh_strdup("");
}

static void text_item(rh_planned *planned, const char *kind, int depth, const json_t *facts)
{
    rh_pen *pen = &planned->pen;
    char *title = title_of(facts), *skipped = rh_payload_shown(facts, "skipped");
    char *line = rh_payload_shown(facts, "line");
    rh_buffer name = {0}, terms = {0};
    const int indent = 1 + 2 * depth;
    add_terms(&terms, facts);
    if (is(kind, "effect")) {
        const char *class = rh_payload_text(facts, "class");
        rh_pen_line(
            pen,
            &(rh_line){
                .indent = indent, .mark = "→", .mark_ink = RH_CYAN, .name = title, .right = class});
    } else if (is(kind, "problem") || is(kind, "guess")) {
        const bool bad = is(kind, "problem");
        rh_buffer_addf(&name, "%s%s%s%s", title, line ? " (" : "", line ? line : "",
                       line ? ")" : "");
        rh_pen_wrap(pen, indent, bad ? "✘ " : "? ", "  ", bad ? RH_RED : RH_YELLOW, name.data, 8);
    } else if (is(kind, "stage") && !skipped) {
        if (depth == 0)
            rh_buffer_adds(&planned->out, "\n");
        rh_buffer_addf(&name, "%s%s%s", title, terms.size ? "   " : "",
                       terms.size ? terms.data : "");
        rh_pen_row(pen, indent, RH_BOLD, name.data);
    } else {
        rh_buffer_addf(&name, "%s %s", kind, title);
        rh_pen_line(pen, &(rh_line){.indent = indent,
                                    .mark = skipped                                    ? "↷"
                                            : is(kind, "undo") || is(kind, "rollback") ? "↶"
                                                                                       : "·",
                                    .mark_ink = RH_DIM,
                                    .name = name.data,
                                    .name_ink = skipped ? RH_DIM : RH_PLAIN,
                                    .note = skipped ? skipped : terms.data,
                                    .right = line});
    }
    rh_buffer_free(&name);
    rh_buffer_free(&terms);
    free(title);
    free(skipped);
    free(line);
}

/* Foreign text between backquotes. */
static void add_code(rh_buffer *out, const char *text)
{
    rh_buffer_adds(out, "`");
    for (; *text; text++)
        rh_buffer_add(out, *text == '`' ? "'" : text, 1);
    rh_buffer_adds(out, "`");
}

static void markdown_item(rh_planned *planned, const char *kind, int depth, const json_t *facts)
{
    rh_buffer *out = &planned->out;
    char *title = title_of(facts), *skipped = rh_payload_shown(facts, "skipped");
    char *line = rh_payload_shown(facts, "line");
    rh_buffer terms = {0};
    add_terms(&terms, facts);
    if (depth < planned->base)
        planned->base = depth;
    const int indent = 4 * (depth - planned->base);
    if (is(kind, "stage") && !skipped) {
        planned->base = depth + 1;
        rh_buffer_addf(out, "\n%.*s %s\n", depth > 3 ? 6 : depth + 2, "######", title);
        rh_buffer_addf(out, "%s%s%s\n", terms.size ? "\n*" : "", terms.size ? terms.data : "",
                       terms.size ? "*\n" : "");
    } else if (is(kind, "effect")) {
        rh_buffer_addf(out, "%*s- ", indent, "");
        add_code(out, title);
        rh_buffer_addf(out, " (%s)\n",
                       rh_payload_text(facts, "class") ? rh_payload_text(facts, "class") : "?");
    } else if (is(kind, "problem") || is(kind, "guess"))
        rh_buffer_addf(out, "%*s- **%s:** %s%s%s\n", indent, "", kind, title, line ? ", " : "",
                       line ? line : "");
    else
        rh_buffer_addf(out, "%*s- [ ] %s **%s**%s%s%s%s\n", indent, "", kind, title,
                       skipped ? ", skipped: " : "", skipped ? skipped : "",
                       terms.size && !skipped ? ": " : "",
                       terms.size && !skipped ? terms.data : "");
    rh_buffer_free(&terms);
    free(title);
    free(skipped);
    free(line);
}

static void json_item(rh_planned *planned, const char *kind, int depth, const json_t *facts)
{
    (void)kind, (void)depth;
    char *text = json_dumps(facts, JSON_COMPACT | JSON_SORT_KEYS);
    rh_buffer_addf(&planned->out, "%s%s", planned->count ? ",\n" : "[", text ? text : "{}");
    free(text);
}

static void on_event(rh_view *view, const rh_event *event)
{
    rh_planned *planned = (rh_planned *)view;
    if (strcmp(event->type, "plan") != 0)
        return;
    json_t *facts = rh_payload_parse(event->payload);
    const char *kind = rh_payload_text(facts, "kind");
    json_object_set_new(facts, "key", json_string(event->key ? event->key : ""));
    planned->item(planned, kind ? kind : "effect", (int)rh_payload_integer(facts, "depth", 0),
                  facts);
    planned->count++;
    if (kind && is(kind, "problem"))
        planned->problems++;
    json_decref(facts);
}

static void on_close(rh_view *view)
{
    rh_planned *planned = (rh_planned *)view;
    if (planned->item == json_item)
        rh_buffer_adds(&planned->out, planned->count ? "]\n" : "[]\n");
    else if (planned->problems)
        rh_buffer_addf(&planned->out, "\n%zu problem%s: the run would stop there.\n",
                       planned->problems, planned->problems == 1 ? "" : "s");
    if (planned->out.size)
        rh_sink_write(view->sink, planned->out.data, planned->out.size);
    rh_sink_close(view->sink);
    rh_model_free(&view->model);
    rh_buffer_free(&planned->out);
    free(planned);
}

rh_view *rh_planned_open(rh_plan_format format)
{
    static const rh_view_class class = {.event = on_event, .close = on_close};
    rh_planned *planned = rh_alloc(sizeof *planned);
    planned->view.class = &class;
    planned->item = format == RH_PLAN_JSON       ? json_item
                    : format == RH_PLAN_MARKDOWN ? markdown_item
                                                 : text_item;
    planned->pen = rh_pen_for(STDOUT_FILENO, &planned->out);
    return &planned->view;
}
