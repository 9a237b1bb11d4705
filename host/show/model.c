#include "show/model.h"

#include "show/check.h"
#include "show/payload.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

void rh_model_init(rh_model *model, const char *state_option, bool keep)
{
    *model = (rh_model){.exit_code = -1, .keep = keep};
    model->state_option = rh_strdup(state_option ? state_option : "");
    model->root.kind = rh_strdup("run");
    model->root.key = rh_strdup("");
    model->root.name = rh_strdup("");
    model->armed = json_object();
    model->committed = json_array();
    model->doubts = json_object();
    model->nodes = json_object();
}

static void set(char **field, char *text)
{
    free(*field);
    *field = text;
}

static void clear_live(rh_node *node)
{
    set(&node->doing, NULL);
    set(&node->waiting_for, NULL);
    set(&node->command, NULL);
    rh_progress_clear(&node->progress);
    node->until_us = 0;
}

static void free_node(rh_node *node)
{
    for (rh_node *child = node->first, *next; child; child = next) {
        next = child->next;
        free_node(child);
        free(child);
    }
    clear_live(node);
    for (int i = 0; i < RH_TAIL; i++)
        free(node->tail[i]);
    char *const texts[] = {node->kind, node->key,   node->name, node->line,
                           node->note, node->error, node->bound};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
}

void rh_model_free(rh_model *model)
{
    free_node(&model->root);
    char *const texts[] = {model->run,         model->name,        model->playbook,
                           model->title,       model->environment, model->operator, model->host,
                           model->status,      model->error,       model->mode,
                           model->state_option};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    json_decref(model->inputs);
    json_decref(model->armed);
    json_decref(model->committed);
    json_decref(model->doubts);
    json_decref(model->nodes);
    *model = (rh_model){0};
}

static rh_node *find(const rh_model *model, const char *key, size_t size)
{
    /* Addresses as integers: jansson's object is the hash table that is here anyway. */
    const json_t *address = json_object_getn(model->nodes, key, size);
    return address ? (rh_node *)(intptr_t)json_integer_value(address) : NULL;
}

rh_node *rh_model_find(const rh_model *model, const char *key)
{
    return find(model, key, strlen(key));
}

/* The node that `key` belongs to: its own, or that of the longest path above it. */
static rh_node *nearest(rh_model *model, const char *key, bool own)
{
    size_t size = strlen(key);
    if (own) {
        rh_node *node = find(model, key, size);
        if (node)
            return node;
    }
    while (size > 0) {
        size--;
        if (!strchr("/@!", key[size]))
            continue;
        rh_node *node = find(model, key, size);
        if (node)
            return node;
    }
    return &model->root;
}

static rh_node *open_rollback(const rh_model *model)
{
    for (rh_node *node = model->root.first; node; node = node->next)
        if (rh_node_is(node, "rollback") && rh_node_is_open(node))
            return node;
    return NULL;
}

/* A unit that failed is tried again under its key, by a decision or a resume. */
static void begin_again(rh_node *node, const rh_event *event)
{
    clear_live(node);
    set(&node->note, NULL);
    set(&node->error, NULL);
    node->status = RH_NODE_RUNNING;
    node->begun_us = event->time_us;
    node->ended_us = node->ms = 0;
    node->attempt = node->checks = 0;
}

static rh_node *new_node(rh_node *parent, const char *kind, const rh_event *event,
                         const json_t *payload)
{
    rh_node *node = rh_alloc(sizeof *node);
    node->parent = parent;
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    node->kind = rh_strdup(kind);
    node->key = rh_strdup(event->key);
    node->name = rh_payload_shown(payload, "name");
    if (!node->name)
        node->name = rh_payload_shown(payload, "describe"); /* an effect */
    if (!node->name) {
        const char *tail = strrchr(event->key, '/');
        node->name = rh_strdup(tail ? tail + 1 : event->key);
    }
    node->line = rh_payload_shown(payload, "line");
    node->bound = rh_payload_shown(payload, "bound");
    node->begun_us = event->time_us;
    return node;
}

static rh_node *add_node(rh_model *model, const char *kind, const rh_event *event,
                         const json_t *payload)
{
    const char *key = event->key;
    rh_node *parent = strcmp(kind, "compensation") == 0 ? open_rollback(model) : NULL;
    if (strcmp(kind, "rollback") == 0)
        parent = &model->root;
    else if (!parent)
        parent = nearest(model, key, false);
    /* What an effect asks in its middle stands in its step, as the effect does. */
    if (rh_node_is(parent, "effect") && strcmp(kind, "effect") != 0)
        parent = parent->parent;
    rh_node *node = rh_model_find(model, key);
    if (node && node->parent == parent && strcmp(node->kind, kind) == 0) {
        begin_again(node, event);
        return node;
    }
    node = new_node(parent, kind, event, payload);
    /* The rollback of a stage bears the stage's key. */
    if (*key && strcmp(kind, "rollback") != 0)
        json_object_set_new(model->nodes, key, json_integer((json_int_t)(intptr_t)node));
    return node;
}

/* What has neither beginning nor end: a note. It stands in the scope whose key it bears, or that above. */
static rh_node *add_point(rh_model *model, const char *kind, const rh_event *event,
                          const json_t *payload)
{
    return new_node(nearest(model, event->key, true), kind, event, payload);
}

static rh_node_status status_of(const json_t *payload)
{
    const char *status = rh_payload_text(payload, "status");
    if (!status)
        return json_object_get(payload, "error") ? RH_NODE_FAILED : RH_NODE_OK;
    if (strcmp(status, "ok") == 0 || strcmp(status, "pass") == 0)
        return RH_NODE_OK;
    if (strcmp(status, "skipped") == 0)
        return RH_NODE_SKIPPED;
    if (strcmp(status, "cancelled") == 0)
        return RH_NODE_CANCELLED;
    if (strcmp(status, "doubt") == 0)
        return RH_NODE_DOUBT;
    return RH_NODE_FAILED;
}

/* "2 passed, 1 not applicable: Printing (no printer here)". */
static char *items_note(const json_t *items)
{
    rh_buffer na = {0};
    size_t passed = 0, i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        const char *verdict = rh_payload_text(item, "verdict");
        if (!verdict || strcmp(verdict, "na") != 0) {
            passed++;
            continue;
        }
        char *name = rh_payload_shown(item, "item"), *reason = rh_payload_shown(item, "reason");
        rh_buffer_addf(&na, "%s%s%s%s%s", na.size ? ", " : "", name ? name : "", reason ? " (" : "",
                       reason ? reason : "", reason ? ")" : "");
        free(name);
        free(reason);
    }
    const size_t others = json_array_size(items) - passed;
    char *text = others ? rh_format("%zu passed, %zu not applicable: %s", passed, others, na.data)
                        : rh_format("%zu passed", passed);
    rh_buffer_free(&na);
    return text;
}

static void end_node(rh_model *model, rh_node *node, const rh_event *event, const json_t *payload)
{
    node->status = status_of(payload);
    node->ended_us = event->time_us;
    node->ms = rh_payload_integer(payload, "ms", (event->time_us - node->begun_us) / 1000);
    node->replayed = event->replayed;
    clear_live(node);
    char *error = rh_payload_error(payload);
    if (node->status == RH_NODE_OK)
        free(error);
    else if (node->status == RH_NODE_SKIPPED)
        set(&node->note, error);
    else
        set(&node->error, error);
    const json_t *items = json_object_get(payload, "value");
    if (rh_node_is(node, "checklist") && node->status == RH_NODE_OK && json_is_array(items))
        set(&node->note, items_note(items));
    if (rh_node_is(node, "compensation"))
        json_object_del(model->armed, node->key);
}

/* What an effect asks: the question and what it is decided by. */
static void set_question(rh_node *node, const json_t *payload)
{
    char *question = rh_payload_shown(payload, "question");
    if (!question)
        return;
    char *evidence = rh_payload_shown(payload, "evidence");
    set(&node->note, rh_format("%s%s%s", question, evidence ? " " : "", evidence ? evidence : ""));
    free(question);
    free(evidence);
}

/* What waits for a person waits from its beginning on, also for who reads the journal alone. */
static void expect_people(const rh_model *model, rh_node *node, const json_t *payload)
{
    const bool approval = rh_node_is(node, "approve");
    if (!approval && !rh_node_is(node, "confirm") && !rh_node_is(node, "checklist"))
        return;
    const int64_t timeout = rh_payload_integer(payload, "timeout", 0);
    const json_t *roles = json_object_get(payload, "roles");
    char *role = json_is_array(roles) ? rh_payload_list(roles) : rh_payload_shown(payload, "role");
    node->status = RH_NODE_WAITING;
    node->until_us = timeout > 0 ? node->begun_us + timeout * 1000 : 0;
    set(&node->waiting_for, rh_format("%s%s%s", approval ? "approval" : "an answer",
                                      role && *role ? " by " : "", role && *role ? role : ""));
    rh_buffer command = {0};
    rh_buffer_addf(&command, "rollouthost %s %s ", approval ? "approve" : "confirm",
                   model->run ? model->run : "RUN");
    rh_buffer_add_word(&command, node->name);
    rh_buffer_addf(&command, "%s%s", approval ? "" : " --pass", model->state_option);
    set(&node->command, rh_buffer_take(&command));
    free(role);
    set_question(node, payload);
}

/* The node of this kind and key that is still open. */
static rh_node *open_node(rh_model *model, const char *kind, const char *key)
{
    rh_node *node = rh_model_find(model, key);
    if (node && rh_node_is(node, kind))
        return node;
    /* Another kind took the key since (a step's undo bears the step's key): look where it was put. */
    for (rh_node *scope = nearest(model, key, false); scope; scope = scope->parent)
        for (rh_node *child = scope->first; child; child = child->next)
            if (rh_node_is_open(child) && rh_node_is(child, kind) && strcmp(child->key, key) == 0)
                return child;
    return NULL;
}

static void add_output(rh_node *node, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t end = i;
        while (end < size && text[end] != '\n' && text[end] != '\r')
            end++;
        rh_buffer line = {0};
        if (node->tail_open && node->tail[RH_TAIL - 1])
            rh_buffer_adds(&line, node->tail[RH_TAIL - 1]);
        /* A line without an end must not grow for ever. */
        if (line.size < 512)
            rh_text_clean(&line, text + i, end - i < 512 ? end - i : 512);
        if (!node->tail_open) {
            free(node->tail[0]);
            memmove(node->tail, node->tail + 1, (RH_TAIL - 1) * sizeof *node->tail);
            node->tail[RH_TAIL - 1] = NULL;
        }
        set(&node->tail[RH_TAIL - 1], line.data ? rh_buffer_take(&line) : rh_strdup(""));
        rh_buffer_free(&line);
        /* A carriage return starts the line over, as a progress bar means it. */
        if (end < size && text[end] == '\r' && !(end + 1 < size && text[end + 1] == '\n')) {
            node->tail_open = true;
            if (end + 1 < size)
                set(&node->tail[RH_TAIL - 1], rh_strdup(""));
            end++;
        } else {
            node->tail_open = end >= size;
            if (end < size && text[end] == '\r')
                end++;
            if (end < size)
                end++;
        }
        i = end;
    }
}

static void set_waiting(rh_node *node, const json_t *payload)
{
    char *what = rh_payload_shown(payload, "for");
    node->status = what ? RH_NODE_WAITING : RH_NODE_RUNNING;
    char *command = rh_payload_shown(payload, "command");
    char *inside = what && !command ? strstr(what, ": rollouthost ") : NULL;
    if (inside) { /* what to type gets a line of its own */
        command = rh_strdup(inside + 2);
        *inside = '\0';
    }
    set(&node->waiting_for, what);
    set(&node->command, command);
    node->until_us = rh_payload_time(payload, "until");
}

static void set_check(rh_node *node, const json_t *payload)
{
    rh_buffer text = {0};
    char *whole = rh_payload_shown(payload, "text");
    if (!whole)
        rh_check_show(&text, payload);
    node->checks++;
    set(&node->note, whole ? whole : text.size ? rh_buffer_take(&text) : NULL);
    rh_buffer_free(&text);
}

static void set_answer(rh_node *node, const json_t *payload)
{
    char *who = rh_payload_who(payload);
    char *verdict = rh_payload_shown(payload, "verdict");
    if (!verdict)
        verdict = rh_payload_shown(payload, "answer");
    char *said = rh_payload_shown(payload, "comment");
    if (!said)
        said = rh_payload_shown(payload, "reason");
    char *item = rh_payload_shown(payload, "item");
    if (item && strcmp(item, node->name) == 0)
        set(&item, NULL);
    set(&node->note, rh_format("%s%s%s%s%s%s%s", item ? item : "", item ? ": " : "",
                               verdict ? verdict : "answered", who ? " by " : "", who ? who : "",
                               said && *said ? ": " : "", said ? said : ""));
    free(who);
    free(verdict);
    free(said);
    free(item);
}

static void start_run(rh_model *model, const rh_event *event, const json_t *payload)
{
    model->turns++;
    model->ended = false;
    model->left_us = 0;
    set(&model->status, NULL);
    set(&model->error, NULL);
    model->exit_code = -1;
    const struct {
        char **field;
        const char *name;
    } facts[] = {{&model->run, "run"}, {&model->run, "id"}, {&model->name, "name"},
                 {&model->playbook, "playbook"}, {&model->title, "title"},
                 {&model->environment, "environment"},
                 {
                     &model->operator,
                     "operator" },
                     {&model->host, "host"},
                     {&model->mode, "mode"},
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        char *text = rh_payload_shown(payload, facts[i].name);
        if (text)
            set(facts[i].field, text);
    }
    json_t *inputs = json_object_get(payload, "inputs");
    if (inputs) {
        json_decref(model->inputs);
        model->inputs = json_incref(inputs);
    }
    if (rh_payload_flag(payload, "protected"))
        model->is_protected = true;
    if (!model->begun_us)
        model->begun_us = event->time_us;
}

/* What waited when the run came to its end waits no more. */
static void end_waits(rh_node *node)
{
    for (rh_node *child = node->first; child; child = child->next) {
        if (child->status == RH_NODE_WAITING) {
            child->status = RH_NODE_RUNNING;
            clear_live(child);
        }
        end_waits(child);
    }
}

/* The process leaves the run: for good, or until somebody resumes it. */
static void leave_run(rh_model *model, const rh_event *event, const json_t *payload)
{
    char *status = rh_payload_shown(payload, "status");
    if (rh_payload_flag(payload, "aborted"))
        set(&status, rh_strdup("aborted"));
    set(&model->status, status ? status : rh_strdup("ended"));
    set(&model->error, rh_payload_error(payload));
    const char *code = rh_payload_text(json_object_get(payload, "error"), "code");
    model->asked = code && strcmp(code, "rollback") == 0;
    model->exit_code = rh_payload_integer(payload, "exit", -1);
    model->left_us = event->time_us;
    model->ended = strcmp(event->type, "run.end") == 0;
    if (model->ended)
        end_waits(&model->root);
}

/* Events of the run as a whole. */
static bool apply_run(rh_model *model, const rh_event *event, json_t *payload)
{
    if (strcmp(event->type, "run.start") == 0 || strcmp(event->type, "run.resume") == 0)
        start_run(model, event, payload);
    else if (strcmp(event->type, "run.end") == 0 || strcmp(event->type, "run.pause") == 0)
        leave_run(model, event, payload);
    else if (strcmp(event->type, "rollback.register") == 0)
        json_object_set_new(model->armed, event->key,
                            json_string(rh_payload_text(payload, "name")));
    else if (strcmp(event->type, "rollback.drop") == 0) {
        json_object_clear(model->armed);
        json_array_extend(model->committed, json_object_get(payload, "dropped"));
    } else if (strcmp(event->type, "doubt") == 0)
        json_object_set(model->doubts, event->key, payload);
    else if (strcmp(event->type, "decision") == 0)
        json_object_del(model->doubts, event->key);
    else {
        if (strcmp(event->type, "effect.end") == 0)
            json_object_del(model->doubts, event->key);
        return false;
    }
    return true;
}

/* Events that change a node without beginning or ending one. */
static bool apply_update(rh_node *node, const rh_event *event, const json_t *payload)
{
    const char *dot = strrchr(event->type, '.');
    if (strcmp(event->type, "output") == 0) {
        const char *text = rh_payload_text(payload, "text");
        if (text)
            add_output(node, text, strlen(text));
    } else if (strcmp(event->type, "progress") == 0)
        rh_progress_take(&node->progress, payload, event->time_us);
    else if (strcmp(event->type, "waiting") == 0)
        set_waiting(node, payload);
    else if (strcmp(event->type, "waiting.end") == 0) {
        clear_live(node);
        node->status = RH_NODE_RUNNING;
    } else if (strcmp(event->type, "check") == 0)
        set_check(node, payload);
    else if (strcmp(event->type, "attempt.begin") == 0)
        node->attempt = (int)rh_payload_integer(payload, "tried", node->attempt + 1);
    else if (strcmp(event->type, "effect.begin") == 0) {
        char *text = rh_payload_shown(payload, "describe");
        set(&node->doing, text ? text : rh_payload_shown(payload, "effect"));
        rh_progress_clear(&node->progress);
    } else if (strcmp(event->type, "effect.end") == 0) {
        set(&node->doing, NULL);
        rh_progress_clear(&node->progress);
    } else if (dot && strcmp(dot, ".answer") == 0)
        set_answer(node, payload);
    else
        return strncmp(event->type, "ask", 3) == 0 || strcmp(event->type, "plan") == 0;
    return true;
}

static void arm_undo(rh_model *model, const rh_node *node)
{
    char *key = rh_format("%s!undo", node->key);
    json_object_set_new(model->armed, key, json_sprintf("undo %s", node->name));
    free(key);
}

/* What the commands of an effect print is told under ids that begin with the effect's: "ID-2", "ID-2-1". */
static rh_node *speaker(rh_model *model, const char *id)
{
    size_t size = strlen(id);
    for (;;) {
        rh_node *node = find(model, id, size);
        if (node)
            return node;
        const size_t whole = size;
        while (size > 0 && id[size - 1] >= '0' && id[size - 1] <= '9')
            size--;
        if (size == whole || size < 2 || id[size - 1] != '-')
            return nearest(model, id, true);
        size--;
    }
}

static void note_id(rh_model *model, rh_node *node, const json_t *payload)
{
    const char *id = rh_payload_text(payload, "id");
    if (id)
        json_object_set_new(model->nodes, id, json_integer((json_int_t)(intptr_t)node));
}

static rh_change apply(rh_model *model, const rh_event *event, json_t *payload)
{
    const char *key = event->key;
    if (apply_run(model, event, payload))
        return (rh_change){RH_CHANGE_RUN, nearest(model, key, true), payload};
    const bool is_effect = strncmp(event->type, "effect.", 7) == 0;
    if (!(is_effect && model->keep)) {
        rh_node *node =
            strcmp(event->type, "output") == 0 ? speaker(model, key) : nearest(model, key, true);
        if (strcmp(event->type, "effect.begin") == 0)
            note_id(model, node, payload);
        if (apply_update(node, event, payload))
            return (rh_change){RH_CHANGE_UPDATED, node, payload};
    }
    const char *dot = strrchr(event->type, '.');
    char *kind = rh_strndup(event->type, dot ? (size_t)(dot - event->type) : strlen(event->type));
    rh_change change = {0};
    if (dot && strcmp(dot, ".begin") == 0) {
        change = (rh_change){RH_CHANGE_BEGAN, add_node(model, kind, event, payload), payload};
        expect_people(model, change.node, payload);
        if (rh_payload_flag(payload, "undo"))
            arm_undo(model, change.node);
    } else if (dot && strcmp(dot, ".end") == 0) {
        rh_node *node = open_node(model, kind, key);
        if (!node)
            node = add_node(model, kind, event, payload); /* skipped before it began */
        end_node(model, node, event, payload);
        change = (rh_change){RH_CHANGE_ENDED, node, payload};
    } else if (rh_point_is(event->type)) {
        char *text = rh_payload_shown(payload, "text");
        if (!text && strcmp(kind, "attach") == 0)
            text = rh_format("attached %s", rh_payload_text(payload, "name"));
        if (text) { /* a countdown without words says nothing that its stage does not */
            rh_node *node = add_point(model, kind, event, payload);
            set(&node->name, text);
            end_node(model, node, event, payload);
            change = (rh_change){RH_CHANGE_ENDED, node, payload};
        }
    }
    free(kind);
    if (strcmp(event->type, "rollback.begin") == 0)
        model->rolling_back = true;
    if (strcmp(event->type, "rollback.end") == 0) {
        model->rolling_back = false;
        model->rolled_back = true;
    }
    return change;
}

void rh_model_apply(rh_model *model, const rh_event *event, rh_change_fn fn, void *data)
{
    rh_event own = *event;
    if (!own.key)
        own.key = "";
    /* The result of an effect may be long, and is of no interest where effects have no nodes. */
    const bool plain = !model->keep && strcmp(event->type, "effect.end") == 0;
    json_t *payload = plain ? json_object() : rh_payload_parse(event->payload);
    const rh_change change = apply(model, &own, payload);
    if (fn && change.kind != RH_CHANGE_NONE)
        fn(data, &change, &own);
    json_decref(payload);
}
