#include "scan.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 256 << 10 };

static bool compile(regex_t *regex, const char *text, bool ignore_case, rh_error *error)
{
    char why[128];
    const int status =
        regcomp(regex, text, REG_EXTENDED | REG_NEWLINE | (ignore_case ? REG_ICASE : 0));
    if (status == 0)
        return true;
    regerror(status, regex, why, sizeof why);
    return rh_fail(error, "pattern",
                   "\"%s\" is no extended regular expression (as for grep -E): %s", text, why);
}

rh_log *rh_log_new(const char *path, const rh_log_options *options, rh_error *error)
{
    rh_log *log = rh_alloc(sizeof *log);
    if (!compile(&log->match, options->match, options->ignore_case, error)) {
        free(log);
        return NULL;
    }
    if (options->except && !compile(&log->except, options->except, options->ignore_case, error)) {
        regfree(&log->match);
        free(log);
        return NULL;
    }
    log->owners = 1;
    log->has_except = options->except != NULL;
    log->path = rh_strdup(path);
    log->placed = options->place != NULL;
    if (options->place)
        log->place = *options->place;
    log->from_ms = options->from_ms;
    log->per_ms = options->per_ms;
    log->zone = options->zone;
    log->now.fd = log->before.fd = -1;
    return log;
}

static void close_stream(rh_log_stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    *s = (rh_log_stream){.fd = -1};
}

void rh_log_release(rh_log *log)
{
    if (!log || --log->owners > 0)
        return;
    close_stream(&log->now);
    close_stream(&log->before);
    regfree(&log->match);
    if (log->has_except)
        regfree(&log->except);
    free(log->window);
    free(log->path);
    free(log);
}

bool rh_log_is_busy(const rh_log *log) { return log->busy; }

void rh_log_set_busy(rh_log *log, bool busy) { log->busy = busy; }

void rh_log_retain(rh_log *log) { log->owners++; }

const rh_log_found *rh_log_results(const rh_log *log) { return &log->found; }

/* To the end of the file; a last line without its newline is left, unless `all`. */
static bool read_on(rh_log *log, rh_log_stream *s, bool all, const atomic_bool *stop,
                    rh_error *error)
{
    while (s->fd >= 0 && !atomic_load(stop)) {
        const ssize_t got = pread(s->fd, log->buffer, CHUNK, s->offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(error, errno, "cannot read the log %s", log->path);
        const size_t size = (size_t)got;
        size_t taken = rh_log_take_lines(log, s, log->buffer, size);
        if (taken == 0 && size > 0 && (size == CHUNK || all)) { /* longer than any line should be */
            if (!s->skipping)
                rh_log_take_line(log, log->buffer, size);
            s->skipping = !all;
            taken = size;
        }
        if (taken == 0)
            break;
        s->offset += (int64_t)taken;
        log->found.bytes += (int64_t)taken;
    }
    return !atomic_load(stop) || rh_fail(error, "cancelled", "reading %s was cancelled", log->path);
}

static bool is_file(int fd, const rh_log_files *files)
{
    struct stat own;
    return fstat(fd, &own) == 0 && own.st_ino == files->current.st_ino;
}

/* All of log->now, then the files that were made since, then the one that is written to. */
static bool read_files(rh_log *log, rh_log_files *files, const atomic_bool *stop, rh_error *error)
{
    const bool replaced = files->fd >= 0 && (log->now.fd < 0 || !is_file(log->now.fd, files));
    if (!read_on(log, &log->now, replaced || files->first < files->count, stop, error))
        return false;
    for (size_t i = files->first; i <= files->count; i++) {
        const bool rotated = i < files->count;
        if (!rotated && !replaced)
            break;
        const int fd = rotated ? rh_log_open(&files->list[i]) : files->fd;
        if (fd < 0) {
            log->found.gap = true;
            continue;
        }
        if (!rotated)
            files->fd = -1;
        if (log->now.fd >= 0) {
            close_stream(&log->before);
            log->before = log->now;
        }
        log->now = (rh_log_stream){.fd = fd};
        if (!read_on(log, &log->now, rotated, stop, error))
            return false;
    }
    return true;
}

static bool advance(rh_log *log, const atomic_bool *stop, rh_error *error)
{
    rh_log_files files;
    if (!read_on(log, &log->before, false, stop, error) ||
        !rh_log_look(log->path, log->placed ? &log->place : NULL, &files, error))
        return false;
    if (log->now.fd >= 0)
        rh_log_go_on(log, &files);
    else if (log->placed)
        rh_log_begin_at_place(log, &files);
    else
        rh_log_begin_at_time(log, &files);
    bool ok = read_files(log, &files, stop, error);
    log->found.missing = log->now.fd < 0;
    struct stat own;
    if (ok && log->now.fd >= 0 && fstat(log->now.fd, &own) == 0)
        log->found.changed_ms = (int64_t)own.st_mtim.tv_sec * 1000 + own.st_mtim.tv_nsec / 1000000;
    if (ok && (log->placed || !log->found.missing)) {
        ok = rh_log_place_of(log->now.fd, log->now.offset, &files, &log->place) ||
             rh_fail(error, "io", "cannot read the log %s", log->path);
        log->placed = true;
    }
    rh_log_looked(&files);
    return ok;
}

bool rh_log_advance(rh_log *log, const atomic_bool *stop, rh_error *error)
{
    log->started_ms = rh_wall_ms();
    log->buffer = rh_alloc(CHUNK + 1); /* ends with a NUL: so does each line */
    const bool ok = advance(log, stop, error);
    free(log->buffer);
    log->buffer = NULL;
    return ok;
}
