#include "core/digest.h"

#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void rh_hex(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void rh_sha256_hex(const void *data, size_t size, char out[RH_SHA256_HEX])
{
    struct sha256_ctx context;
    uint8_t digest[RH_SHA256_SIZE];
    sha256_init(&context);
    sha256_update(&context, size, data);
    sha256_digest(&context, sizeof digest, digest);
    rh_hex(digest, sizeof digest, out);
}

void rh_hmac_sha256_hex(const void *key, size_t key_size, const void *data, size_t size,
                        char out[RH_SHA256_HEX])
{
    struct hmac_sha256_ctx context;
    uint8_t digest[RH_SHA256_SIZE];
    hmac_sha256_set_key(&context, key_size, key);
    hmac_sha256_update(&context, size, data);
    hmac_sha256_digest(&context, sizeof digest, digest);
    rh_hex(digest, sizeof digest, out);
    explicit_bzero(&context, sizeof context);
}

void rh_base64_encode(const void *data, size_t size, rh_buffer *out)
{
    rh_buffer_reserve(out, BASE64_ENCODE_RAW_LENGTH(size));
    base64_encode_raw(out->data + out->size, size, data);
    out->size += BASE64_ENCODE_RAW_LENGTH(size);
    out->data[out->size] = '\0';
}

bool rh_base64_decode(const char *text, size_t size, rh_buffer *out)
{
    struct base64_decode_ctx context;
    size_t written = BASE64_DECODE_LENGTH(size);
    rh_buffer_reserve(out, written);
    base64_decode_init(&context);
    if (!base64_decode_update(&context, &written, (uint8_t *)out->data + out->size, size, text) ||
        !base64_decode_final(&context))
        return false;
    out->size += written;
    out->data[out->size] = '\0';
    return true;
}

void rh_random(void *bytes, size_t size)
{
    if (getrandom(bytes, size, 0) != (ssize_t)size)
        abort();
}
