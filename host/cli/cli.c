#include "cli/cli.h"

#include "core/buffer.h"
#include "core/mask.h"
#include "core/suggest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rh_complain(int code, rh_error *error)
{
    const char *text = error->message ? error->message : "something failed without a reason";
    rh_buffer masked = {0};
    rh_mask_text(rh_mask_process(), text, strlen(text), &masked);
    fprintf(stderr, "rollouthost: %s\n", masked.data ? masked.data : "");
    rh_buffer_free(&masked);
    rh_error_clear(error);
    return code;
}

int rh_complainf(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = rh_vformat(format, args);
    va_end(args);
    fprintf(stderr, "rollouthost: %s\n", text);
    free(text);
    return code;
}

const rh_command_def *rh_command_find(const char *name)
{
    for (const rh_command_def *const *command = rh_commands_table; *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}

static bool looks_like_path(const char *word)
{
    const size_t size = strlen(word);
    return strchr(word, '/') || (size > 4 && strcmp(word + size - 4, ".lua") == 0);
}

static int unknown_command(const char *word)
{
    if (looks_like_path(word))
        return rh_cli_no_playbook(word);
    const char *names[64];
    size_t count = 0;
    for (const rh_command_def *const *command = rh_commands_table; *command && count < 63;
         command++)
        names[count++] = (*command)->name;
    names[count] = NULL;
    const char *near = rh_suggest(word, names);
    if (near)
        return rh_complainf(RH_EXIT_USAGE, "unknown command \"%s\": did you mean \"%s\"?", word,
                            near);
    return rh_complainf(RH_EXIT_USAGE,
                        "\"%s\" is neither a command nor a playbook. See `rollouthost --help`",
                        word);
}

static int dispatch(const rh_command_def *command, char **argv)
{
    rh_args args;
    rh_error error = {0};
    bool help = false;
    int code = RH_EXIT_OK;
    if (command->raw && argv[0] && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        rh_help_command(command);
    else if (!rh_args_parse(&args, command, argv, &help, &error)) {
        code = rh_complain(RH_EXIT_USAGE, &error);
        rh_args_free(&args);
    } else {
        if (help)
            rh_help_command(command);
        else
            code = command->run(&args);
        rh_args_free(&args);
    }
    if (fflush(stdout) != 0 && code == RH_EXIT_OK)
        code = RH_EXIT_STOPPED;
    return code;
}

int rh_cli_main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        rh_help_overview();
        return RH_EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return dispatch(rh_command_find("help"), argv + 2);
    if (strcmp(word, "--version") == 0)
        return dispatch(rh_command_find("version"), argv + 2);
    const rh_command_def *command = rh_command_find(word);
    if (command)
        return dispatch(command, argv + 2);
    /* Options may stand before the playbook: the strict parser tells a wrong one. */
    const rh_command_def *run = rh_command_find("run");
    if (run && (word[0] == '-' || access(word, F_OK) == 0))
        return dispatch(run, argv + 1);
    return unknown_command(word);
}
