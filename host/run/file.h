/* Small files of the state folder: read whole, written by rename. Synchronous: they are a few hundred bytes. */
#ifndef RH_RUN_FILE_H
#define RH_RUN_FILE_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Appends the file's bytes; "io" when it cannot be read, "too_large" above `limit` bytes. */
bool rh_file_read(const char *path, size_t limit, rh_buffer *out, rh_error *error);
/* The file is complete under its name or not there at all; `durable`: it and its name are on disk on return.
 * On errors errno says why as well. */
bool rh_file_write(const char *path, const void *data, size_t size, mode_t mode, bool durable,
                   rh_error *error);
bool rh_file_sync_folder(const char *path,
                         rh_error *error); /* the folder's entries are on disk on return */
/* A part of a file name made of any text: what is not a letter, digit, '.', '_' or '-' becomes %XX, and so
 * does a leading '.'. free() it. */
char *rh_file_safe(const char *text);

#endif
