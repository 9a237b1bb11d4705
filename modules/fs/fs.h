/* Files, off the loop: every call runs in libuv's thread pool and ends as an rh_op.
 *
 * Ownership: rh_fs_start() copies what the request points to; results belong to the op and are freed with
 * it. Errors: code "io" with the path and the reason, "cancelled", and those named below. */
#ifndef RH_FS_H
#define RH_FS_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uv.h>

typedef enum rh_fs_verb {
    RH_FS_STAT,  /* found, stat */
    RH_FS_READ,  /* data; "too_large" where there is more than `limit` bytes */
    RH_FS_WRITE, /* size, digest, path: atomically, durable when done */
    RH_FS_COPY, /* size, digest, path: the same from a file; "checksum" if what was written reads differently */
    RH_FS_MKDIR,  /* with its parents; found: it was there */
    RH_FS_REMOVE, /* found: there was a file; "directory" */
    RH_FS_LIST,   /* names, sorted bytewise */
    RH_FS_GLOB,   /* names, sorted bytewise */
    RH_FS_SHA256, /* size, digest */
    RH_FS_FREE,   /* size: what the user may still write there */
} rh_fs_verb;

typedef struct rh_fs_request {
    rh_fs_verb verb;
    const char *path;
    const char *to;   /* copy */
    const void *data; /* write */
    size_t data_size;
    int mode; /* of what is created; -1: that of the file that is replaced, else 0644 (a folder: 0755) */
    int64_t limit; /* read: bytes */
} rh_fs_request;

/* Embedded first in nothing else: the op itself. The class's cancel and fini are rh_fs_cancel, rh_fs_fini. */
typedef struct rh_fs {
    rh_op op;
    uv_work_t work;
    atomic_bool stop;
    rh_fs_verb verb;
    char *path, *to;
    rh_buffer data;
    int mode;
    int64_t limit;
    /* results */
    bool found;
    struct stat stat;
    int64_t size;
    char digest[65];
    char **names;
    size_t names_count;
} rh_fs;

bool rh_fs_start(rh_fs *fs, const rh_fs_request *request, rh_error *error);
void rh_fs_cancel(rh_op *op);
void rh_fs_fini(rh_op *op);

/* The thread's side, one function a verb; each returns false with fs->op.error set. */
bool rh_fs_do_write(rh_fs *fs);
bool rh_fs_do_copy(rh_fs *fs);
bool rh_fs_do_sha256(rh_fs *fs);

#endif
