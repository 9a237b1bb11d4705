/* approve, reject and confirm: answers of people. The identity is the owner of the message's file. */
#include "cli/message.h"
#include "core/buffer.h"
#include "run/who.h"
#include "show/payload.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_approval(const rh_node *node)
{
    return rh_node_is_open(node) && rh_node_is(node, "approve");
}

static bool is_confirmation(const rh_node *node)
{
    return rh_node_is_open(node) && (rh_node_is(node, "confirm") || rh_node_is(node, "checklist"));
}

static void set_option(json_t *data, const rh_args *args, const char *name)
{
    if (rh_arg(args, name))
        json_object_set_new(data, name, json_string(rh_arg(args, name)));
}

/* Remembers by key what each question says of who may answer it. */
static void on_change(void *questions, const rh_change *change, const rh_event *event)
{
    (void)event;
    if (change->kind == RH_CHANGE_BEGAN &&
        (is_approval(change->node) || is_confirmation(change->node)))
        json_object_set(questions, change->node->key, change->payload);
}

/* Whether the run will count the answer of who is logged in here: it judges by itself and tells it at its own
 * end, which the one who answers does not see. */
static bool may_answer(const rh_model *model, const rh_node *node, const json_t *question,
                       rh_error *error)
{
    const json_t *users = json_object_get(question, "users");
    char *me = rh_who_login(geteuid());
    bool holds = !json_is_array(users);
    size_t i;
    json_t *user;
    json_array_foreach(users, i, user) holds =
        holds || strcmp(json_string_value(user) ? json_string_value(user) : "", me) == 0;
    if (!holds) {
        char *names = rh_payload_list(users);
        rh_fail(error, "role", "\"%s\" is for %s to answer, and you are %s", node->name, names, me);
        free(names);
    } else if (rh_payload_flag(question, "not_operator") && model->operator&&
                                                                strcmp(model->operator, me) == 0)
        rh_fail(error, "role", "\"%s\": you operate this run, and somebody else must approve it",
                node->name);
    free(me);
    return !rh_error_is_set(error);
}

static bool has_ended(const rh_model *model, rh_error *error)
{
    if (model->ended)
        rh_fail(error, "usage", "%s has ended (%s): nothing in it waits for an answer", model->run,
                model->status);
    return model->ended;
}

static int answer(const rh_args *args, const char *kind, const char *what,
                  bool (*fits)(const rh_node *node), json_t *data, const char *said)
{
    rh_run_ref ref = {0};
    rh_model model = {0};
    rh_error error = {0};
    const rh_node *node = NULL;
    json_t *questions = json_object();
    int code;
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error) ||
        !rh_run_read(&ref, &model, on_change, questions, &error) || has_ended(&model, &error) ||
        !(node = rh_cli_unit(&model, rh_word(args, 1), what, fits, &error))) {
        json_decref(data);
        code = rh_cli_not_found(&error);
    } else if (!may_answer(&model, node, json_object_get(questions, node->key), &error)) {
        json_decref(data);
        code = rh_complain(RH_EXIT_STOPPED, &error);
    } else {
        char *text = rh_format("\"%s\": %s", node->name, said);
        json_object_set_new(data, "key", json_string(node->key));
        json_object_set_new(data, "name", json_string(node->name));
        /* What was shown when this was said: the answer is void for anything else. */
        if (node->bound)
            json_object_set_new(data, "bound", json_string(node->bound));
        set_option(data, args, "comment");
        set_option(data, args, "reason");
        set_option(data, args, "item");
        code = rh_cli_drop(&ref, kind, data, text);
        free(text);
    }
    json_decref(questions);
    if (model.nodes)
        rh_model_free(&model);
    rh_run_ref_clear(&ref);
    return code;
}

static int approve(const rh_args *args)
{
    return answer(args, "approve", "open approval", is_approval, json_object(), "approved");
}

static int reject(const rh_args *args)
{
    if (!rh_arg(args, "reason"))
        return rh_complainf(RH_EXIT_USAGE, "reject: give the reason: --reason WHY");
    return answer(args, "reject", "open approval", is_approval, json_object(), "rejected");
}

static int confirm(const rh_args *args)
{
    static const char *const answers[] = {"pass", "fail", "na"};
    const char *given = NULL;
    for (size_t i = 0; i < 3; i++) {
        if (!rh_flag(args, answers[i]))
            continue;
        if (given)
            return rh_complainf(RH_EXIT_USAGE, "confirm: --%s and --%s exclude each other", given,
                                answers[i]);
        given = answers[i];
    }
    if (!given)
        return rh_complainf(RH_EXIT_USAGE, "confirm: say what you saw: --pass, --fail or --na");
    if (strcmp(given, "pass") != 0 && !rh_arg(args, "reason"))
        return rh_complainf(RH_EXIT_USAGE, "confirm: --%s needs a reason: --reason WHY", given);
    json_t *data = json_object();
    json_object_set_new(data, "answer", json_string(given));
    return answer(args, "confirm", "open confirmation", is_confirmation, data, given);
}

const rh_command_def rh_command_approve = {
    .name = "approve",
    .summary = "give an approval that a run waits for",
    .usage = "RUN [NAME] [--comment TEXT]",
    .about =
        "You answer as the user you are logged in as. NAME may be left out where one approval is open.",
    .options =
        (const rh_option[]){{.name = "comment", .value = "TEXT", .help = "kept in the journal"},
                            {0}},
    .least = 1,
    .most = 2,
    .run = approve,
};

const rh_command_def rh_command_reject = {
    .name = "reject",
    .summary = "refuse an approval that a run waits for",
    .usage = "RUN [NAME] --reason WHY",
    .about = "One rejection ends the approval, whoever else approved.",
    .options =
        (const rh_option[]){{.name = "reason", .value = "WHY", .help = "kept in the journal"}, {0}},
    .least = 1,
    .most = 2,
    .run = reject,
};

const rh_command_def rh_command_confirm = {
    .name = "confirm",
    .summary = "answer what only a person can check",
    .usage = "RUN [NAME] [--item ITEM] --pass|--fail|--na [--reason WHY]",
    .options =
        (const rh_option[]){
            {.name = "item",
             .value = "ITEM",
             .help = "one item of a checklist; without it, the next open one"},
            {.name = "pass", .help = "it is as it should be"},
            {.name = "fail", .help = "it is not; needs a reason"},
            {.name = "na", .help = "it does not apply here; needs a reason"},
            {.name = "reason", .value = "WHY", .help = "kept in the journal"},
            {0},
        },
    .least = 1,
    .most = 2,
    .run = confirm,
};
