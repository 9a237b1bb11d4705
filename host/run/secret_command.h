/* secret { "NAME", command = { "op", "read", … } }: a secret that a password manager prints. */
#ifndef RH_RUN_SECRET_COMMAND_H
#define RH_RUN_SECRET_COMMAND_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Runs the command to its end, for at most `timeout_ms`, outside of the guardian, whose spool would keep what it prints:
 * its output stays in this process's memory. Nothing else happens meanwhile: secrets are opened in the middle of native
 * code that cannot wait. `argv` is NULL-terminated. Appends what it printed, without the newline at its end, to `text`
 * (rh_secret_command_forget() it). Errors: "secret": it is not found, fails, prints too much or takes too long; what it
 * printed is in no message. `name` is the secret's. */
bool rh_secret_command(const char *name, const char *const *argv, uint64_t timeout_ms,
                       rh_buffer *text, rh_error *error);
void rh_secret_command_forget(rh_buffer *text); /* wipes and frees it */

#endif
