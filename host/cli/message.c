#include "cli/message.h"

#include "cli/execute.h"
#include "core/buffer.h"
#include "core/suggest.h"
#include "run/inbox.h"
#include "run/journal.h"
#include "run/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rh_cli_drop(const rh_run_ref *ref, const char *kind, json_t *data, const char *said)
{
    rh_error error = {0};
    char *text = json_dumps(data, JSON_COMPACT);
    json_decref(data);
    const bool dropped = rh_inbox_drop(ref->dir, kind, text, &error);
    free(text);
    if (!dropped)
        return rh_complain(RH_EXIT_STOPPED, &error);
    if (rh_journal_is_live(ref->dir))
        printf("%s: %s\n", ref->id, said);
    else {
        char *option = rh_state_option(ref->state);
        printf("%s: %s. No process works on it now: it counts from `rollouthost resume %s%s` on\n",
               ref->id, said, ref->id, option);
        free(option);
    }
    return RH_EXIT_OK;
}

static json_t *reason_of(const rh_args *args)
{
    json_t *data = json_object();
    if (rh_arg(args, "reason"))
        json_object_set_new(data, "reason", json_string(rh_arg(args, "reason")));
    return data;
}

const rh_option rh_intent_options[] = {
    {.name = "reason", .value = "WHY", .help = "kept in the journal"},
    RH_OPTION_ENV_FILE,
    RH_OPTION_ROLES,
    RH_OPTION_YES,
    RH_OPTION_OUTPUT,
    {0},
};

int rh_cli_intent(const rh_args *args, const char *intent)
{
    rh_run_ref ref;
    rh_error error = {0};
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), true, &error))
        return rh_cli_not_found(&error);
    int code;
    if (rh_journal_is_live(ref.dir)) {
        char *said =
            rh_format("asked to %s", strcmp(intent, "rollback") == 0 ? "roll back" : intent);
        code = rh_cli_drop(&ref, intent, reason_of(args), said);
        free(said);
    } else
        code = rh_cli_execute(args, &(rh_run_request){.intent = intent,
                                                      .state = ref.state,
                                                      .run = ref.id,
                                                      .reason = rh_arg(args, "reason")});
    rh_run_ref_clear(&ref);
    return code;
}

struct search {
    const char *word;
    bool (*fits)(const rh_node *node);
    const rh_node *found;
    size_t matches, count;
    const char *names[64];
    rh_buffer list;
};

static void consider(struct search *search, const rh_node *node)
{
    for (const rh_node *child = node->first; child; child = child->next) {
        consider(search, child);
        if (!search->fits(child))
            continue;
        if (search->count + 1 < sizeof search->names / sizeof *search->names)
            search->names[search->count++] = child->name;
        rh_buffer_addf(&search->list, "%s\"%s\"", search->list.size ? ", " : "", child->name);
        if (search->word && strcmp(search->word, child->name) != 0 &&
            strcmp(search->word, child->key) != 0)
            continue;
        search->matches++;
        search->found = child;
    }
}

const rh_node *rh_cli_unit(const rh_model *model, const char *word, const char *what,
                           bool (*fits)(const rh_node *node), rh_error *error)
{
    struct search search = {.word = word, .fits = fits};
    consider(&search, &model->root);
    const char *near = word ? rh_suggest(word, search.names) : NULL;
    if (search.count == 0)
        rh_fail(error, "usage", "%s has no %s now. See `rollouthost show %s`", model->run, what,
                model->run);
    else if (search.matches == 0 && near)
        rh_fail(error, "usage", "there is no %s \"%s\": did you mean \"%s\"?", what, word, near);
    else if (search.matches == 0)
        rh_fail(error, "usage", "there is no %s \"%s\". There is %s", what, word, search.list.data);
    else if (search.matches > 1)
        rh_fail(error, "usage", "there is more than one %s, name one: %s", what, search.list.data);
    rh_buffer_free(&search.list);
    return search.matches == 1 ? search.found : NULL;
}
