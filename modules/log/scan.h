/* A scanner's inside: scan.c reads, line.c counts, place.c finds files. All of it runs in the thread pool. */
#ifndef RH_LOG_SCAN_H
#define RH_LOG_SCAN_H

#include "log.h"

#include <regex.h>
#include <stddef.h>
#include <sys/stat.h>

typedef struct rh_log_stream {
    int fd; /* -1: none */
    int64_t offset;
    bool skipping; /* within a line whose beginning has been dealt with */
} rh_log_stream;

struct rh_log {
    int owners; /* touched on the loop's thread only, and so is `busy` */
    bool busy;
    char *path;
    regex_t match, except;
    bool has_except, begun;
    rh_log_place place; /* where to begin, then where `now` stands */
    bool placed;
    int64_t from_ms, per_ms;
    int zone;
    rh_log_stream now, before; /* `before` was renamed: whoever writes may not have noticed yet */
    int64_t line_ms;           /* of the last line that says when */
    int64_t started_ms;
    int64_t *window; /* a ring of the matches' times within per_ms */
    size_t window_first, window_count;
    char *buffer;
    rh_log_found found;
};

/* Counts a line, without its newline. */
void rh_log_take_line(rh_log *log, const char *text, size_t size);
/* The same for the whole lines of `size` bytes, whose newlines become NULs; returns how many bytes they are. */
size_t rh_log_take_lines(rh_log *log, rh_log_stream *s, char *bytes, size_t size);

/* A print of the bytes before `offset`. False where they are not there. */
bool rh_log_print(int fd, int64_t offset, uint64_t *print);
/* Whether that file has the place, as it was then. */
bool rh_log_is_at(int fd, const rh_log_place *place);
/* Opens the file to begin with: log->now.fd stays -1 where there is none. */
bool rh_log_begin_at_place(rh_log *log, rh_error *error);
bool rh_log_begin_at_time(rh_log *log, rh_error *error);
/* The next file after the one that has been read to its end, which has been renamed: a younger rotated one, or the log.
 * -1: there is none yet. */
int rh_log_open_next(rh_log *log, const struct stat *own);
/* The file is shorter than what has been read of it, or another one: goes on in the copy that was made before it was
 * truncated, or at its beginning, with a gap. */
void rh_log_cut_short(rh_log *log);

#endif
