/* A text that is masked in pieces reads like the text that is masked whole, and holds no secret. The input: the
 * length of the secret, where the pieces end, the secret, the text. */
#include "core/mask.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const size_t piece = (size_t)data[1] + 1;
    const size_t length = data[0] % 32u < size - 2 ? data[0] % 32u : size - 2;
    const char *secret = (const char *)data + 2;
    const char *text = secret + length;
    const size_t text_size = size - 2 - length;
    rh_mask *mask = rh_mask_new();
    rh_buffer whole = {0};
    rh_buffer pieces = {0};
    const bool masked = rh_mask_add(mask, "S", secret, length);
    rh_mask_text(mask, text, text_size, &whole);
    rh_mask_stream *stream = rh_mask_stream_new(mask);
    for (size_t at = 0; at < text_size; at += piece)
        rh_mask_stream_feed(stream, text + at, text_size - at < piece ? text_size - at : piece,
                            &pieces);
    rh_mask_stream_end(stream, &pieces);
    if (whole.size != pieces.size ||
        (whole.size > 0 && memcmp(whole.data, pieces.data, whole.size) != 0))
        abort();
    /* what replaces a secret may complete another occurrence of one that looks like it */
    if (masked && memmem(secret, length, "secret", 6) == NULL &&
        memmem(text, text_size, secret, length) != NULL && whole.size > 0 &&
        memmem(whole.data, whole.size, secret, length) != NULL)
        abort();
    rh_mask_stream_free(stream);
    rh_buffer_free(&whole);
    rh_buffer_free(&pieces);
    rh_mask_free(mask);
    return 0;
}
