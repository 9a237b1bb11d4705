/* approve, reject and confirm: answers of people. The identity is the owner of the message's file. */
#include "cli/message.h"
#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

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

static int answer(const rh_args *args, const char *kind, const char *what,
                  bool (*fits)(const rh_node *node), json_t *data, const char *said)
{
    rh_run_ref ref = {0};
    rh_model model = {0};
    rh_error error = {0};
    const rh_node *node = NULL;
    int code;
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error) ||
        !rh_run_read(&ref, &model, NULL, NULL, &error) ||
        !(node = rh_cli_unit(&model, rh_word(args, 1), what, fits, &error))) {
        json_decref(data);
        code = rh_cli_not_found(&error);
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
