/* Frames between the host and its guardian: { size, type, handle } and values, in the machine's own byte
 * order (both ends run on one kernel). A handle names a command on one connection; the host chooses it.
 *
 * A buffer holds any number of frames, the last of them perhaps incomplete. Reading never leaves the frame:
 * a value that is not there makes the frame `bad` and reads as 0 or NULL. */
#ifndef RH_CORE_FRAME_H
#define RH_CORE_FRAME_H

#include "core/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RH_FRAME_PROTOCOL = 1,
    RH_FRAME_LIMIT = 80 << 20, /* bytes; standard input's bytes go in one frame */
    RH_FRAME_SHORT = 16 << 10, /* output that EXITED carries itself; more is in the spool file */
};

typedef enum rh_frame_type {
    /* host to guardian */
    RH_FRAME_SECRETS = 1, /* count, { name, user or NULL, value }… */
    RH_FRAME_START, /* see rh_guard_start (guard/connection.c): the fields of rh_command_spec */
    RH_FRAME_CANCEL,
    RH_FRAME_STOP,     /* id, pid, start time, grace: EXITED follows when it is gone */
    RH_FRAME_SHUTDOWN, /* ends every command, then the guardian */
    /* guardian to host */
    RH_FRAME_HELLO = 32, /* protocol, pid: what earlier hosts had sent is processed */
    RH_FRAME_STARTED,    /* pid, flags */
    RH_FRAME_OUTPUT,     /* stream (1, 2), masked text: for display, may be left out */
    RH_FRAME_EXITED, /* flags code signal pid ms raw_out raw_err out err, texts of out and err if short */
    RH_FRAME_ERROR, /* what (rh_frame_failure), message */
} rh_frame_type;

typedef enum rh_frame_failure {
    RH_FAILURE_USAGE = 1,
    RH_FAILURE_NOT_FOUND,
    RH_FAILURE_CWD,
    RH_FAILURE_IO,
    RH_FAILURE_UNKNOWN, /* no such command */
    RH_FAILURE_LOST,    /* it has ended, and nobody saw how */
} rh_frame_failure;

enum { /* of STARTED, EXITED and the ledger's exit line */
       RH_EXIT_TIMED_OUT = 1,
       RH_EXIT_CANCELLED = 2,
       RH_EXIT_HELD = 4,
       RH_EXIT_OUTPUT_LOST = 8, /* the spool or the log could not be written */
       RH_EXIT_ADOPTED = 16,    /* started for an earlier host */
       RH_EXIT_SHORT = 32,      /* the frame carries the whole output */
};

typedef struct rh_frame {
    rh_frame_type type;
    uint32_t handle;
    const char *at, *end; /* what is still to be read */
    bool bad;
} rh_frame;

/* Writing: begin, put…, end(mark). */
size_t rh_frame_begin(rh_buffer *buffer, rh_frame_type type, uint32_t handle);
void rh_frame_put(rh_buffer *buffer, int64_t value);
void rh_frame_put_bytes(rh_buffer *buffer, const void *bytes, size_t size); /* NULL stays NULL */
void rh_frame_put_text(rh_buffer *buffer, const char *text);                /* NULL stays NULL */
void rh_frame_end(rh_buffer *buffer, size_t mark);

/* Reads the frame at the start of the bytes: its length, 0 if it is not all there, -1 if it is none. */
int64_t rh_frame_read(const char *bytes, size_t size, rh_frame *frame);
int64_t rh_frame_get(rh_frame *frame);
/* NUL-terminated bytes within the buffer; NULL for NULL and for a bad frame. size may be NULL. */
const char *rh_frame_get_bytes(rh_frame *frame, size_t *size);

#endif
