/* Executing a run in this process: display, signals, rh_run_execute(), exit code. */
#ifndef RH_CLI_EXECUTE_H
#define RH_CLI_EXECUTE_H

#include "cli/cli.h"
#include "run/run.h"

/* Fills in state, output and what the options of every executing command say, runs the request and returns the
 * exit code. The messages are printed. */
int rh_cli_execute(const rh_args *args, rh_run_request *request);

/* Starts the playbook that the arguments name, with intent "run" or "plan". */
int rh_cli_start(const rh_args *args, const char *intent);

/* The options that commands which execute a run share. */
#define RH_OPTION_ENV                                                                              \
    {                                                                                              \
        .name = "env", .value = "E",                                                               \
        .help = "the environment; may be left out where there is only one"                         \
    }
#define RH_OPTION_SET                                                                              \
    {                                                                                              \
        .name = "set", .value = "NAME=VALUE", .many = true, .help = "an input; once for each"      \
    }
#define RH_OPTION_AT                                                                               \
    {                                                                                              \
        .name = "at", .value = "TIME",                                                             \
        .help = "the planned time that `before=` counts from: 2026-11-24T22:00"                    \
    }
#define RH_OPTION_OUTPUT                                                                           \
    {                                                                                              \
        .name = "output", .value = "MODE", .help = "auto, plain or json (auto: plain in a pipe)"   \
    }
#define RH_OPTION_WAIT                                                                             \
    {                                                                                              \
        .name = "wait", .help = "wait for a lock or a window instead of stopping"                  \
    }
#define RH_OPTION_YES                                                                              \
    {                                                                                              \
        .name = "yes",                                                                             \
        .help = "no questions about starting; answers no approval, check or data loss"             \
    }
#define RH_OPTION_ENV_FILE                                                                         \
    {                                                                                              \
        .name = "env-file", .value = "FILE", .help = "more variables and secrets, as NAME=value"   \
    }
#define RH_OPTION_ROLES                                                                            \
    {                                                                                              \
        .name = "roles", .value = "FILE", .help = "who has which role"                             \
    }
#define RH_OPTION_EMERGENCY                                                                        \
    {                                                                                              \
        .name = "emergency", .value = "WHY",                                                       \
        .help = "outside its window: the technical lead is asked instead"                          \
    }

#endif
