/* The run's guardian, seen from the host: starts it, or finds the one that an earlier host of this run left
 * behind, and provides rh_commands() with it. One run, one guardian, at most one of both in a process. */
#ifndef RH_RUN_GUARDIAN_H
#define RH_RUN_GUARDIAN_H

#include "core/error.h"

#include <stdbool.h>

/* Called once at the start of a run, by the holder of the run, before the heap grows. A guardian that is
 * alive is waited for until it has processed all that the earlier host had sent, so that the states of
 * commands are true. The program is $ROLLOUTHOST_GUARDIAN, or rollouthost-guardian beside the host's or in
 * ../lib/rollouthost. Errors: "guardian", "io". */
bool rh_guardian_start(const char *run_dir, rh_error *error);

/* The end of this host's turn at the run. With `end_commands` what is still running (services) is ended,
 * TERM, grace, KILL, and awaited; without, it goes on and the next host finds it. Closes every handle. */
void rh_guardian_leave(bool end_commands);

#endif
