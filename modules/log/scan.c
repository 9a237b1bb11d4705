#include "log.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 << 10, PRINT = 256, NEAR = 64 << 10, WINDOW = 65536 };

typedef struct stream {
    int fd; /* -1: none */
    int64_t offset;
    bool skipping; /* within a line whose beginning has been dealt with */
} stream;

struct rh_log {
    int owners; /* touched on the loop's thread only, and so is `busy` */
    bool busy;
    char *path;
    regex_t match, except;
    bool has_except, begun;
    rh_log_place place; /* where to begin, then where `now` stands */
    bool placed;
    int64_t from_ms, per_ms;
    stream now, before; /* `before` was renamed: whoever writes may not have noticed yet */
    int64_t line_ms;    /* of the last line that says when */
    int64_t started_ms;
    int64_t *window; /* a ring of the matches' times within per_ms */
    size_t window_first, window_count;
    char *buffer;
    rh_log_found found;
};

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
    log->now.fd = log->before.fd = -1;
    return log;
}

static void close_stream(stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    *s = (stream){.fd = -1};
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

/* Places ------------------------------------------------------------------------------------------- */

/* FNV-1a of the bytes before `offset`. False where they are not there. */
static bool print_of(int fd, int64_t offset, uint64_t *print)
{
    unsigned char bytes[PRINT];
    const size_t size = offset < PRINT ? (size_t)offset : PRINT;
    if (pread(fd, bytes, size, offset - (int64_t)size) != (ssize_t)size)
        return false;
    *print = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        *print = (*print ^ bytes[i]) * 0x100000001b3u;
    return true;
}

static bool is_at(int fd, const rh_log_place *place)
{
    uint64_t print;
    return print_of(fd, place->offset, &print) && print == place->print;
}

/* -1 with errno; ENOENT is no error to speak of. */
static int open_log(const char *path, struct stat *found)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, found) == 0 && S_ISREG(found->st_mode))
        return fd;
    close(fd);
    errno = S_ISDIR(found->st_mode) ? EISDIR : EINVAL;
    return -1;
}

bool rh_log_end(const char *path, rh_log_place *place, rh_error *error)
{
    struct stat found;
    *place = (rh_log_place){0};
    const int fd = open_log(path, &found);
    if (fd < 0)
        return errno == ENOENT || rh_fail_errno(error, errno, "cannot read the log %s", path);
    place->inode = (uint64_t)found.st_ino;
    place->offset = (int64_t)found.st_size;
    const bool ok = print_of(fd, place->offset, &place->print);
    close(fd);
    return ok || rh_fail(error, "io", "cannot read the end of the log %s", path);
}

/* Lines -------------------------------------------------------------------------------------------- */

static void keep(rh_log_line *line, const char *text, size_t size, int64_t ms)
{
    line->ms = ms;
    line->size = size < RH_LOG_LINE ? size : RH_LOG_LINE;
    while (line->size < size && line->size > 0 && (text[line->size] & 0xC0) == 0x80)
        line->size--; /* no half of a character */
    memcpy(line->text, text, line->size);
}

static void count_in_window(rh_log *log, int64_t ms)
{
    if (log->per_ms <= 0)
        return;
    if (!log->window)
        log->window = rh_alloc(WINDOW * sizeof *log->window);
    if (log->window_count > 0) {
        const int64_t last = log->window[(log->window_first + log->window_count - 1) % WINDOW];
        ms = ms < last ? last : ms; /* lines of several writers are not quite in order */
    }
    while (log->window_count > 0 &&
           (log->window_count == WINDOW || log->window[log->window_first] <= ms - log->per_ms)) {
        log->window_first = (log->window_first + 1) % WINDOW;
        log->window_count--;
    }
    log->window[(log->window_first + log->window_count++) % WINDOW] = ms;
    if ((int64_t)log->window_count > log->found.peak) {
        log->found.peak = (int64_t)log->window_count;
        log->found.peak_ms = ms;
    }
}

static bool matches(const regex_t *regex, const char *text, size_t size)
{
    regmatch_t span = {.rm_so = 0, .rm_eo = (regoff_t)size};
    return regexec(regex, text, 1, &span, REG_STARTEND) == 0;
}

static void take_line(rh_log *log, const char *text, size_t size)
{
    rh_log_found *found = &log->found;
    if (size > 0 && text[size - 1] == '\r')
        size--;
    const int64_t own = rh_log_stamp(text, size, log->started_ms);
    if (own)
        log->line_ms = own;
    const int64_t ms = log->line_ms; /* a stack trace belongs to the line before it */
    if (log->from_ms && ms && ms < log->from_ms)
        return;
    keep(&found->tail[found->lines++ % RH_LOG_SAMPLES], text, size, ms);
    if (!matches(&log->match, text, size) || (log->has_except && matches(&log->except, text, size)))
        return;
    if (found->matches < RH_LOG_SAMPLES)
        keep(&found->first[found->matches], text, size, ms);
    keep(&found->last[found->matches++ % RH_LOG_SAMPLES], text, size, ms);
    if (ms) {
        found->stamped++;
        found->first_ms = found->first_ms ? found->first_ms : ms;
        found->last_ms = ms;
        count_in_window(log, ms);
    }
}

/* The whole lines of `size` bytes; returns how many bytes they are. */
static size_t take_lines(rh_log *log, stream *s, const char *bytes, size_t size)
{
    size_t taken = 0;
    const char *newline;
    while (taken < size && (newline = memchr(bytes + taken, '\n', size - taken))) {
        const size_t line = (size_t)(newline - (bytes + taken));
        if (!s->skipping)
            take_line(log, bytes + taken, line);
        s->skipping = false;
        taken += line + 1;
    }
    return taken;
}

/* To the end of the file; a last line without its newline is left, unless `all`. */
static bool read_on(rh_log *log, stream *s, bool all, const atomic_bool *stop, rh_error *error)
{
    while (s->fd >= 0 && !atomic_load(stop)) {
        const ssize_t got = pread(s->fd, log->buffer, CHUNK, s->offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(error, errno, "cannot read the log %s", log->path);
        const size_t size = (size_t)got;
        size_t taken = take_lines(log, s, log->buffer, size);
        if (taken == 0 && size > 0 && (size == CHUNK || all)) { /* longer than any line should be */
            if (!s->skipping)
                take_line(log, log->buffer, size);
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

/* Where to begin ----------------------------------------------------------------------------------- */

/* A rotated file that holds the place: the same file, or a copy of it. Opens it. */
static int find_rotated(rh_log *log, const rh_log_place *place)
{
    rh_log_rotated *list;
    struct stat found;
    int fd = -1;
    const size_t count = rh_log_list_rotated(log->path, &list);
    for (int copies = 0; fd < 0 && copies < 2; copies++)
        for (size_t i = count; fd < 0 && i-- > 0;) {
            const bool wanted = copies ? place->offset > 0 && list[i].inode != place->inode
                                       : list[i].inode == place->inode;
            if (!wanted || list[i].packed || list[i].size < place->offset)
                continue;
            fd = open_log(list[i].path, &found);
            if (fd >= 0 && !is_at(fd, place)) {
                close(fd);
                fd = -1;
            }
        }
    rh_log_free_rotated(list, count);
    return fd;
}

static bool begin_at_place(rh_log *log, rh_error *error)
{
    struct stat found = {0};
    int fd = open_log(log->path, &found);
    if (fd < 0 && errno != ENOENT)
        return rh_fail_errno(error, errno, "cannot read the log %s", log->path);
    if (log->place.inode == 0) {
        log->now = (stream){.fd = fd};
        return true;
    }
    if (fd >= 0 && (uint64_t)found.st_ino == log->place.inode &&
        (int64_t)found.st_size >= log->place.offset && is_at(fd, &log->place)) {
        log->now = (stream){.fd = fd, .offset = log->place.offset};
        return true;
    }
    const int rotated = find_rotated(log, &log->place);
    if (rotated >= 0) {
        if (fd >= 0)
            close(fd);
        log->now = (stream){.fd = rotated, .offset = log->place.offset};
        return true;
    }
    log->found.gap = true;
    log->place = (rh_log_place){0};
    log->now = (stream){.fd = fd};
    return true;
}

/* The time of the first line that has one, behind `offset` and near it; 0: none there. */
static int64_t time_near(rh_log *log, int fd, int64_t offset)
{
    const ssize_t got = pread(fd, log->buffer, NEAR, offset);
    const char *at = log->buffer, *end = at + (got > 0 ? got : 0);
    at = memchr(at, '\n', (size_t)(end - at));
    while (at && ++at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const int64_t ms = newline ? rh_log_stamp(at, (size_t)(newline - at), log->started_ms) : 0;
        if (ms)
            return ms;
        at = newline;
    }
    return 0;
}

/* Lines are written in the order of their times, nearly: most of what is too old need not be read. */
static stream skip_old(rh_log *log, int fd, int64_t size)
{
    int64_t low = 0, high = size;
    while (high - low > NEAR) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t ms = time_near(log, fd, middle);
        if (ms && ms < log->from_ms)
            low = middle;
        else
            high = middle;
    }
    return (stream){.fd = fd, .offset = low, .skipping = low > 0};
}

static bool begin_at_time(rh_log *log, rh_error *error)
{
    rh_log_rotated *list = NULL;
    struct stat found = {0};
    int fd = -1;
    const size_t count = log->from_ms ? rh_log_list_rotated(log->path, &list) : 0;
    for (size_t i = 0; fd < 0 && i < count; i++)
        if (list[i].changed_ns / 1000000 >= log->from_ms) {
            if (list[i].packed)
                log->found.gap = true;
            else
                fd = open_log(list[i].path, &found);
        }
    rh_log_free_rotated(list, count);
    if (fd < 0)
        fd = open_log(log->path, &found);
    if (fd < 0)
        return errno == ENOENT || rh_fail_errno(error, errno, "cannot read the log %s", log->path);
    log->now = log->from_ms ? skip_old(log, fd, (int64_t)found.st_size) : (stream){.fd = fd};
    return true;
}

/* What follows a file ------------------------------------------------------------------------------- */

/* The next file after the one that has been read to its end, which has been renamed: a younger rotated one, or the log. */
static int open_next(rh_log *log, const struct stat *own)
{
    rh_log_rotated *list;
    struct stat found;
    int fd = -1;
    const int64_t changed = (int64_t)own->st_mtim.tv_sec * 1000000000 + own->st_mtim.tv_nsec;
    const size_t count = rh_log_list_rotated(log->path, &list);
    for (size_t i = 0; fd < 0 && i < count; i++) {
        if (list[i].changed_ns <= changed || list[i].inode == (uint64_t)own->st_ino)
            continue;
        if (list[i].packed)
            log->found.gap = true;
        else
            fd = open_log(list[i].path, &found);
    }
    rh_log_free_rotated(list, count);
    return fd >= 0 ? fd : open_log(log->path, &found);
}

/* The file is shorter than what has been read of it, or another one: it was copied and truncated. */
static void cut_short(rh_log *log)
{
    const int copy = find_rotated(log, &log->place);
    if (copy >= 0) {
        close(log->now.fd);
        log->now.fd = copy;
    } else {
        log->found.gap = true;
        log->now.offset = 0;
        log->now.skipping = false;
    }
}

typedef enum { STAYS, TRUNCATED, RENAMED } fate;

static fate look(const rh_log *log, struct stat *own)
{
    struct stat current;
    if (stat(log->path, &current) != 0 || fstat(log->now.fd, own) != 0)
        return STAYS; /* between a rename and the new file */
    if (current.st_ino != own->st_ino || current.st_dev != own->st_dev)
        return RENAMED;
    return (int64_t)own->st_size < log->now.offset ? TRUNCATED : STAYS;
}

static bool advance(rh_log *log, const atomic_bool *stop, rh_error *error)
{
    struct stat own;
    if (!log->begun) {
        if (!(log->placed ? begin_at_place(log, error) : begin_at_time(log, error)))
            return false;
        log->begun = log->now.fd >= 0;
        log->found.missing = !log->begun;
        if (!log->begun)
            return true;
    } else if (!is_at(log->now.fd, &log->place)) {
        cut_short(log);
    }
    if (!read_on(log, &log->before, false, stop, error))
        return false;
    for (;;) {
        if (!read_on(log, &log->now, false, stop, error))
            return false;
        const fate what = look(log, &own);
        if (what == STAYS)
            break;
        if (what == TRUNCATED) {
            cut_short(log);
            continue;
        }
        const int next = open_next(log, &own);
        if (next < 0)
            break;
        if (!read_on(log, &log->now, true, stop,
                     error)) { /* what came before the rename was seen */
            close(next);
            return false;
        }
        close_stream(&log->before);
        log->before = log->now;
        log->now = (stream){.fd = next};
    }
    log->place.offset = log->now.offset;
    return print_of(log->now.fd, log->place.offset, &log->place.print) ||
           rh_fail(error, "io", "cannot read the log %s", log->path);
}

bool rh_log_advance(rh_log *log, const atomic_bool *stop, rh_error *error)
{
    log->started_ms = rh_wall_ms();
    log->buffer = rh_alloc(CHUNK + 1); /* ends with a NUL, for what takes a line for a string */
    const bool ok = advance(log, stop, error);
    free(log->buffer);
    log->buffer = NULL;
    return ok;
}
