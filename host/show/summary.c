#include "show/summary.h"

#include "show/payload.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *title;
    rh_mood mood;
} by_exit[] = {
    {"Succeeded", RH_MOOD_GOOD},
    {"Stopped; nothing was rolled back", RH_MOOD_BAD},
    {"Not started", RH_MOOD_BAD},
    {"Failed and rolled back completely", RH_MOOD_BAD},
    {"ROLLBACK STUCK: a human is needed now", RH_MOOD_BAD},
    {"Paused", RH_MOOD_PENDING},
    {"Locked", RH_MOOD_BAD},
    {"In doubt: an interrupted effect needs a decision", RH_MOOD_BAD},
    {"The host could not go on", RH_MOOD_BAD},
};

/* The names of what was undone, to be freed. */
static rh_buffer undone(const rh_model *model)
{
    rh_buffer names = {0};
    for (const rh_node *node = model->root.first; node; node = node->next) {
        if (!rh_node_is(node, "rollback"))
            continue;
        for (const rh_node *one = node->first; one; one = one->next)
            if (rh_node_is(one, "compensation") && one->status == RH_NODE_OK)
                rh_buffer_addf(&names, "%s%s", names.size ? ", " : "", one->name);
    }
    return names;
}

/* A run stops behind a stage that was undone by its on_failure, too. */
static const char *stopped(const rh_model *model)
{
    rh_buffer names = undone(model);
    const bool some = names.size > 0;
    rh_buffer_free(&names);
    return some ? "Stopped; only its stage was undone" : by_exit[1].title;
}

const char *rh_summary_title(const rh_model *model, rh_mood *mood)
{
    *mood = RH_MOOD_PENDING;
    if (model->exit_code >= 0 && model->exit_code < (int64_t)(sizeof by_exit / sizeof *by_exit)) {
        *mood = by_exit[model->exit_code].mood;
        if (model->status && strcmp(model->status, "aborted") == 0)
            return "Aborted";
        if (model->status && strcmp(model->status, "waiting") == 0)
            return "Waiting";
        if (model->asked && model->exit_code == 3)
            return "Rolled back completely";
        if (model->exit_code == 1)
            return stopped(model);
        return by_exit[model->exit_code].title;
    }
    if (json_object_size(model->doubts) > 0)
        return "In doubt: an interrupted effect needs a decision";
    if (model->rolling_back)
        return "Rolling back";
    return "Not ended";
}

void rh_summary_inputs(rh_buffer *out, const rh_model *model)
{
    const char *name;
    json_t *value;
    bool first = true;
    json_object_foreach(model->inputs, name, value)
    {
        rh_buffer_addf(out, "%s%s=", first ? "" : " ", name);
        rh_payload_show(out, value);
        first = false;
    }
}

char *rh_summary_commit(const json_t *payload)
{
    char *name = rh_payload_shown(payload, "name");
    char *dropped = rh_payload_list(json_object_get(payload, "dropped"));
    char *text = rh_format("committed: %s%s%s", name ? name : "",
                           *dropped ? "; no longer undoable: " : "", dropped);
    free(name);
    free(dropped);
    return text;
}

static const rh_node *last_failed(const rh_node *node)
{
    const rh_node *found = NULL;
    for (const rh_node *child = node->first; child; child = child->next) {
        const rh_node *deeper = last_failed(child);
        if (!deeper && child->status == RH_NODE_FAILED && child->error &&
            !rh_node_is(child, "effect") && !rh_node_is(child, "stage"))
            deeper = child;
        if (deeper)
            found = deeper;
    }
    return found;
}

const rh_node *rh_summary_culprit(const rh_model *model) { return last_failed(&model->root); }

typedef void (*line_fn)(void *data, const char *label, const char *text);

static void say(line_fn fn, void *data, const char *label, rh_buffer *text)
{
    if (text->size)
        fn(data, label, text->data);
    rh_buffer_free(text);
}

static void say_undone(const rh_model *model, line_fn fn, void *data)
{
    rh_buffer names = undone(model);
    say(fn, data, "undone", &names);
}

/* What a rollback left as it is, since commit() had been passed. */
static void say_kept(const rh_model *model, line_fn fn, void *data)
{
    if (json_array_size(model->committed) == 0 || !(model->rolling_back || model->rolled_back))
        return;
    char *names = rh_payload_list(model->committed);
    char *text = rh_format("committed before, so not undone: %s", names);
    fn(data, "kept", text);
    free(text);
    free(names);
}

static void say_open(const rh_node *node, line_fn fn, void *data)
{
    for (const rh_node *child = node->first; child; child = child->next) {
        if (!rh_node_is_open(child))
            continue;
        if (child->waiting_for) {
            rh_buffer text = {0};
            rh_buffer_addf(&text, "%s: %s", child->name, child->waiting_for);
            if (child->until_us) {
                rh_buffer_adds(&text, " until ");
                rh_text_clock(&text, child->until_us);
            }
            say(fn, data, "waiting", &text);
            if (child->command)
                fn(data, "answer", child->command);
        }
        say_open(child, fn, data);
    }
}

static void say_next(const rh_model *model, line_fn fn, void *data)
{
    char *run = rh_format("%s%s", model->run ? model->run : "RUN", model->state_option);
    rh_buffer text = {0};
    switch (model->ended && model->exit_code == 1 ? 0 : model->exit_code) {
    case 1:
        rh_buffer_addf(&text, "rollouthost resume %s   (or rollback, abort)", run);
        break;
    case 3:
        if (model->is_protected && model->name && model->environment) {
            rh_buffer_adds(&text, "mend the cause, then let runs in again: rollouthost unlock ");
            rh_buffer_add_word(&text, model->name);
            rh_buffer_addf(&text, " %s --reason WHY%s", model->environment, model->state_option);
        }
        break;
    case 4:
        rh_buffer_addf(
            &text,
            "rollouthost resume %s   to try again, or rollouthost decide %s --done|--skip --reason WHY",
            run, run);
        break;
    case 5:
        rh_buffer_addf(&text, "rollouthost resume %s", run);
        break;
    case 7:
        rh_buffer_addf(
            &text,
            "look at the world, then: rollouthost decide %s --done|--retry|--rollback|--stop|--skip --reason WHY",
            run);
        break;
    case 8:
        rh_buffer_addf(&text, "rollouthost show %s --verify", run);
        break;
    default:
        break;
    }
    say(fn, data, "next", &text);
    free(run);
}

/* Where a step failed, all of it stands there already; an error of no step is told here alone. */
static void say_why(const char *error, bool whole, line_fn fn, void *data)
{
    const char *label = "why";
    if (!whole) {
        char *first = rh_text_first_line(error);
        fn(data, label, first);
        free(first);
        return;
    }
    while (*error) {
        size_t size = strcspn(error, "\n");
        char *line = rh_strndup(error, size);
        fn(data, label, line);
        free(line);
        label = "";
        error += size + (error[size] == '\n');
    }
}

void rh_summary_each(const rh_model *model, line_fn fn, void *data)
{
    const rh_node *culprit = rh_summary_culprit(model);
    if (model->error) {
        say_why(model->error, culprit == NULL, fn, data);
    } else if (culprit && model->exit_code != 0) {
        char *text = rh_format("%s \"%s\": %s", culprit->kind, culprit->name, culprit->error);
        say_why(text, false, fn, data);
        free(text);
    }
    say_undone(model, fn, data);
    say_kept(model, fn, data);
    const char *key;
    json_t *doubt;
    json_object_foreach(model->doubts, key, doubt)
    {
        rh_buffer text = {0};
        char *what = rh_payload_shown(doubt, "describe");
        if (!what)
            what = rh_payload_shown(doubt, "effect");
        rh_buffer_addf(&text, "%s%s%s", key, what ? ": " : "", what ? what : "");
        free(what);
        say(fn, data, "in doubt", &text);
    }
    say_open(&model->root, fn, data);
    if (culprit && model->run && model->exit_code != 0) {
        rh_buffer text = {0};
        rh_buffer_addf(&text, "rollouthost log %s ", model->run);
        rh_buffer_add_word(&text, culprit->name);
        rh_buffer_adds(&text, model->state_option);
        say(fn, data, "log", &text);
    }
    say_next(model, fn, data);
}
