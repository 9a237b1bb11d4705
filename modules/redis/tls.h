/* TLS between bytes and bytes: what the network gives is taken, what it is to get is handed out. Whoever is at the other end
 * must have a certificate of a known authority for the host's name or address. */
#ifndef RH_MODULES_REDIS_TLS_H
#define RH_MODULES_REDIS_TLS_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct rh_redis_tls rh_redis_tls;

/* NULL: *error (code "tls") says why, such as a `ca` that cannot be read. */
rh_redis_tls *rh_redis_tls_new(const char *host, const char *ca, rh_error *error);
void rh_redis_tls_free(rh_redis_tls *tls); /* NULL is allowed */
/* What came from the network. */
void rh_redis_tls_take(rh_redis_tls *tls, const char *bytes, size_t size);
/* Goes on shaking hands: 1 done, 0 the network has to be waited for, -1 refused, with *error. */
int rh_redis_tls_shake(rh_redis_tls *tls, rh_error *error);
void rh_redis_tls_say(rh_redis_tls *tls, const char *bytes, size_t size);
/* Reads what was said there: bytes, 0 nothing yet, -1 with *error (reset, tls). */
int rh_redis_tls_hear(rh_redis_tls *tls, char *bytes, size_t room, rh_error *error);
/* Moves what is to be sent to the end of *out. */
void rh_redis_tls_give(rh_redis_tls *tls, rh_buffer *out);

#endif
