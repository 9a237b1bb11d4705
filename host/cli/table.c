#include "cli/cli.h"

extern const rh_command_def rh_command_help, rh_command_version;

const rh_command_def *const rh_commands_table[] = {
    &rh_command_help,
    &rh_command_version,
    NULL,
};
