/* SHA-256 and HMAC-SHA-256 as lower-case hex, and base64, on nettle. */
#ifndef RH_CORE_DIGEST_H
#define RH_CORE_DIGEST_H

#include "core/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RH_SHA256_SIZE = 32, RH_SHA256_HEX = 65 }; /* bytes; hex digits and the NUL */

void rh_hex(const uint8_t *bytes, size_t size, char *out); /* out: 2 * size + 1 bytes */
void rh_sha256_hex(const void *data, size_t size, char out[RH_SHA256_HEX]);
void rh_hmac_sha256_hex(const void *key, size_t key_size, const void *data, size_t size,
                        char out[RH_SHA256_HEX]);

void rh_base64_encode(const void *data, size_t size, rh_buffer *out); /* appends */
bool rh_base64_decode(const char *text, size_t size, rh_buffer *out); /* false: not base64 */

/* `size` bytes from the kernel; it is only asked for few, and aborts the process where there are none. */
void rh_random(void *bytes, size_t size);

#endif
