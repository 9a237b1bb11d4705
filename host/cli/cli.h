/* The command line. One file a command, each one `const struct rh_command_def`; table.c lists them; help, the
 * parser and the suggestions come from the definitions. */
#ifndef RH_CLI_CLI_H
#define RH_CLI_CLI_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

/* The documented exit codes. */
enum {
    RH_EXIT_OK = 0,
    RH_EXIT_STOPPED = 1,
    RH_EXIT_USAGE = 2,
    RH_EXIT_ROLLED_BACK = 3,
    RH_EXIT_STUCK = 4,
    RH_EXIT_WAITING = 5,
    RH_EXIT_LOCKED = 6,
    RH_EXIT_DOUBT = 7,
    RH_EXIT_BROKEN = 8,
};

typedef struct rh_option {
    const char *name;  /* without the dashes */
    char letter;       /* short form, or 0 */
    const char *value; /* what stands for its value in the help ("DIR"); NULL: a flag */
    bool many;         /* may be given more than once */
    const char *help;
} rh_option;

typedef struct rh_args rh_args;

typedef struct rh_command_def {
    const char *name;
    const char *summary; /* one line for the list of commands */
    const char *usage;   /* what follows the name: "[RUN] [--reason WHY]" */
    const char *about;   /* a few lines for its own help, or NULL */
    const rh_option
        *options;    /* ends with an empty one; NULL: none. --help and --state are always there */
    int least, most; /* positional arguments; most < 0: any number */
    bool raw;        /* arguments are handed over unparsed (lua) */
    int (*run)(const rh_args *args); /* returns the exit code */
} rh_command_def;

struct rh_args {
    const rh_command_def *command;
    const char **words; /* positional arguments, NULL-terminated */
    int count;
    struct rh_given {
        const rh_option *option;
        const char *value;
    } * given;
    size_t given_count;
};

/* All commands in the order in which help lists them, NULL-terminated. */
extern const rh_command_def *const rh_commands_table[];
const rh_command_def *rh_command_find(const char *name);

/* Parses argv (without program and command name) strictly. On false *error says what is wrong, with a
 * suggestion. *args points into argv; free it with rh_args_free(). `help`: --help was given. */
bool rh_args_parse(rh_args *args, const rh_command_def *command, char **argv, bool *help,
                   rh_error *error);
void rh_args_free(rh_args *args);
/* The value of an option, NULL if it was not given; a flag's value is "". */
const char *rh_arg(const rh_args *args, const char *name);
bool rh_flag(const rh_args *args, const char *name);
/* All values of a `many` option, NULL-terminated; free() the array, not the values. */
const char **rh_arg_all(const rh_args *args, const char *name);
const char *rh_word(const rh_args *args, int index); /* positional, or NULL */

/* `rollouthost: message` on stderr; returns `code`. The error is cleared. */
int rh_complain(int code, rh_error *error);
/* The same from a format. */
int rh_complainf(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says that there is no playbook of that path, with the nearest one beside it; returns the exit code. */
int rh_cli_no_playbook(const char *path);

/* Help on stdout: the overview, or one command's. */
void rh_help_overview(void);
void rh_help_command(const rh_command_def *command);

int rh_cli_main(int argc, char **argv);

#endif
