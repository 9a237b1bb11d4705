/* How a finished backup gets its name; the rest of the file system is the fs module's. */
#ifndef RH_MODULES_MYSQL_FILES_H
#define RH_MODULES_MYSQL_FILES_H

#include "core/op.h"

#include <stdbool.h>

typedef struct rh_mysql_publish {
    rh_op op;
    char *path, *to; /* owned */
} rh_mysql_publish;

/* Syncs `path`, renames it to `to`, which must not exist, and syncs the folder: on libuv's threads. */
bool rh_mysql_publish_start(rh_mysql_publish *publish, rh_error *error);
void rh_mysql_publish_fini(rh_op *op);

#endif
