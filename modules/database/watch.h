/* Waiting for a command that somebody else started, for a text in a file that it writes, or for the time. */
#ifndef RH_MODULES_DATABASE_WATCH_H
#define RH_MODULES_DATABASE_WATCH_H

#include "core/command.h"

typedef enum { RH_WATCH_ENDED, RH_WATCH_FOUND, RH_WATCH_TICK } rh_database_seen;

typedef struct rh_database_watch {
    rh_op op;
    rh_database_seen seen; /* the result */
    rh_command *command;
    char *path, *text;
    void *impl;
} rh_database_watch;

/* Done when the command has ended, when the file at `path` (NULL: none) holds `text`, or after `ms`. Keeps a
 * reference to the command; its result and error stay its own. */
void rh_database_watch_start(rh_database_watch *watch, rh_command *command, int64_t ms,
                             const char *path, const char *text);
void rh_database_watch_cancel(rh_op *op);
void rh_database_watch_fini(rh_op *op);

#endif
