#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_options(const rh_option *options)
{
    for (; options && options->name; options++) {
        char name[64];
        snprintf(name, sizeof name, "%s--%s%s%s", options->letter ? "" : "    ", options->name,
                 options->value ? " " : "", options->value ? options->value : "");
        if (options->letter)
            printf("  -%c, %-22s %s\n", options->letter, name, options->help);
        else
            printf("  %-26s %s\n", name, options->help);
    }
}

void rh_help_overview(void)
{
    puts(
        "rollouthost runs deployment playbooks: each step once, each gate measured, each failure undone.\n\n"
        "Usage:  rollouthost PLAYBOOK [--env E] [--set NAME=VALUE]…\n"
        "        rollouthost COMMAND …\n\n"
        "Commands:");
    for (const rh_command_def *const *command = rh_commands_table; *command; command++)
        printf("  %-10s %s\n", (*command)->name, (*command)->summary);
    puts(
        "\n`rollouthost COMMAND --help` tells more. A RUN may be an unambiguous part of its name.\n\n"
        "Exit codes:  0 succeeded   1 stopped, nothing rolled back   2 usage   3 failed and rolled back\n"
        "             4 rollback stuck   5 waiting or paused   6 locked   7 in doubt   8 the host cannot go on");
}

void rh_help_command(const rh_command_def *command)
{
    printf("rollouthost %s: %s\n\nUsage:  rollouthost %s%s%s\n", command->name, command->summary,
           command->name, *command->usage ? " " : "", command->usage);
    if (command->about)
        printf("\n%s\n", command->about);
    if (command->raw)
        return;
    puts("\nOptions:");
    print_options(command->options);
    print_options((const rh_option[]){
        {.name = "state", .value = "DIR", .help = "state folder (or ROLLOUTHOST_STATE)"},
        {.name = "help", .letter = 'h', .help = "this help"},
        {0},
    });
}
