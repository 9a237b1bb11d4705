/* Waiting for a command that somebody else started, for a text in a file that it writes, or for the time. */
#ifndef RH_MODULES_MYSQL_WATCH_H
#define RH_MODULES_MYSQL_WATCH_H

#include "core/command.h"

typedef enum { RH_WATCH_ENDED, RH_WATCH_FOUND, RH_WATCH_TICK } rh_mysql_seen;

typedef struct rh_mysql_watch {
    rh_op op;
    rh_mysql_seen seen; /* the result */
    rh_command *command;
    char *path, *text;
    void *impl;
} rh_mysql_watch;

/* Done when the command has ended, when the file at `path` (NULL: none) holds `text`, or after `ms`. Keeps a
 * reference to the command; its result and error stay its own. */
void rh_mysql_watch_start(rh_mysql_watch *watch, rh_command *command, int64_t ms, const char *path,
                          const char *text);
void rh_mysql_watch_cancel(rh_op *op);
void rh_mysql_watch_fini(rh_op *op);

#endif
