/* Bytes between a transfer and a file. The file is read, written, hashed and made durable in libuv's pool, a
 * chunk ahead of the transfer or behind it, so that neither a slow disk nor SHA-256 holds up the loop and
 * memory stays at two chunks.
 *
 *      libcurl  <- rh_http_file_take   two chunks  <- pool: read, hash      a source
 *      libcurl  -> rh_http_file_give   two chunks  -> pool: hash, write     a sink
 *
 * Where the pool is behind, both answer RH_HTTP_LATER, and `ready` is called (from the loop, outside of
 * libcurl) when it is worth another try. */
#ifndef RH_MODULES_HTTP_FILE_H
#define RH_MODULES_HTTP_FILE_H

#include "core/digest.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_http_file rh_http_file;
typedef void (*rh_http_file_fn)(void *data);

enum { RH_HTTP_LATER = -1, RH_HTTP_BROKEN = -2 };

/* A part of a file to be sent: `size` < 0 means all from `offset` on. NULL: *error says why it cannot be read. */
rh_http_file *rh_http_source(const char *path, int64_t offset, int64_t size, rh_http_file_fn ready,
                             void *data, rh_error *error);
int64_t rh_http_source_size(const rh_http_file *file);
int64_t rh_http_source_whole(const rh_http_file *file); /* of the file that it is a part of */
/* Up to `room` bytes; 0 at the end, RH_HTTP_LATER, or RH_HTTP_BROKEN (rh_http_file_error). */
int64_t rh_http_file_take(rh_http_file *file, char *bytes, size_t room);
/* Everything was taken: only then its bytes and its digest are those of all. */
bool rh_http_source_is_sent(const rh_http_file *file);
void rh_http_file_rewind(rh_http_file *file);
/* Hashes all of it; then done(data), which may take the digest and must rewind it. */
void rh_http_file_hash(rh_http_file *file, rh_http_file_fn done);

/* Where an answer goes: a file beside `path` that takes its place when it is finished, with its mode or
 * `mode` (< 0: 0644). path NULL: it is only hashed. `mark` is in that file's name, so that the one which a
 * killed process has left is replaced when the same is done again; NULL: the name is a new one. */
rh_http_file *rh_http_sink(const char *path, const char *mark, int mode, rh_http_file_fn ready,
                           void *data, rh_error *error);
/* All of the bytes or none: their number, RH_HTTP_LATER, or RH_HTTP_BROKEN. */
int64_t rh_http_file_give(rh_http_file *file, const char *bytes, size_t size);
/* Writes what is left and compares the digest with `sha256` (hex; NULL: any; code "checksum"); makes it durable
 * and puts it into its place; then done(data): see rh_http_file_error. */
void rh_http_file_finish(rh_http_file *file, const char *sha256, rh_http_file_fn done);

/* What went wrong, or an empty error; while the pool is at it that is not known yet. */
rh_error *rh_http_file_error(rh_http_file *file);
/* Bytes that went through it, and their SHA-256 in hex: once a source is at its end or a sink is finished. */
int64_t rh_http_file_bytes(const rh_http_file *file);
void rh_http_file_digest(const rh_http_file *file, char out[RH_SHA256_HEX]);
/* Lets go of it at once, whatever the pool is doing: nothing is called any more. A sink that is not finished
 * leaves no file behind. NULL is allowed. */
void rh_http_file_close(rh_http_file *file);

#endif
