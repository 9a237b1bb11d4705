#include "show/view.h"

#include "core/loop.h"
#include "show/payload.h"
#include "show/summary.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

enum { PROGRESS_US = 10 * 1000000 }; /* a line of it that often */

typedef struct rh_plain {
    rh_view view;
    rh_buffer partial; /* output that has not ended in a line break yet, and whose it is */
    char *speaker;
    int replayed;
} rh_plain;

/* "2026-11-20 22:03:04 OK    text". */
static void print(rh_view *view, int64_t time_us, const char *word, const char *text)
{
    rh_buffer line = {0};
    rh_text_time(&line, time_us);
    rh_buffer_addf(&line, " %-5s %s\n", word, text);
    rh_sink_write(view->sink, line.data, line.size);
    rh_buffer_free(&line);
}

static void print_take(rh_view *view, int64_t time_us, const char *word, char *text)
{
    print(view, time_us, word, text);
    free(text);
}

/* Stages in full, what is in them by its path from there: "north/deploy". */
static const char *place(const rh_node *node)
{
    if (rh_node_is(node, "compensation"))
        return node->name;
    if (rh_node_is_asked(node))
        node = node->parent;
    const bool stage = rh_node_is(node, "stage");
    for (const rh_node *scope = node->parent; scope; scope = scope->parent) {
        if (!rh_node_is(scope, "compensation") && (stage || !rh_node_is(scope, "stage")))
            continue;
        const size_t size = strlen(scope->key);
        if (strncmp(node->key, scope->key, size) == 0 && node->key[size] == '/')
            return node->key + size + 1;
        break;
    }
    return node->key;
}

static void flush_partial(rh_plain *plain, int64_t time_us)
{
    if (plain->partial.size) {
        rh_buffer line = {0};
        rh_buffer_addf(&line, "%s | ", plain->speaker);
        rh_text_clean(&line, plain->partial.data, plain->partial.size);
        print(&plain->view, time_us, "OUT", line.data);
        rh_buffer_free(&line);
    }
    rh_buffer_clear(&plain->partial);
}

static void print_output(rh_plain *plain, const rh_node *node, const json_t *payload,
                         int64_t time_us)
{
    const char *text = rh_payload_text(payload, "text");
    if (!text)
        return;
    if (!plain->speaker || strcmp(plain->speaker, place(node)) != 0) {
        flush_partial(plain, time_us);
        free(plain->speaker);
        plain->speaker = rh_strdup(place(node));
    }
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        rh_buffer_add(&plain->partial, text, (size_t)(end - text));
        flush_partial(plain, time_us);
    }
    rh_buffer_adds(&plain->partial, text);
    if (plain->partial.size > 4096)
        flush_partial(plain, time_us);
}

/* Several lines as one. */
static void add_flat(rh_buffer *out, const char *text)
{
    for (const char *end; (end = strchr(text, '\n')); text = end + 1 + strspn(end + 1, " ")) {
        rh_buffer_add(out, text, (size_t)(end - text));
        rh_buffer_adds(out, " | ");
    }
    rh_buffer_adds(out, text);
}

static void print_end(rh_view *view, const rh_node *node, int64_t time_us)
{
    static const char *const words[] = {"BEGIN", "WAIT", "OK", "FAIL", "SKIP", "STOP", "DOUBT"};
    /* The stage of what failed has nothing to add. */
    const bool told = rh_node_has_failed_child(node);
    const bool checked = node->status == RH_NODE_OK && node->checks > 0; /* has its own line */
    const char *error = told ? NULL : node->error;
    const char *note = told || checked ? NULL : rh_node_note(node);
    const char *why = error ? error : note;
    rh_buffer text = {0};
    rh_buffer_adds(&text, node->kind);
    if (*node->key)
        rh_buffer_addf(&text, " %s", place(node));
    if (node->status != RH_NODE_SKIPPED) {
        rh_buffer_adds(&text, " ");
        rh_text_duration(&text, node->ms);
    }
    if (why && *why) {
        rh_buffer_adds(&text, ": ");
        add_flat(&text, why);
    }
    if (error && node->line)
        rh_buffer_addf(&text, " (%s)", node->line);
    if (error && note)
        rh_buffer_addf(&text, " [%s]", note);
    print(view, time_us, words[node->status], text.data);
    rh_buffer_free(&text);
}

static void print_progress(rh_view *view, rh_node *node, int64_t time_us)
{
    if (!rh_progress_is_due(&node->progress, time_us, PROGRESS_US))
        return;
    rh_buffer text = {0};
    rh_progress_show(&text, &node->progress);
    print_take(view, time_us, "PART", rh_format("%s: %s", place(node), text.data));
    rh_buffer_free(&text);
}

static void print_waiting(rh_view *view, const rh_node *node, int64_t time_us)
{
    if (!node->waiting_for)
        return;
    rh_buffer text = {0};
    char *what = rh_node_waiting_for(node);
    rh_buffer_addf(&text, "%s%s%s: %s", node->kind, *node->key ? " " : "", place(node), what);
    free(what);
    if (rh_node_is_asked(node) && node->note)
        rh_buffer_addf(&text, ": %s", node->note);
    if (node->until_us) {
        rh_buffer_adds(&text, " until ");
        rh_text_time(&text, node->until_us);
    }
    if (node->command)
        rh_buffer_addf(&text, ": %s", node->command);
    print(view, time_us, "WAIT", text.data);
    rh_buffer_free(&text);
}

static void print_summary_line(void *data, const char *label, const char *text)
{
    rh_view *view = data;
    print_take(view, view->model.left_us, "END",
               rh_format("%s%s%s", label, *label ? ": " : "", text));
}

static void print_run(rh_plain *plain, const rh_event *event, const json_t *payload)
{
    rh_view *view = &plain->view;
    const rh_model *model = &view->model;
    rh_buffer text = {0};
    if (strcmp(event->type, "run.start") == 0 || strcmp(event->type, "run.resume") == 0) {
        rh_buffer_addf(&text, "%s %s %s", model->run ? model->run : "",
                       model->playbook ? model->playbook : "",
                       model->environment ? model->environment : "");
        rh_buffer_adds(&text, json_object_size(model->inputs) ? " " : "");
        rh_summary_inputs(&text, model);
        if (model->operator)
            rh_buffer_addf(&text, " by %s", model->operator);
        if (plain->replayed)
            rh_buffer_addf(&text, " (%d recorded)", plain->replayed);
        print(view, event->time_us, event->type[4] == 's' ? "START" : "AGAIN", text.data);
    } else if (strcmp(event->type, "rollback.drop") == 0)
        print_take(view, event->time_us, "NOTE", rh_summary_commit(payload));
    else if (strcmp(event->type, "run.end") == 0 || strcmp(event->type, "run.pause") == 0) {
        rh_mood mood;
        rh_buffer_addf(&text, "%s, exit %lld, ", rh_summary_title(model, &mood),
                       (long long)model->exit_code);
        rh_text_duration(&text, (model->left_us - model->begun_us) / 1000);
        print(view, event->time_us, "END", text.data);
        rh_summary_each(model, print_summary_line, view);
    }
    rh_buffer_free(&text);
}

static void update(rh_plain *plain, const rh_change *change, const rh_event *event)
{
    rh_view *view = &plain->view;
    const rh_node *node = change->node;
    if (strcmp(event->type, "output") == 0)
        print_output(plain, node, change->payload, event->time_us);
    else if (strcmp(event->type, "effect.begin") == 0 && node->doing)
        print_take(view, event->time_us, "DO",
                   rh_format("%s%s%s", place(node), *node->key ? ": " : "", node->doing));
    else if (strcmp(event->type, "progress") == 0)
        print_progress(view, change->node, event->time_us);
    else if (strcmp(event->type, "waiting") == 0)
        print_waiting(view, node, event->time_us);
    else if (strcmp(event->type, "check") == 0 && node->note)
        print_take(view, event->time_us, "CHECK", rh_format("%s: %s", place(node), node->note));
    else if (strcmp(event->type, "attempt.begin") == 0 && node->attempt > 1) {
        char *why = rh_payload_brief(change->payload);
        print_take(view, event->time_us, "TRY",
                   rh_format("%s: attempt %d%s%s", place(node), node->attempt,
                             why ? " after: " : "", why ? why : ""));
        free(why);
    } else if (strstr(event->type, ".answer") && node->note)
        print_take(view, event->time_us, "SAID", rh_format("%s: %s", place(node), node->note));
}

static void change(rh_view *view, const rh_change *change, const rh_event *event)
{
    rh_plain *plain = (rh_plain *)view;
    const rh_node *node = change->node;
    if (event->replayed) {
        if (change->kind == RH_CHANGE_ENDED)
            plain->replayed++;
        return;
    }
    if (change->kind != RH_CHANGE_UPDATED)
        flush_partial(plain, event->time_us);
    if (change->kind == RH_CHANGE_RUN)
        print_run(plain, event, change->payload);
    else if (change->kind == RH_CHANGE_UPDATED)
        update(plain, change, event);
    else if (rh_node_is_point(node))
        print(view, event->time_us, rh_node_is(node, "warning") ? "WARN" : "NOTE", node->name);
    else if (change->kind == RH_CHANGE_ENDED)
        print_end(view, node, event->time_us);
    else if (rh_node_is(node, "rollback")) {
        char *why = rh_payload_brief(change->payload);
        print_take(view, event->time_us, "UNDO",
                   rh_format("rolling back%s%s", why ? ": " : "", why ? why : ""));
        free(why);
    } else if (!rh_payload_flag(change->payload, "skipped"))
        print_take(view, event->time_us, "BEGIN", rh_format("%s %s", node->kind, place(node)));
}

static void notice(rh_view *view, const char *text) { print(view, rh_wall_us(), "NOTE", text); }

static void close_plain(rh_view *view)
{
    rh_plain *plain = (rh_plain *)view;
    flush_partial(plain, rh_wall_us());
    rh_sink_close(view->sink);
    rh_model_free(&view->model);
    rh_buffer_free(&plain->partial);
    free(plain->speaker);
    free(plain);
}

rh_view *rh_plain_open(void)
{
    static const rh_view_class class = {
        .replays = true, .change = change, .notice = notice, .close = close_plain};
    rh_plain *plain = rh_alloc(sizeof *plain);
    plain->view.class = &class;
    return &plain->view;
}
