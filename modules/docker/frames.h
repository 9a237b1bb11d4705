/* The two streams of a container without a terminal, which the Engine API sends as one: frames of a kind, a
 * size and so many bytes. */
#ifndef RH_MODULES_DOCKER_FRAMES_H
#define RH_MODULES_DOCKER_FRAMES_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

/* All zero at the beginning of a stream. */
typedef struct rh_docker_frames {
    unsigned char header[8];
    size_t have; /* bytes of the header that have come */
    size_t left; /* bytes of the frame that have not */
} rh_docker_frames;

/* Takes any part of the stream, and appends what is in its frames. False, code "protocol": these are none. */
bool rh_docker_frames_feed(rh_docker_frames *frames, const char *bytes, size_t size, rh_buffer *out,
                           rh_buffer *err, rh_error *error);
/* Whether the stream may end here. */
bool rh_docker_frames_whole(const rh_docker_frames *frames);

#endif
