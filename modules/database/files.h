/* Files of backups: an archive is a file or a folder. The rest of the file system is the fs module's. */
#ifndef RH_MODULES_DATABASE_FILES_H
#define RH_MODULES_DATABASE_FILES_H

#include "core/op.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a file, or of all files of a folder; -1: nothing is there. */
int64_t rh_database_size(const char *path);
/* How far the file that a process has open under this number is read or written; -1: that cannot be told. */
int64_t rh_database_offset(int64_t pid, int fd);
/* A file, or a folder with all that is in it; nothing there is fine. */
bool rh_database_remove(const char *path, rh_error *error);

typedef struct rh_database_publish {
    rh_op op;
    char *path, *to; /* owned */
} rh_database_publish;

/* Syncs `path` (a file, or a folder with its files), renames it to `to`, which must not exist, and syncs the
 * folder around it: on libuv's threads. */
bool rh_database_publish_start(rh_database_publish *publish, rh_error *error);
void rh_database_publish_fini(rh_op *op);

#endif
