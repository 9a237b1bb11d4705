/* The guardian as a process: finding and starting it, and its end. For run/guardian.c. */
#ifndef RH_RUN_GUARDIAN_PROCESS_H
#define RH_RUN_GUARDIAN_PROCESS_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdint.h>

/* Connects to the guardian of the run whose folder is open as `dir`: to the one that is alive, once it says
 * hello, else to a new one. Returns the connection and *pid, or -1. */
int rh_guardian_connect(int dir, const char *run_dir, int64_t *pid, rh_error *error);

/* Sends what is queued and waits until the guardian has hung up, which is the last thing it does. Blocks
 * for as long as that takes; false after `timeout` seconds. */
bool rh_guardian_await_end(int fd, const rh_buffer *queued, int timeout);

#endif
