#include "core/loop.h"
#include "show/payload.h"
#include "show/summary.h"
#include "show/terminal.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

enum { ERROR_ROWS = 16, TAIL_ROWS = 3, BAR = 14 };

typedef enum { PLAIN, BOLD, DIM, GREEN, RED, YELLOW, CYAN, ALARM } ink;

static const char *const inks[] = {"",           "\033[1m",  "\033[2m",  "\033[32m",
                                   "\033[1;31m", "\033[33m", "\033[36m", "\033[1;37;41m"};

static void paint(const rh_terminal *terminal, rh_buffer *out, ink colour, const char *text)
{
    const bool painted = terminal->colour && colour != PLAIN;
    if (painted)
        rh_buffer_adds(out, inks[colour]);
    rh_buffer_adds(out, text);
    if (painted)
        rh_buffer_adds(out, "\033[0m");
}

static void spaces(rh_buffer *out, int count)
{
    if (count > 0)
        rh_buffer_addf(out, "%*s", count, "");
}

typedef struct line {
    int indent;
    const char *mark;
    ink mark_ink;
    const char *name;
    ink name_ink;
    const char *note, *right; /* may be NULL */
} line;

/* "  ✔ name            note …            41.0s": the note gives way first, then the name. */
static void add_line(const rh_terminal *terminal, rh_buffer *out, const line *l)
{
    const int width = terminal->columns - 1;
    const int right = l->right ? rh_text_width(l->right) : 0;
    const int room = width - l->indent - 2 - (right ? right + 2 : 0);
    rh_buffer name = {0}, note = {0};
    int used = rh_text_fit(&name, l->name, room);
    int column = width * 2 / 5 - l->indent - 2;
    if (l->note && *l->note) {
        if (column < used + 2)
            column = used + 2;
        if (room - column >= 8) {
            const int taken = rh_text_fit(&note, l->note, room - column);
            spaces(&name, column - used);
            used = column + taken;
        }
    }
    spaces(out, l->indent);
    paint(terminal, out, l->mark_ink, l->mark);
    rh_buffer_adds(out, " ");
    paint(terminal, out, l->name_ink, name.data ? name.data : "");
    if (note.size)
        paint(terminal, out, DIM, note.data);
    if (right) {
        spaces(out, width - l->indent - 2 - used - right);
        paint(terminal, out, DIM, l->right);
    }
    rh_buffer_adds(out, "\n");
    rh_buffer_free(&name);
    rh_buffer_free(&note);
}

/* Wrapped text behind a gutter; at most `rows` lines. */
static void add_wrapped(const rh_terminal *terminal, rh_buffer *out, int indent, const char *first,
                        const char *gutter, ink colour, const char *text, int rows)
{
    const int width = terminal->columns - 1 - indent - rh_text_width(gutter);
    for (int row = 0; *text && row < rows; row++) {
        const bool last = row == rows - 1;
        size_t size = rh_text_wrap(text, width < 10 ? 10 : width);
        rh_buffer piece = {0};
        if (last)
            rh_text_fit(&piece, text, width);
        else
            rh_buffer_add(&piece, text, size);
        spaces(out, indent);
        paint(terminal, out, row == 0 ? PLAIN : DIM, row == 0 ? first : gutter);
        paint(terminal, out, colour, piece.data ? piece.data : "");
        rh_buffer_adds(out, "\n");
        rh_buffer_free(&piece);
        text += size;
        while (*text == ' ')
            text++;
    }
}

static int indent_of(const rh_node *node) { return 1 + 2 * rh_node_depth(node); }

/* The name, with the scopes that have no heading of their own before it: "web › deploy". */
static void full_name(rh_buffer *out, const rh_node *node)
{
    if (node->parent && node->parent->parent && !node->parent->headed) {
        full_name(out, node->parent);
        if (strcmp(node->name, node->parent->name) == 0)
            return;
        rh_buffer_adds(out, " › ");
    }
    rh_buffer_adds(out, node->name);
}

static int shown_indent(const rh_node *node)
{
    while (node->parent && node->parent->parent && !node->parent->headed)
        node = node->parent;
    return indent_of(node);
}

static void add_heading(rh_terminal *terminal, rh_node *node)
{
    rh_buffer *out = &terminal->history;
    rh_buffer name = {0};
    if (rh_node_depth(node) == 0)
        rh_buffer_adds(out, "\n");
    full_name(&name, node);
    spaces(out, shown_indent(node));
    paint(terminal, out, BOLD, name.data);
    rh_buffer_adds(out, "\n");
    rh_buffer_free(&name);
    node->headed = true;
}

static const struct {
    const char *mark;
    ink mark_ink, name_ink;
} looks[] = {
    [RH_NODE_RUNNING] = {"⠿", CYAN, PLAIN}, [RH_NODE_WAITING] = {"◷", YELLOW, PLAIN},
    [RH_NODE_OK] = {"✔", GREEN, PLAIN},     [RH_NODE_FAILED] = {"✘", RED, RED},
    [RH_NODE_SKIPPED] = {"↷", DIM, DIM},    [RH_NODE_CANCELLED] = {"■", YELLOW, PLAIN},
    [RH_NODE_DOUBT] = {"?", RED, RED},
};

static void add_tail(const rh_terminal *terminal, rh_buffer *out, const rh_node *node, int indent,
                     int rows)
{
    for (int i = RH_TAIL - rows; i < RH_TAIL; i++) {
        if (!node->tail[i])
            continue;
        rh_buffer text = {0};
        rh_text_fit(&text, node->tail[i], terminal->columns - 1 - indent - 2);
        spaces(out, indent);
        paint(terminal, out, DIM, "│ ");
        paint(terminal, out, DIM, text.data ? text.data : "");
        rh_buffer_adds(out, "\n");
        rh_buffer_free(&text);
    }
}

static bool has_failed_child(const rh_node *node)
{
    for (const rh_node *child = node->first; child; child = child->next)
        if (child->status == RH_NODE_FAILED || child->status == RH_NODE_DOUBT)
            return true;
    return false;
}

/* The one step of an undo bears the undo's name. */
static bool is_echo(const rh_node *node)
{
    return rh_node_is(node->parent, "compensation") && strcmp(node->name, node->parent->name) == 0;
}

static void add_ended(rh_terminal *terminal, const rh_node *node)
{
    rh_buffer name = {0}, right = {0};
    const int indent = shown_indent(node);
    /* What happened in a scope is told by its own lines. */
    const bool told = node->headed && (node->status == RH_NODE_OK || has_failed_child(node));
    if (told && rh_node_is(node, "stage"))
        return;
    full_name(&name, node);
    if (node->status != RH_NODE_SKIPPED && node->ms >= 100)
        rh_text_duration(&right, node->ms);
    add_line(terminal, &terminal->history,
             &(line){.indent = indent,
                     .mark = looks[node->status].mark,
                     .mark_ink = looks[node->status].mark_ink,
                     .name = name.data,
                     .name_ink = node->replayed ? DIM : looks[node->status].name_ink,
                     .note = node->note,
                     .right = right.data});
    if (node->error && !told) {
        add_wrapped(terminal, &terminal->history, indent + 2, "", "",
                    node->status == RH_NODE_FAILED ? RED : PLAIN, node->error, ERROR_ROWS);
        if (node->line)
            add_wrapped(terminal, &terminal->history, indent + 2, "", "", DIM, node->line, 1);
        add_tail(terminal, &terminal->history,
                 node->first && is_echo(node->first) ? node->first : node, indent + 2, RH_TAIL);
    }
    rh_buffer_free(&name);
    rh_buffer_free(&right);
}

static void add_banner(rh_terminal *terminal, rh_node *node, const json_t *payload)
{
    rh_buffer *out = &terminal->history;
    rh_buffer bar = {0};
    rh_buffer_adds(&bar, " ↶ ROLLING BACK");
    spaces(&bar, terminal->columns - 1 - rh_text_width(bar.data));
    rh_buffer_adds(out, "\n");
    paint(terminal, out, ALARM, bar.data);
    rh_buffer_adds(out, "\n");
    rh_buffer_free(&bar);
    char *why = rh_payload_error(payload);
    if (why)
        add_wrapped(terminal, out, 1, "", "", BOLD, why, ERROR_ROWS);
    free(why);
    node->headed = true;
}

static void add_facts(rh_terminal *terminal, const char *const *facts, ink first)
{
    rh_buffer *out = &terminal->history;
    rh_buffer text = {0};
    for (int i = 0; facts[i]; i++)
        if (*facts[i])
            rh_buffer_addf(&text, "%s%s", text.size ? " · " : "", facts[i]);
    if (text.size)
        add_wrapped(terminal, out, 1, "", "", first, text.data, 4);
    rh_buffer_free(&text);
}

static const char *or_empty(const char *text) { return text ? text : ""; }

static void add_header(rh_terminal *terminal)
{
    rh_model *model = &terminal->view.model;
    if (model->root.headed)
        return;
    model->root.headed = true;
    rh_buffer inputs = {0};
    rh_summary_inputs(&inputs, model);
    char *who = model->operator&& model->host ? rh_format("%s on %s", model->operator, model->host)
                                              : rh_strdup(or_empty(model->operator));
    add_facts(terminal,
              (const char *const[]){model->title ? model->title : or_empty(model->playbook),
                                    or_empty(model->environment), inputs.data ? inputs.data : "",
                                    NULL},
              BOLD);
    add_facts(terminal,
              (const char *const[]){or_empty(model->run),
                                    model->title ? or_empty(model->playbook) : "", who, NULL},
              DIM);
    rh_buffer_free(&inputs);
    free(who);
}

static void add_summary_line(void *data, const char *label, const char *text)
{
    rh_terminal *terminal = data;
    rh_buffer gutter = {0};
    rh_buffer_addf(&gutter, "%-9s", label);
    add_wrapped(terminal, &terminal->history, 3, gutter.data, "         ", PLAIN, text, 6);
    rh_buffer_free(&gutter);
}

static void add_summary(rh_terminal *terminal)
{
    const rh_model *model = &terminal->view.model;
    rh_mood mood;
    const char *title = rh_summary_title(model, &mood);
    rh_buffer right = {0};
    rh_text_duration(&right, (model->left_us - model->begun_us) / 1000);
    rh_buffer_adds(&terminal->history, "\n");
    const ink colour = mood == RH_MOOD_GOOD ? GREEN : mood == RH_MOOD_BAD ? RED : YELLOW;
    add_line(terminal, &terminal->history,
             &(line){.indent = 1,
                     .mark = mood == RH_MOOD_GOOD  ? "✔"
                             : mood == RH_MOOD_BAD ? "✘"
                                                   : "◷",
                     .mark_ink = colour,
                     .name = title,
                     .name_ink = mood == RH_MOOD_PENDING ? YELLOW
                                 : mood == RH_MOOD_GOOD  ? BOLD
                                                         : RED,
                     .right = right.data});
    rh_buffer_free(&right);
    rh_summary_each(model, add_summary_line, terminal);
    terminal->ended = true;
}

static bool is_passage(const rh_node *node)
{
    return rh_node_is(node, "parallel") || rh_node_is(node, "branch") ||
           rh_node_is(node, "effect") || is_echo(node);
}

/* Why the attempt before this one failed. */
static void add_attempt(rh_terminal *terminal, const rh_node *node, const json_t *payload)
{
    char *why = rh_payload_error(payload);
    if (!why)
        return;
    rh_buffer name = {0};
    rh_buffer_addf(&name, "%s: attempt %d failed", node->name, node->attempt - 1);
    add_line(terminal, &terminal->history,
             &(line){.indent = shown_indent(node),
                     .mark = "↻",
                     .mark_ink = YELLOW,
                     .name = name.data,
                     .name_ink = PLAIN,
                     .note = why});
    rh_buffer_free(&name);
    free(why);
}

static bool model_left(const rh_event *event)
{
    return strcmp(event->type, "run.end") == 0 || strcmp(event->type, "run.pause") == 0;
}

void rh_terminal_history(rh_terminal *terminal, const rh_change *change, const rh_event *event)
{
    rh_node *node = change->node;
    if (change->kind == RH_CHANGE_RUN) {
        if (strcmp(event->type, "run.start") == 0 || strcmp(event->type, "run.resume") == 0) {
            add_header(terminal);
            terminal->ended = false;
        } else if (!event->replayed && model_left(event))
            add_summary(terminal);
    } else if (change->kind == RH_CHANGE_UPDATED) {
        if (strcmp(event->type, "attempt.begin") == 0)
            add_attempt(terminal, node, change->payload);
    } else if (change->kind == RH_CHANGE_BEGAN) {
        rh_node *parent = node->parent;
        if (parent->parent && !parent->headed && !is_passage(parent) && !is_passage(node))
            add_heading(terminal, parent);
        if (rh_node_is(node, "stage") && !rh_payload_flag(change->payload, "skipped"))
            add_heading(terminal, node);
        else if (rh_node_is(node, "rollback"))
            add_banner(terminal, node, change->payload);
    } else if (rh_node_is_point(node))
        add_wrapped(terminal, &terminal->history, shown_indent(node),
                    rh_node_is(node, "warning") ? "! " : "• ", "  ",
                    rh_node_is(node, "warning") ? YELLOW : PLAIN, node->name, ERROR_ROWS);
    else if (!is_passage(node) && !rh_node_is(node, "rollback"))
        add_ended(terminal, node);
}

void rh_terminal_question(rh_terminal *terminal, const rh_node *node, const json_t *payload)
{
    char *question = rh_payload_shown(payload, "question");
    if (!question)
        question = rh_payload_shown(payload, "text");
    rh_buffer *out = &terminal->history;
    const int indent = node->parent ? shown_indent(node) : 2;
    rh_buffer_adds(out, "\n");
    add_wrapped(terminal, out, indent, "? ", "  ", BOLD, question ? question : node->name,
                ERROR_ROWS);
    size_t i;
    json_t *choice;
    json_array_foreach(json_object_get(payload, "choices"), i, choice)
    {
        rh_buffer text = {0};
        rh_payload_show(&text, choice);
        add_wrapped(terminal, out, indent + 2, "· ", "  ", PLAIN, text.data ? text.data : "", 2);
        rh_buffer_free(&text);
    }
    free(question);
}

static void add_progress(const rh_terminal *terminal, rh_buffer *out, const rh_node *node,
                         int indent)
{
    const bool bytes = node->unit && strcmp(node->unit, "bytes") == 0;
    rh_buffer text = {0};
    if (node->total > 0) {
        double part = node->done / node->total;
        part = part > 1 ? 1 : part;
        for (int i = 0; i < BAR; i++)
            rh_buffer_adds(&text, i < (int)(part * BAR + 0.5) ? "█" : "░");
        rh_buffer_addf(&text, " %3.0f%%  ", part * 100);
    }
    if (bytes)
        rh_text_size(&text, node->done);
    else
        rh_buffer_addf(&text, "%.0f", node->done);
    if (node->total > 0) {
        rh_buffer_adds(&text, " of ");
        if (bytes)
            rh_text_size(&text, node->total);
        else
            rh_buffer_addf(&text, "%.0f", node->total);
    }
    if (!bytes && node->unit)
        rh_buffer_addf(&text, " %s", node->unit);
    if (node->rate > 0) {
        rh_buffer_adds(&text, "  ");
        if (bytes)
            rh_text_size(&text, node->rate);
        else
            rh_buffer_addf(&text, "%.0f", node->rate);
        rh_buffer_adds(&text, "/s");
        if (node->total > node->done) {
            rh_buffer_adds(&text, "  ");
            rh_text_duration(&text, (int64_t)((node->total - node->done) / node->rate * 1000));
            rh_buffer_adds(&text, " left");
        }
    }
    rh_buffer fit = {0};
    rh_text_fit(&fit, text.data, terminal->columns - 1 - indent);
    spaces(out, indent);
    paint(terminal, out, CYAN, fit.data);
    rh_buffer_adds(out, "\n");
    rh_buffer_free(&fit);
    rh_buffer_free(&text);
}

static void add_waiting(const rh_terminal *terminal, rh_buffer *out, const rh_node *node)
{
    rh_buffer name = {0}, right = {0};
    full_name(&name, node);
    if (node->until_us) {
        rh_buffer_adds(&right, "until ");
        rh_text_clock(&right, node->until_us);
    }
    add_line(terminal, out,
             &(line){.indent = shown_indent(node),
                     .mark = "◷",
                     .mark_ink = YELLOW,
                     .name = name.data,
                     .note = node->waiting_for,
                     .right = right.data});
    if (node->note)
        add_wrapped(terminal, out, shown_indent(node) + 2, "", "", DIM, node->note, 2);
    if (node->command)
        add_wrapped(terminal, out, shown_indent(node) + 2, "", "", BOLD, node->command, 3);
    rh_buffer_free(&name);
    rh_buffer_free(&right);
}

static void add_running(const rh_terminal *terminal, rh_buffer *out, const rh_node *node, int tails)
{
    static const char *const wheel[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    rh_buffer name = {0}, right = {0};
    full_name(&name, node);
    const int64_t ms = (rh_wall_us() - node->begun_us) / 1000;
    /* Whole seconds: tenths would say that something happens between two frames. */
    if (ms >= 1000)
        rh_text_duration(&right, ms - ms % 1000);
    char *dot = ms < 60000 && right.data ? strchr(right.data, '.') : NULL;
    if (dot)
        strcpy(dot, "s");
    const int indent = shown_indent(node);
    add_line(terminal, out,
             &(line){.indent = indent,
                     .mark = wheel[terminal->spin % 10],
                     .mark_ink = CYAN,
                     .name = name.data,
                     .note = node->note,
                     .right = right.data});
    if (node->total > 0 || node->done > 0)
        add_progress(terminal, out, node, indent + 2);
    if (node->doing)
        add_wrapped(terminal, out, indent + 2, "", "", DIM, node->doing, 1);
    add_tail(terminal, out, node, indent + 2, tails);
    rh_buffer_free(&name);
    rh_buffer_free(&right);
}

static bool has_open_child(const rh_node *node)
{
    for (const rh_node *child = node->first; child; child = child->next)
        if (rh_node_is_open(child))
            return true;
    return false;
}

static int count_leaves(const rh_node *node)
{
    int count = 0;
    for (const rh_node *child = node->first; child; child = child->next)
        if (rh_node_is_open(child))
            count += has_open_child(child) ? count_leaves(child) : 1;
    return count;
}

static bool add_open(const rh_terminal *terminal, rh_buffer *out, const rh_node *node, int tails)
{
    bool ticks = false;
    for (const rh_node *child = node->first; child; child = child->next) {
        if (!rh_node_is_open(child))
            continue;
        if (child->status == RH_NODE_WAITING)
            add_waiting(terminal, out, child);
        else if (!has_open_child(child) && !rh_node_is(child, "stage") &&
                 !rh_node_is(child, "rollback")) {
            add_running(terminal, out, child, tails);
            ticks = true;
        }
        ticks |= add_open(terminal, out, child, tails);
    }
    return ticks;
}

bool rh_terminal_live(rh_terminal *terminal, rh_buffer *block)
{
    const rh_node *root = &terminal->view.model.root;
    const int leaves = count_leaves(root);
    if (root->status == RH_NODE_WAITING)
        add_waiting(terminal, block, root);
    const bool ticks = add_open(terminal, block, root, leaves > 3 ? 1 : TAIL_ROWS);
    if (terminal->notice)
        add_wrapped(terminal, block, 1, "", "", YELLOW, terminal->notice, 2);
    return ticks;
}
