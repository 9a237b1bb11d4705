#include "frames.h"

enum { STDERR = 2 };

static bool begin_frame(rh_docker_frames *frames, rh_error *error)
{
    const unsigned char *header = frames->header;
    if (header[0] > STDERR || header[1] || header[2] || header[3])
        return rh_fail(error, "protocol",
                       "what the engine sends is not the two streams of a container: a frame "
                       "begins with %02x %02x %02x %02x",
                       header[0], header[1], header[2], header[3]);
    for (size_t i = 4; i < sizeof frames->header; i++)
        frames->left = frames->left << 8 | header[i];
    if (frames->left == 0)
        frames->have = 0;
    return true;
}

bool rh_docker_frames_feed(rh_docker_frames *frames, const char *bytes, size_t size, rh_buffer *out,
                           rh_buffer *err, rh_error *error)
{
    while (size > 0) {
        if (frames->left == 0) {
            frames->header[frames->have++] = (unsigned char)*bytes++;
            size--;
            if (frames->have == sizeof frames->header && !begin_frame(frames, error))
                return false;
            continue;
        }
        size_t part = size < frames->left ? size : frames->left;
        rh_buffer_add(frames->header[0] == STDERR ? err : out, bytes, part);
        bytes += part;
        size -= part;
        frames->left -= part;
        if (frames->left == 0)
            frames->have = 0;
    }
    return true;
}

bool rh_docker_frames_whole(const rh_docker_frames *frames) { return frames->have == 0; }
