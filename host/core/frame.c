#include "core/frame.h"

#include <string.h>

enum { HEADER = 3 * sizeof(uint32_t) };

static const uint32_t null_size = UINT32_MAX;

size_t rh_frame_begin(rh_buffer *buffer, rh_frame_type type, uint32_t handle)
{
    size_t mark = buffer->size;
    const uint32_t header[3] = {0, (uint32_t)type, handle};
    rh_buffer_add(buffer, header, sizeof header);
    return mark;
}

void rh_frame_put(rh_buffer *buffer, int64_t value) { rh_buffer_add(buffer, &value, sizeof value); }

void rh_frame_put_bytes(rh_buffer *buffer, const void *bytes, size_t size)
{
    const uint32_t length = bytes ? (uint32_t)size : null_size;
    rh_buffer_add(buffer, &length, sizeof length);
    if (bytes) {
        rh_buffer_add(buffer, bytes, size);
        rh_buffer_add(buffer, "", 1);
    }
}

void rh_frame_put_text(rh_buffer *buffer, const char *text)
{
    rh_frame_put_bytes(buffer, text, text ? strlen(text) : 0);
}

void rh_frame_end(rh_buffer *buffer, size_t mark)
{
    const uint32_t size = (uint32_t)(buffer->size - mark);
    memcpy(buffer->data + mark, &size, sizeof size);
}

int64_t rh_frame_read(const char *bytes, size_t size, rh_frame *frame)
{
    uint32_t header[3];
    if (size < HEADER)
        return 0;
    memcpy(header, bytes, sizeof header);
    if (header[0] < HEADER || header[0] > RH_FRAME_LIMIT)
        return -1;
    if (size < header[0])
        return 0;
    *frame =
        (rh_frame){(rh_frame_type)header[1], header[2], bytes + HEADER, bytes + header[0], false};
    return header[0];
}

/* The next bytes, or NULL. */
static const char *take(rh_frame *frame, size_t size)
{
    if (frame->bad || (size_t)(frame->end - frame->at) < size) {
        frame->bad = true;
        return NULL;
    }
    frame->at += size;
    return frame->at - size;
}

int64_t rh_frame_get(rh_frame *frame)
{
    int64_t value = 0;
    const char *bytes = take(frame, sizeof value);
    if (bytes)
        memcpy(&value, bytes, sizeof value);
    return value;
}

const char *rh_frame_get_bytes(rh_frame *frame, size_t *size)
{
    uint32_t length = null_size;
    const char *bytes = take(frame, sizeof length);
    if (bytes)
        memcpy(&length, bytes, sizeof length);
    if (size)
        *size = 0;
    if (length == null_size)
        return NULL;
    bytes = take(frame, (size_t)length + 1);
    if (bytes && bytes[length] != '\0') {
        frame->bad = true;
        return NULL;
    }
    if (bytes && size)
        *size = length;
    return bytes;
}
