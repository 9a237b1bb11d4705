#include "show/checklist.h"

#include "show/check.h"
#include "show/payload.h"
#include "show/summary.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

enum { ERROR_ROWS = 16 };

static bool is_bare(const rh_node *node) /* in a scope without a heading of its own */
{
    return node->parent && node->parent->parent && !node->parent->headed;
}

void rh_checklist_name(rh_buffer *out, const rh_node *node)
{
    if (is_bare(node)) {
        rh_checklist_name(out, node->parent);
        if (strcmp(node->name, node->parent->name) == 0)
            return;
        rh_buffer_adds(out, " › ");
    }
    if (rh_node_is_asked(node)) {
        rh_buffer_adds(out, "approval");
        return;
    }
    const bool bare = rh_node_is(node, "wait") || rh_node_is(node, "notify");
    rh_buffer_addf(out, "%s%s%s", bare ? node->kind : "", bare ? " " : "", node->name);
}

int rh_checklist_indent(const rh_node *node)
{
    while (is_bare(node))
        node = node->parent;
    return 1 + 2 * rh_node_depth(node);
}

static void add_heading(const rh_pen *pen, rh_node *node)
{
    rh_buffer name = {0};
    if (rh_node_depth(node) == 0)
        rh_buffer_adds(pen->out, "\n");
    rh_checklist_name(&name, node);
    rh_pen_row(pen, rh_checklist_indent(node), RH_BOLD, name.data);
    rh_buffer_free(&name);
    node->headed = true;
}

void rh_checklist_tail(const rh_pen *pen, const rh_node *node, int indent, int rows)
{
    for (int i = RH_TAIL - rows; i < RH_TAIL; i++)
        if (node->tail[i])
            rh_pen_wrap(pen, indent, "│ ", "│ ", RH_DIM, node->tail[i], 1);
}

/* The one step of an undo bears the undo's name. */
static bool is_echo(const rh_node *node)
{
    return rh_node_is(node->parent, "compensation") && strcmp(node->name, node->parent->name) == 0;
}

static bool is_passage(const rh_node *node)
{
    return rh_node_is(node, "parallel") || rh_node_is(node, "branch") ||
           rh_node_is(node, "effect") || is_echo(node);
}

static void add_error(const rh_pen *pen, const rh_node *node, int indent)
{
    const rh_node *voice = node->first && is_echo(node->first) ? node->first : node;
    rh_pen_wrap(pen, indent, "", "", node->status == RH_NODE_FAILED ? RH_RED : RH_PLAIN,
                node->error, ERROR_ROWS);
    if (node->line)
        rh_pen_row(pen, indent, RH_DIM, node->line);
    /* A message of several lines brings the output itself. */
    if (!strchr(node->error, '\n'))
        rh_checklist_tail(pen, voice, indent, RH_TAIL);
}

static void add_ended(const rh_checklist *list, const rh_node *node)
{
    const rh_pen *pen = &list->pen;
    const int indent = rh_checklist_indent(node);
    /* What happened in a scope is told by its own lines. */
    const bool told =
        node->headed && (node->status == RH_NODE_OK || rh_node_has_failed_child(node));
    if (told && rh_node_is(node, "stage"))
        return;
    rh_buffer name = {0}, right = {0};
    rh_checklist_name(&name, node);
    if (node->status != RH_NODE_SKIPPED && node->ms >= 100)
        rh_text_duration(&right, node->ms);
    rh_line line = rh_pen_look(node->status);
    line.indent = indent;
    line.name = name.data;
    line.note = rh_node_note(node);
    line.right = right.data;
    if (node->replayed)
        line.name_ink = RH_DIM;
    rh_pen_line(pen, &line);
    rh_buffer_free(&name);
    rh_buffer_free(&right);
    if (node->error && !told)
        add_error(pen, node, indent + 2);
}

static void add_banner(const rh_pen *pen, rh_node *node, const json_t *payload)
{
    rh_buffer bar = {0};
    rh_buffer_adds(&bar, " ↶ ROLLING BACK");
    if (pen->colour) /* a bar across the screen */
        rh_buffer_addf(&bar, "%*s", pen->columns - 1 - rh_text_width(bar.data), "");
    rh_buffer_adds(pen->out, "\n");
    rh_pen_row(pen, 0, RH_ALARM, bar.data);
    rh_buffer_free(&bar);
    char *why = rh_payload_brief(payload);
    if (why)
        rh_pen_wrap(pen, 1, "", "", RH_BOLD, why, ERROR_ROWS);
    free(why);
    node->headed = true;
}

static void add_facts(const rh_pen *pen, rh_ink ink, const char *const *facts)
{
    rh_buffer text = {0};
    for (int i = 0; i < 3; i++)
        if (facts[i] && *facts[i])
            rh_buffer_addf(&text, "%s%s", text.size ? " · " : "", facts[i]);
    if (text.size)
        rh_pen_wrap(pen, 1, "", "", ink, text.data, 4);
    rh_buffer_free(&text);
}

static void add_header(const rh_checklist *list)
{
    const rh_model *model = list->model;
    rh_buffer inputs = {0};
    rh_summary_inputs(&inputs, model);
    char *who =
        model->operator&& model->host ? rh_format("%s on %s", model->operator, model->host) : NULL;
    const char *title = model->title ? model->title : model->playbook;
    const char *playbook = model->title ? model->playbook : NULL;
    add_facts(&list->pen, RH_BOLD, (const char *const[]){title, model->environment, inputs.data});
    add_facts(&list->pen, RH_DIM,
              (const char *const[]){model->run, playbook, who ? who : model->operator});
    rh_buffer_free(&inputs);
    free(who);
}

static void add_summary_line(void *data, const char *label, const char *text)
{
    rh_buffer gutter = {0};
    rh_buffer_addf(&gutter, "%-9s", label);
    rh_pen_wrap(data, 3, gutter.data, "         ", RH_PLAIN, text, 6);
    rh_buffer_free(&gutter);
}

static void add_summary(const rh_checklist *list)
{
    static const struct {
        const char *mark;
        rh_ink mark_ink, name_ink;
    } moods[] = {
        [RH_MOOD_GOOD] = {"✔", RH_GREEN, RH_BOLD},
        [RH_MOOD_BAD] = {"✘", RH_RED, RH_RED},
        [RH_MOOD_PENDING] = {"◷", RH_YELLOW, RH_YELLOW},
    };
    const rh_model *model = list->model;
    rh_pen pen = list->pen;
    rh_mood mood;
    const char *title = rh_summary_title(model, &mood);
    rh_buffer right = {0};
    rh_text_duration(&right, (model->left_us - model->begun_us) / 1000);
    rh_buffer_adds(pen.out, "\n");
    rh_pen_line(&pen, &(rh_line){.indent = 1,
                                 .mark = moods[mood].mark,
                                 .mark_ink = moods[mood].mark_ink,
                                 .name = title,
                                 .name_ink = moods[mood].name_ink,
                                 .right = right.data});
    rh_buffer_free(&right);
    rh_summary_each(model, add_summary_line, &pen);
}

/* Why the attempt before this one failed. */
static void add_attempt(const rh_pen *pen, const rh_node *node, const json_t *payload)
{
    char *why = rh_payload_brief(payload);
    if (!why)
        return;
    rh_buffer name = {0};
    rh_buffer_addf(&name, "%s: attempt %d failed", node->name, node->attempt - 1);
    const int indent = rh_checklist_indent(node);
    rh_pen_line(
        pen, &(rh_line){.indent = indent, .mark = "↻", .mark_ink = RH_YELLOW, .name = name.data});
    rh_pen_wrap(pen, indent + 2, "", "", RH_DIM, why, 2);
    rh_buffer_free(&name);
    free(why);
}

/* Every expectation of a measurement; of a soak the line would repeat for hours, so only what did not pass. */
static void add_check(const rh_pen *pen, const rh_node *node, const json_t *payload)
{
    const char *verdict = rh_payload_text(payload, "verdict");
    if (rh_node_is(node, "soak") && verdict && strcmp(verdict, "pass") == 0)
        return;
    rh_buffer text = {0};
    rh_check_show(&text, payload);
    if (text.size)
        rh_pen_wrap(pen, rh_checklist_indent(node) + 2, "· ", "  ", RH_DIM, text.data, 4);
    rh_buffer_free(&text);
}

static bool leaves(const rh_event *event)
{
    return strcmp(event->type, "run.end") == 0 || strcmp(event->type, "run.pause") == 0;
}

/* The point of no return, and what can no longer be undone. */
static void add_commit(const rh_pen *pen, const rh_node *scope, const json_t *payload)
{
    char *text = rh_summary_commit(payload);
    rh_pen_wrap(pen, scope->parent ? rh_checklist_indent(scope) + 2 : 1, "◆ ", "  ", RH_PLAIN, text,
                4);
    free(text);
}

static void change_run(const rh_checklist *list, const rh_change *change, const rh_event *event)
{
    if (strcmp(event->type, "run.start") == 0)
        add_header(list);
    else if (strcmp(event->type, "run.resume") == 0 && !event->replayed) {
        rh_buffer text = {0};
        rh_buffer_adds(&text, "resumed ");
        rh_text_time(&text, event->time_us);
        rh_buffer_adds(list->pen.out, "\n");
        rh_pen_wrap(&list->pen, 1, "▶ ", "  ", RH_BOLD, text.data, 1);
        rh_buffer_free(&text);
    } else if (strcmp(event->type, "rollback.drop") == 0)
        add_commit(&list->pen, change->node, change->payload);
    else if (leaves(event) && !event->replayed)
        add_summary(list);
}

static void begin(const rh_checklist *list, rh_node *node, const json_t *payload)
{
    rh_node *parent = node->parent;
    if (parent->parent && !parent->headed && !is_passage(parent) && !is_passage(node))
        add_heading(&list->pen, parent);
    if (rh_node_is(node, "stage") && !node->headed && !rh_payload_flag(payload, "skipped"))
        add_heading(&list->pen, node);
    else if (rh_node_is(node, "rollback"))
        add_banner(&list->pen, node, payload);
    else if (list->detail && rh_node_is(node, "effect")) {
        char *text = rh_payload_shown(payload, "describe");
        rh_pen_row(&list->pen, rh_checklist_indent(parent) + 2, RH_DIM, text ? text : node->name);
        free(text);
    }
}

void rh_checklist_change(const rh_checklist *list, const rh_change *change, const rh_event *event)
{
    rh_node *node = change->node;
    const bool warning = rh_node_is(node, "warning");
    if (change->kind == RH_CHANGE_RUN)
        change_run(list, change, event);
    else if (change->kind == RH_CHANGE_BEGAN)
        begin(list, node, change->payload);
    else if (change->kind == RH_CHANGE_UPDATED) {
        if (strcmp(event->type, "attempt.begin") == 0)
            add_attempt(&list->pen, node, change->payload);
        else if (list->detail && strcmp(event->type, "check") == 0)
            add_check(&list->pen, node, change->payload);
    } else if (rh_node_is_point(node))
        rh_pen_wrap(&list->pen, rh_checklist_indent(node), warning ? "! " : "• ", "  ",
                    warning ? RH_YELLOW : RH_PLAIN, node->name, ERROR_ROWS);
    else if (!is_passage(node) && !rh_node_is(node, "rollback"))
        add_ended(list, node);
}

void rh_checklist_question(const rh_checklist *list, const rh_node *node, const json_t *payload)
{
    const int indent = node->parent ? rh_checklist_indent(node) : 1;
    char *question = rh_payload_shown(payload, "question");
    if (!question)
        question = rh_payload_shown(payload, "text");
    rh_buffer_adds(list->pen.out, "\n");
    rh_pen_wrap(&list->pen, indent, "? ", "  ", RH_BOLD, question ? question : node->name,
                ERROR_ROWS);
    rh_buffer choices = {0};
    size_t i;
    json_t *choice;
    json_array_foreach(json_object_get(payload, "choices"), i, choice)
    {
        rh_buffer_adds(&choices, i > 0 ? " · " : "");
        rh_payload_show(&choices, choice);
    }
    if (choices.size)
        rh_pen_wrap(&list->pen, indent + 2, "", "", RH_DIM, choices.data, 4);
    rh_buffer_free(&choices);
    free(question);
}
