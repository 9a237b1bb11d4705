#include "cli/cli.h"

/* In the order of the help. */
extern const rh_command_def rh_command_run, rh_command_plan, rh_command_resume, rh_command_pause,
    rh_command_rollback, rh_command_abort, rh_command_approve, rh_command_reject,
    rh_command_confirm, rh_command_decide, rh_command_runs, rh_command_status, rh_command_show,
    rh_command_log, rh_command_lock, rh_command_unlock, rh_command_doctor, rh_command_lua,
    rh_command_help, rh_command_version;

const rh_command_def *const rh_commands_table[] = {
    &rh_command_run,     &rh_command_plan,     &rh_command_resume,
    &rh_command_pause,   &rh_command_rollback, &rh_command_abort,
    &rh_command_approve, &rh_command_reject,   &rh_command_confirm,
    &rh_command_decide,  &rh_command_runs,     &rh_command_status,
    &rh_command_show,    &rh_command_log,      &rh_command_lock,
    &rh_command_unlock,  &rh_command_doctor,   &rh_command_lua,
    &rh_command_help,    &rh_command_version,  NULL,
};
