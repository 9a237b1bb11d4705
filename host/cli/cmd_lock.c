/* lock and unlock: a record that keeps an environment closed. */
#include "cli/runs.h"
#include "core/buffer.h"
#include "core/suggest.h"
#include "run/lock.h"
#include "run/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name in `playbook "shop" {` or `playbook("shop")`: it stands in the first lines, as plain text. */
static char *name_in_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL, *name = NULL;
    size_t capacity = 0;
    while (file && !name && getline(&line, &capacity, file) >= 0) {
        const char *at = line + strspn(line, " \t");
        if (strncmp(at, "playbook", 8) != 0)
            continue;
        at += 8 + strspn(at + 8, " \t(");
        const char *end = *at == '"' || *at == '\'' ? strchr(at + 1, *at) : NULL;
        if (end)
            name = rh_strndup(at + 1, (size_t)(end - at - 1));
    }
    free(line);
    if (file)
        fclose(file);
    return name;
}

typedef struct known {
    const char *word;
    bool found;
    char *names[64];
    size_t count;
} known;

static bool consider(void *data, const rh_state_run *run)
{
    known *k = data;
    k->found = strcmp(run->playbook, k->word) == 0;
    if (*run->playbook && k->count + 1 < sizeof k->names / sizeof *k->names)
        k->names[k->count++] = rh_strdup(run->playbook);
    return !k->found;
}

/* A name counts if a run of that playbook is known: a slip of the fingers must not lock what does not exist. */
static char *playbook_name(const char *state, const char *word, bool lock, rh_error *error)
{
    if (access(word, F_OK) == 0) {
        char *name = name_in_file(word);
        if (!name)
            rh_fail(error, "usage",
                    "%s names no playbook: it has no line that begins with playbook \"NAME\"",
                    word);
        return name;
    }
    if (!lock) { /* the file may have moved, or lie beside another login's shell: its name is left */
        const char *slash = strrchr(word, '/'), *base = slash ? slash + 1 : word;
        const char *dot = strrchr(base, '.');
        return dot && strcmp(dot, ".lua") == 0 ? rh_strndup(base, (size_t)(dot - base))
                                               : rh_strdup(word);
    }
    known k = {.word = word};
    if (rh_state_runs(state, 0, consider, &k, error) && !k.found) {
        const char *near = rh_suggest(word, (const char *const *)k.names);
        rh_fail(error, "usage", "no playbook \"%s\" has run here%s%s%s. Give the path of its file",
                word, near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    for (size_t i = 0; i < k.count; i++)
        free(k.names[i]);
    return rh_error_is_set(error) ? NULL : rh_strdup(word);
}

static int change(const rh_args *args, bool lock)
{
    const char *environment = rh_word(args, 1), *reason = rh_arg(args, "reason");
    if (lock && !reason)
        return rh_complainf(RH_EXIT_USAGE,
                            "lock: say why, whoever comes next will read it: --reason WHY");
    rh_error error = {0};
    char *state = rh_cli_state(args, true, &error);
    char *name = state ? playbook_name(state, rh_word(args, 0), lock, &error) : NULL;
    int code = RH_EXIT_OK;
    if (!name)
        code = rh_complain(RH_EXIT_USAGE, &error);
    else if (lock ? rh_lock_hold(state, name, environment, reason, NULL, &error)
                  : rh_lock_unhold(state, name, environment, &error))
        printf("%s in %s is %s\n", name, environment, lock ? "locked" : "unlocked");
    else
        code = rh_complain(RH_EXIT_STOPPED, &error);
    free(name);
    free(state);
    return code;
}

static int run_lock(const rh_args *args) { return change(args, true); }

static int run_unlock(const rh_args *args) { return change(args, false); }

static const rh_option options[] = {
    {.name = "reason", .value = "WHY", .help = "who is refused reads it"},
    {0},
};

const rh_command_def rh_command_lock = {
    .name = "lock",
    .summary = "keep runs of a playbook out of an environment",
    .usage = "PLAYBOOK ENV --reason WHY",
    .about = "PLAYBOOK is the path of its file, or its name where it has run before.",
    .options = options,
    .least = 2,
    .most = 2,
    .run = run_lock,
};

const rh_command_def rh_command_unlock = {
    .name = "unlock",
    .summary = "let runs in again, after `lock` or after a rollback",
    .usage = "PLAYBOOK ENV [--reason WHY]",
    .options = options,
    .least = 2,
    .most = 2,
    .run = run_unlock,
};
