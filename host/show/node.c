/* What is asked of one node of the model. */
#include "core/buffer.h"
#include "show/model.h"

#include <string.h>

bool rh_node_is(const rh_node *node, const char *kind) { return strcmp(node->kind, kind) == 0; }

const char *rh_node_note(const rh_node *node)
{
    if (!node->note || !node->error)
        return node->note;
    /* What was measured last stands in the error, there with all that did not hold. */
    const char *colon = strstr(node->note, ": ");
    const size_t size = colon ? (size_t)(colon - node->note) : strlen(node->note);
    return strncmp(node->error, node->note, size) == 0 ? NULL : node->note;
}

char *rh_node_waiting_for(const rh_node *node)
{
    const char *whole = node->waiting_for ? node->waiting_for : "";
    const char *last = node->note ? strstr(whole, node->note) : NULL;
    char *what = last ? rh_strndup(whole, (size_t)(last - whole)) : rh_strdup(whole);
    for (size_t size = strlen(what); last && size > 0 && strchr(": ", what[size - 1]);)
        what[--size] = '\0';
    return what;
}

bool rh_node_is_asked(const rh_node *node)
{
    return rh_node_is(node, "approve") && rh_node_is(node->parent, "step");
}

bool rh_point_is(const char *type)
{
    static const char *const points[] = {"note", "attach", "warning", "window", "countdown"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (strcmp(type, points[i]) == 0)
            return true;
    return false;
}

bool rh_node_is_point(const rh_node *node) { return rh_point_is(node->kind); }

bool rh_node_is_open(const rh_node *node)
{
    return node->status == RH_NODE_RUNNING || node->status == RH_NODE_WAITING;
}

bool rh_node_has_failed_child(const rh_node *node)
{
    for (const rh_node *child = node->first; child; child = child->next)
        if (child->status == RH_NODE_FAILED || child->status == RH_NODE_DOUBT)
            return true;
    return false;
}

int rh_node_depth(const rh_node *node)
{
    int depth = -1;
    for (; node->parent; node = node->parent)
        depth++;
    return depth;
}
