/* Masking at one place: a streaming matcher that replaces secrets by ‹secret NAME› in everything that
 * leaves the process; the guardian uses the same code. Each secret is searched for raw, each line of a
 * multi-line one, base64 (three offsets, both alphabets) and hex (both cases) also where lines break them,
 * percent-encoded (both cases), JSON-escaped, shell- and SQL-quoted, across chunk borders. No Lua, no libuv in here. */
#ifndef RH_CORE_MASK_H
#define RH_CORE_MASK_H

#include "core/buffer.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct rh_mask rh_mask;               /* the set of secrets */
typedef struct rh_mask_stream rh_mask_stream; /* one stream being masked */

rh_mask *rh_mask_new(void);
void rh_mask_free(rh_mask *mask);
rh_mask *rh_mask_process(void); /* the process's own set */
/* Adds a secret (copied) under the name that replaces it. False: shorter than 6 bytes, not masked.
 * Adding the same twice is harmless. Streams that are open see it from the next byte on. */
bool rh_mask_add(rh_mask *mask, const char *name, const char *value, size_t size);
/* Also the base64 of "user:value" (HTTP basic) for a user name that is known. */
bool rh_mask_add_basic(rh_mask *mask, const char *name, const char *user, const char *value,
                       size_t size);
bool rh_mask_is_empty(const rh_mask *mask);
/* Calls fn for each secret: how the host hands its set to the guardian. `user` is NULL, or the user name
 * of rh_mask_add_basic. */
typedef void (*rh_mask_each_fn)(void *data, const char *name, const char *user, const char *value,
                                size_t size);
void rh_mask_each(const rh_mask *mask, rh_mask_each_fn fn, void *data);
unsigned rh_mask_generation(const rh_mask *mask); /* grows with each addition */

/* Appends the masked text of a whole buffer. Returns true if anything was replaced. */
bool rh_mask_text(const rh_mask *mask, const char *text, size_t size, rh_buffer *out);

rh_mask_stream *rh_mask_stream_new(const rh_mask *mask);
/* Feeds bytes; what is certain is appended to out. Held back is only what may be a secret's beginning. */
void rh_mask_stream_feed(rh_mask_stream *stream, const char *bytes, size_t size, rh_buffer *out);
void rh_mask_stream_end(rh_mask_stream *stream,
                        rh_buffer *out); /* the rest; the stream can be reused */
void rh_mask_stream_free(rh_mask_stream *stream);

#endif
