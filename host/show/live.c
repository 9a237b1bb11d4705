#include "core/loop.h"
#include "show/checklist.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

enum { TAIL_ROWS = 3, CROWD = 3, BAR = 14 };

/* "███████░░░░░░░  50%  6.1 GiB of 12.2 GiB  84.0 MiB/s  1m 14s left". */
static void add_progress(const rh_pen *pen, const rh_progress *progress, int indent)
{
    rh_buffer text = {0};
    if (progress->total > 0) {
        const double part = progress->done < progress->total ? progress->done / progress->total : 1;
        for (int i = 0; i < BAR; i++)
            rh_buffer_adds(&text, i < (int)(part * BAR + 0.5) ? "█" : "░");
        rh_buffer_adds(&text, " ");
    }
    rh_progress_show(&text, progress);
    rh_pen_row(pen, indent, RH_CYAN, text.data);
    rh_buffer_free(&text);
}

static void add_waiting(const rh_pen *pen, const rh_node *node)
{
    const int indent = node->parent ? rh_checklist_indent(node) : 1;
    rh_buffer name = {0}, right = {0};
    rh_checklist_name(&name, node);
    if (node->until_us) {
        rh_buffer_adds(&right, "until ");
        rh_text_clock(&right, node->until_us);
    }
    rh_line line = rh_pen_look(RH_NODE_WAITING);
    line.indent = indent;
    line.name = name.data ? name.data : "";
    char *what = rh_node_waiting_for(node);
    line.note = what;
    line.right = right.data;
    rh_pen_line(pen, &line);
    free(what);
    if (node->note)
        rh_pen_wrap(pen, indent + 2, "", "", RH_DIM, node->note, 2);
    if (node->command)
        rh_pen_wrap(pen, indent + 2, "", "", RH_BOLD, node->command, 3);
    rh_buffer_free(&name);
    rh_buffer_free(&right);
}

static void add_running(const rh_pen *pen, const rh_node *node, unsigned spin, int tails)
{
    static const char *const wheel[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    const int indent = rh_checklist_indent(node);
    const int64_t seconds = (rh_wall_us() - node->begun_us) / 1000000;
    rh_buffer name = {0}, right = {0};
    rh_checklist_name(&name, node);
    /* Whole seconds: tenths would say that something happens between two frames. */
    if (seconds >= 60)
        rh_text_duration(&right, seconds * 1000);
    else if (seconds > 0)
        rh_buffer_addf(&right, "%llds", (long long)seconds);
    rh_line line = rh_pen_look(RH_NODE_RUNNING);
    line.indent = indent;
    line.mark = wheel[spin % 10];
    line.name = name.data;
    line.note = node->note;
    line.right = right.data;
    rh_pen_line(pen, &line);
    if (node->doing)
        rh_pen_row(pen, indent + 2, RH_DIM, node->doing);
    if (rh_progress_is_known(&node->progress))
        add_progress(pen, &node->progress, indent + 2);
    rh_checklist_tail(pen, node, indent + 2, tails);
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

static bool is_frame(const rh_node *node)
{
    return rh_node_is(node, "stage") || rh_node_is(node, "rollback") || has_open_child(node);
}

static bool add_open(const rh_pen *pen, const rh_node *node, unsigned spin, int tails)
{
    bool ticks = false;
    for (const rh_node *child = node->first; child; child = child->next) {
        if (!rh_node_is_open(child))
            continue;
        if (child->status == RH_NODE_WAITING)
            add_waiting(pen, child);
        else if (!is_frame(child)) {
            add_running(pen, child, spin, tails);
            ticks = true;
        }
        ticks |= add_open(pen, child, spin, tails);
    }
    return ticks;
}

bool rh_checklist_open(const rh_pen *pen, const rh_node *root, unsigned spin)
{
    if (root->status == RH_NODE_WAITING)
        add_waiting(pen, root);
    return add_open(pen, root, spin, count_leaves(root) > CROWD ? 1 : TAIL_ROWS);
}

void rh_checklist_left(const rh_pen *pen, const rh_node *root)
{
    for (const rh_node *child = root->first; child; child = child->next) {
        if (!rh_node_is_open(child))
            continue;
        rh_checklist_left(pen, child);
        if (is_frame(child))
            continue;
        rh_buffer name = {0};
        rh_checklist_name(&name, child);
        rh_line line = rh_pen_look(RH_NODE_RUNNING);
        line.indent = rh_checklist_indent(child);
        line.mark = "○";
        line.mark_ink = RH_YELLOW;
        line.name = name.data;
        line.note = "not finished";
        rh_pen_line(pen, &line);
        rh_buffer_free(&name);
    }
}
