/* docker: answers of the Engine API that come bit by bit (a log, a command's output, a pull's progress), by the http
 * engine. What comes is masked at once and waits, bounded, until it is asked for; libcurl pauses meanwhile. */
#ifndef RH_MODULES_DOCKER_H
#define RH_MODULES_DOCKER_H

#include "modules/http/http.h"

#include "frames.h"

/* Bytes that wait, of both streams, before the engine is held up. */
enum { RH_DOCKER_WAITING = 1024 * 1024 };

typedef struct rh_docker_next rh_docker_next;

/* An answer on its way. It is an operation that nobody awaits: its owner holds it (rh_op_retain) and awaits one
 * rh_docker_next after the other. */
typedef struct rh_docker_stream {
    rh_http_request request;
    bool framed; /* two streams in frames; otherwise all of it is `out` */
    bool ended, paused;
    rh_docker_frames frames;
    struct rh_mask_stream *masks[2];
    rh_buffer raw[2];   /* of the two streams, while they are masked: kept for its memory */
    rh_buffer out, err; /* masked, not yet taken */
    char *log_path;     /* what comes is appended there too, once something does; or NULL */
    int log;
    bool lines;        /* only whole lines go there */
    rh_buffer rest[2]; /* of each stream, what waits for its line's end */
    rh_error broken;
    rh_docker_next *waiter;
} rh_docker_stream;

/* Done when there is more, or when all of it has come: stream->ended, and nothing in its buffers. op.error is how the
 * stream failed. Holds the stream. */
struct rh_docker_next {
    rh_op op;
    rh_docker_stream *stream;
};

/* The engine that requests go through, before anything else is called. */
void rh_docker_use(const rh_http_engine *http);
/* As rh_http_start, and under the same terms. `log`: a file that what comes is appended to, masked, or NULL; `lines`: whole
 * lines only, so that those of the two streams do not mix. */
bool rh_docker_start(rh_docker_stream *stream, const rh_http_spec *spec, bool framed,
                     const char *log, bool lines, rh_error *error);
/* For the class of streams. */
void rh_docker_cancel(rh_op *op);
void rh_docker_fini(rh_op *op);

/* One at a time of each stream. */
void rh_docker_next_start(rh_docker_next *next, rh_docker_stream *stream);
void rh_docker_next_cancel(rh_op *op);
void rh_docker_next_fini(rh_op *op);
/* What has come has been taken: empties the buffers, and lets more come. */
void rh_docker_taken(rh_docker_stream *stream);

#endif
