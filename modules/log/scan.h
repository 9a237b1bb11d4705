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
    bool has_except;
    rh_log_place place; /* where to begin, then where `now` stands */
    bool placed;        /* `place` counts, and not from_ms */
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

/* What there is of a log at a moment: the file, and those that rotation has made of it. */
typedef struct rh_log_files {
    int fd; /* of the file; -1: there is none just now */
    struct stat current;
    rh_log_rotated *list; /* the oldest first */
    size_t count;
    size_t first; /* the first that was made since the place in question, or `count` */
} rh_log_files;

/* Looks. Undo it with rh_log_looked(). */
bool rh_log_look(const char *path, const rh_log_place *since, rh_log_files *files, rh_error *error);
void rh_log_looked(rh_log_files *files);
/* Opens a rotated file; -1 where it is gone or compressed. */
int rh_log_open(const rh_log_rotated *file);
/* The place in an open file (-1: none) when these files are there. */
bool rh_log_place_of(int fd, int64_t offset, const rh_log_files *files, rh_log_place *place);

/* Sets log->now to what is to be read first, fd -1 where that is files->first, and files->first to what is to be read after
 * it. Notes a gap. The first two begin, the third goes on. */
void rh_log_begin_at_time(rh_log *log, rh_log_files *files);
void rh_log_begin_at_place(rh_log *log, rh_log_files *files);
void rh_log_go_on(rh_log *log, rh_log_files *files);

#endif
