#include "cli/cli.h"

#include "core/buffer.h"
#include "core/suggest.h"

#include <stdlib.h>
#include <string.h>

/* Options that every command takes. */
static const rh_option common[] = {
    {.name = "help", .letter = 'h', .help = "this help"},
    {.name = "state", .value = "DIR", .help = "state folder (or ROLLOUTHOST_STATE)"},
    {0},
};

static const rh_option *find(const rh_option *options, const char *name, size_t size, char letter)
{
    for (; options && options->name; options++) {
        if (letter ? options->letter == letter
                   : strlen(options->name) == size && memcmp(options->name, name, size) == 0)
            return options;
    }
    return NULL;
}

static const rh_option *find_any(const rh_command_def *command, const char *name, size_t size,
                                 char letter)
{
    const rh_option *option = find(command->options, name, size, letter);
    return option ? option : find(common, name, size, letter);
}

static bool unknown(const rh_command_def *command, const char *word, size_t size, rh_error *error)
{
    const char *names[64];
    size_t count = 0;
    const rh_option *lists[] = {command->options, common};
    for (size_t list = 0; list < 2; list++)
        for (const rh_option *o = lists[list]; o && o->name && count + 1 < 64; o++)
            names[count++] = o->name;
    names[count] = NULL;
    char *name = rh_strndup(word, size);
    const char *near = rh_suggest(name, names);
    rh_fail(error, "usage",
            near ? "unknown option --%s: did you mean --%s?"
                 : "unknown option --%s. See `rollouthost %s --help`",
            name, near ? near : command->name);
    free(name);
    return false;
}

static bool give(rh_args *args, const rh_option *option, const char *value, rh_error *error)
{
    if (!option->many && rh_arg(args, option->name))
        return rh_fail(error, "usage", "option --%s is given twice. Keep one of them",
                       option->name);
    args->given = rh_realloc(args->given, (args->given_count + 1) * sizeof *args->given);
    args->given[args->given_count++] = (struct rh_given){option, value};
    return true;
}

/* One option at argv[0]; *used is the number of words that it took. */
static bool take_option(rh_args *args, char **argv, int *used, rh_error *error)
{
    const char *word = argv[0];
    const bool is_long = word[1] == '-';
    const char *name = is_long ? word + 2 : word + 1;
    const char *equals = is_long ? strchr(name, '=') : NULL;
    const size_t size = equals ? (size_t)(equals - name) : strlen(name);
    if (!is_long && size != 1)
        return rh_fail(error, "usage",
                       "unknown option %s: long options have two dashes, as in --%s", word, name);
    const rh_option *option = find_any(args->command, name, size, is_long ? 0 : name[0]);
    if (!option && is_long)
        return unknown(args->command, name, size, error);
    if (!option)
        return rh_fail(error, "usage", "unknown option %s. See `rollouthost %s --help`", word,
                       args->command->name);
    *used = 1;
    if (!option->value) {
        if (equals)
            return rh_fail(error, "usage", "option --%s takes no value", option->name);
        return give(args, option, "", error);
    }
    const char *value = equals ? equals + 1 : argv[1];
    /* A forgotten value must not swallow the next option; one that does begin with dashes takes the = form. */
    if (!value || !*value || (!equals && value[0] == '-' && value[1] == '-'))
        return rh_fail(error, "usage", "option --%s needs a value: --%s %s", option->name,
                       option->name, option->value);
    if (!equals)
        *used = 2;
    return give(args, option, value, error);
}

static bool check_count(const rh_args *args, rh_error *error)
{
    const rh_command_def *command = args->command;
    if (args->count < command->least)
        return rh_fail(error, "usage", "%s: something is missing. Usage: rollouthost %s %s",
                       command->name, command->name, command->usage);
    if (command->most >= 0 && args->count > command->most)
        return rh_fail(error, "usage", "%s: unexpected \"%s\". Usage: rollouthost %s %s",
                       command->name, args->words[command->most], command->name, command->usage);
    return true;
}

bool rh_args_parse(rh_args *args, const rh_command_def *command, char **argv, bool *help,
                   rh_error *error)
{
    int count = 0;
    while (argv[count])
        count++;
    *args =
        (rh_args){.command = command, .words = rh_alloc(((size_t)count + 1) * sizeof *args->words)};
    *help = false;
    bool options = !command->raw;
    for (int i = 0; i < count;) {
        int used = 1;
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1]) {
            if (!take_option(args, argv + i, &used, error))
                return false;
        } else
            args->words[args->count++] = argv[i];
        i += used;
    }
    *help = rh_flag(args, "help");
    return *help || check_count(args, error);
}

void rh_args_free(rh_args *args)
{
    free(args->words);
    free(args->given);
    *args = (rh_args){0};
}

const char *rh_arg(const rh_args *args, const char *name)
{
    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0)
            return args->given[i].value;
    return NULL;
}

bool rh_flag(const rh_args *args, const char *name) { return rh_arg(args, name) != NULL; }

const char **rh_arg_all(const rh_args *args, const char *name)
{
    const char **values = rh_alloc((args->given_count + 1) * sizeof *values);
    size_t count = 0;
    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0)
            values[count++] = args->given[i].value;
    return values;
}

const char *rh_word(const rh_args *args, int index)
{
    return index < args->count ? args->words[index] : NULL;
}
