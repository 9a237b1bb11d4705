/* secret { "NAME", command = { "op", "read", … } }: a secret that a password manager prints. */
#ifndef RH_RUN_SECRET_COMMAND_H
#define RH_RUN_SECRET_COMMAND_H

#include "core/op.h"

/* Starts the command outside of the guardian, whose spool would keep what it prints: its output stays in this
 * process's memory and becomes the secret `name`, without the newline at its end. The op's value is that secret.
 * `argv` is NULL-terminated and copied. Errors: "secret": it is not found, fails, prints nothing or too much;
 * what it printed is in no message. NULL and *error: it did not start. */
rh_op *rh_secret_command(const char *name, const char *const *argv, rh_error *error);

#endif
