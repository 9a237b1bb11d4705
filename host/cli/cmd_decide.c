#include "cli/message.h"
#include "core/buffer.h"
#include "show/payload.h"

#include <stdlib.h>
#include <string.h>

static const char *const choices[] = {"done", "retry", "rollback", "stop", "skip"};

static const char *choice_of(const rh_args *args, rh_error *error)
{
    const char *choice = NULL;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (!rh_flag(args, choices[i]))
            continue;
        if (choice) {
            rh_fail(error, "usage", "decide: --%s and --%s exclude each other", choice, choices[i]);
            return NULL;
        }
        choice = choices[i];
    }
    if (!choice)
        rh_fail(error, "usage",
                "decide: say what shall hold: --done, --retry, --rollback, --stop or --skip");
    else if ((strcmp(choice, "done") == 0 || strcmp(choice, "skip") == 0) &&
             !rh_arg(args, "reason"))
        rh_fail(error, "usage", "decide: --%s needs how you know: --reason WHY", choice);
    else if (rh_arg(args, "result") && strcmp(choice, "done") != 0)
        rh_fail(error, "usage", "decide: --result goes with --done alone");
    return rh_error_is_set(error) ? NULL : choice;
}

/* What can be decided: an effect in doubt, or a unit that failed (a stuck compensation, on_failure="ask"). */
static const char *undecided(const rh_model *model, const char *word, rh_error *error)
{
    const char *key, *found = NULL;
    json_t *doubt;
    size_t count = 0;
    rh_buffer list = {0};
    json_object_foreach(model->doubts, key, doubt)
    {
        const char *unit = rh_payload_text(doubt, "unit"), *name = rh_payload_text(doubt, "name");
        rh_buffer_addf(&list, "%s\"%s\"", list.size ? ", " : "", key);
        if (word && strcmp(word, key) != 0 && !(unit && strcmp(word, unit) == 0) &&
            !(name && strcmp(word, name) == 0))
            continue;
        count++;
        found = key;
    }
    const rh_node *node = word && !found ? rh_model_find(model, word) : NULL;
    if (node && node->status == RH_NODE_FAILED)
        found = node->key;
    else if (word && !found)
        rh_fail(error, "usage", "nothing in doubt is called \"%s\"%s%s", word,
                list.size ? ". There is " : "", list.size ? list.data : "");
    else if (count > 1)
        rh_fail(error, "usage", "more than one effect is in doubt, name one: %s", list.data);
    rh_buffer_free(&list);
    return rh_error_is_set(error) ? NULL : found;
}

static json_t *decision(const rh_args *args, const char *choice, const char *key, rh_error *error)
{
    const char *result = rh_arg(args, "result");
    json_t *value = result ? json_loads(result, JSON_DECODE_ANY, NULL) : NULL;
    if (result && !value) {
        rh_fail(error, "usage", "--result %s is no JSON: texts stand in quotes, as in '\"v1.4.0\"'",
                result);
        return NULL;
    }
    json_t *data = json_object();
    json_object_set_new(data, "choice", json_string(choice));
    if (key)
        json_object_set_new(data, "key", json_string(key));
    if (rh_arg(args, "reason"))
        json_object_set_new(data, "reason", json_string(rh_arg(args, "reason")));
    if (value)
        json_object_set_new(data, "result", value);
    return data;
}

static int run(const rh_args *args)
{
    rh_error error = {0};
    rh_run_ref ref = {0};
    rh_model model = {0};
    json_t *data = NULL;
    const char *choice = choice_of(args, &error);
    if (choice && rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error) &&
        rh_run_read(&ref, &model, NULL, NULL, &error)) {
        const char *key = undecided(&model, rh_word(args, 1), &error);
        if (!rh_error_is_set(&error))
            data = decision(args, choice, key, &error);
    }
    int code;
    if (data) {
        char *said = rh_format("decided: %s", choice);
        code = rh_cli_drop(&ref, "decide", data, said);
        free(said);
    } else
        code = rh_cli_not_found(&error);
    if (model.nodes)
        rh_model_free(&model);
    rh_run_ref_clear(&ref);
    return code;
}

const rh_command_def rh_command_decide = {
    .name = "decide",
    .summary = "say what became of an effect in doubt, or what shall follow a failure",
    .usage = "RUN [EFFECT] --done|--retry|--rollback|--stop|--skip",
    .about =
        "EFFECT may be left out where one is in doubt. Who decided and why is kept in the journal.",
    .options =
        (const rh_option[]){
            {.name = "done", .help = "it happened: do not do it again; needs a reason"},
            {.name = "result", .value = "JSON", .help = "with --done: what it returned"},
            {.name = "retry", .help = "it did not happen, or doing it twice is harmless: do it"},
            {.name = "rollback", .help = "undo what was done so far"},
            {.name = "stop", .help = "stop here, undo nothing"},
            {.name = "skip", .help = "go on without it; needs a reason"},
            {.name = "reason", .value = "WHY", .help = "kept in the journal"},
            {0},
        },
    .least = 1,
    .most = 2,
    .run = run,
};
