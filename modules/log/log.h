/* log: lines of a file that is written to, and rotated or truncated meanwhile. A scanner reads on from a place and counts
 * what matches; memory stays the same however much is read.
 *
 *      place (inode, offset, print)          rotated:    app.log.2   app.log.1   app.log
 *                │                                          │  └─ rest ─┘└─ all ──┘└─ all ─ … ─▶ new place
 *                └── found again by inode, or by the bytes before it (copytruncate)
 *
 * What cannot be found again is a gap: lines that nobody has counted. */
#ifndef RH_LOG_H
#define RH_LOG_H

#include "core/op.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

enum {
    RH_LOG_SAMPLES = 5, /* matching lines kept: the first so many, and the last */
    RH_LOG_LINE =
        4096, /* bytes of a kept line: more than is shown, since it is masked before it is cut */
    RH_LOG_LOCAL = 9999 /* this machine's zone */
};

typedef struct rh_log_place {
    uint64_t inode; /* 0: nothing was there: all that comes is new */
    int64_t offset;
    uint64_t print; /* of the bytes before it: another file with this inode has another one */
    uint64_t
        rotated_inode; /* the youngest of the rotated files then, by which those made since are known; 0: none */
    int64_t rotated_ns; /* its last change */
} rh_log_place;

typedef struct rh_log_line {
    int64_t ms; /* since 1970, or 0 where neither it nor a line before it says when */
    size_t size;
    char text[RH_LOG_LINE];
} rh_log_line;

typedef struct rh_log_options {
    const char *match;  /* extended regular expression */
    const char *except; /* lines that match this one do not count; may be NULL */
    bool ignore_case;
    const rh_log_place *place; /* where to begin; NULL: at the first line from `from_ms` on */
    int64_t from_ms; /* lines that say that they are older do not count; 0: all of the file */
    int64_t per_ms;  /* the span that `peak` is about; 0: none */
    int zone;        /* of times that name none: minutes east of UTC, or RH_LOG_LOCAL */
} rh_log_options;

typedef struct rh_log rh_log;

typedef struct rh_log_found {
    int64_t lines, bytes;      /* read, without those before `from_ms` */
    int64_t matches, stamped;  /* of those, matching; with a time */
    int64_t changed_ms;        /* when the file was written to last, by the file system */
    int64_t first_ms, last_ms; /* of the matching lines, or 0 */
    int64_t peak, peak_ms;     /* most matches within any `per_ms`, and when that span ended */
    bool gap;                  /* lines were lost: rotated away, compressed, or truncated */
    bool missing;              /* there is no file */
    rh_log_line first[RH_LOG_SAMPLES],
        last[RH_LOG_SAMPLES];         /* `last` is a ring: number n at n % SAMPLES */
    rh_log_line tail[RH_LOG_SAMPLES]; /* the last lines of all, a ring by `lines` */
} rh_log_found;

/* A scanner of the file at `path`, with one owner; NULL with code "pattern" where an expression is none. Nothing is read yet. */
rh_log *rh_log_new(const char *path, const rh_log_options *options, rh_error *error);
void rh_log_release(rh_log *log);       /* the last owner's frees it; NULL is fine */
bool rh_log_is_busy(const rh_log *log); /* an op reads it on */
/* Reads what there is by now, until `stop`. In any one thread at a time. */
bool rh_log_advance(rh_log *log, const atomic_bool *stop, rh_error *error);
const rh_log_found *rh_log_results(const rh_log *log);
/* Where the file ends now. */
bool rh_log_end(const char *path, rh_log_place *place, rh_error *error);

/* When a line was written, by what stands in its first 200 bytes: ISO 8601 and its like, a web server's date, syslog's, or
 * an epoch at its beginning or in "time" or "ts" of a JSON line. `zone` is that of a time that names none; `now_ms` gives
 * syslog its year. 0: it does not say. */
int64_t rh_log_stamp(const char *line, size_t size, int zone, int64_t now_ms);

/* The files that rotation has made of `path`, the oldest first. Returns their number; free each
 * name, and the list. */
typedef struct rh_log_rotated {
    char *path;
    size_t suffix; /* where its number or date begins */
    uint64_t inode;
    int64_t size, changed_ns;
    bool packed; /* compressed */
} rh_log_rotated;
size_t rh_log_list_rotated(const char *path, rh_log_rotated **list);
void rh_log_free_rotated(rh_log_rotated *list, size_t count);

/* The op of advance and end: work for the thread pool. */
typedef struct rh_log_work {
    rh_op op;
    uv_work_t work;
    atomic_bool stop;
    rh_log *log; /* NULL: end. Owned by the op, too */
    char *path;
    rh_log_place place;  /* of end */
    rh_log_found *found; /* of advance */
} rh_log_work;

void rh_log_retain(rh_log *log);
void rh_log_set_busy(rh_log *log, bool busy);
bool rh_log_work_start(rh_log_work *work, rh_log *log, const char *path, rh_error *error);
void rh_log_work_cancel(rh_op *op);
void rh_log_work_fini(rh_op *op);

/* The op of a wait: until something in the file's folder changes, or `ms` are over. `path` may be NULL. */
typedef struct rh_log_wait {
    rh_op op;
    uv_timer_t *timer;
    uv_fs_event_t *watch; /* NULL where the folder cannot be watched: then the time decides */
} rh_log_wait;

void rh_log_wait_start(rh_log_wait *wait, const char *path, int64_t ms);
void rh_log_wait_cancel(rh_op *op);

#endif
