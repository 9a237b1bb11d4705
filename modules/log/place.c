#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
    PRINT = 256,    /* bytes before a place by which it is known again */
    NEAR = 64 << 10 /* bytes that are looked through for a line's time */
};

/* FNV-1a. */
bool rh_log_print(int fd, int64_t offset, uint64_t *print)
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

bool rh_log_is_at(int fd, const rh_log_place *place)
{
    uint64_t print;
    return rh_log_print(fd, place->offset, &print) && print == place->print;
}

/* -1 with errno; ENOENT is no error to speak of. */
static int rh_log_open(const char *path, struct stat *found)
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
    const int fd = rh_log_open(path, &found);
    if (fd < 0)
        return errno == ENOENT || rh_fail_errno(error, errno, "cannot read the log %s", path);
    place->inode = (uint64_t)found.st_ino;
    place->offset = (int64_t)found.st_size;
    const bool ok = rh_log_print(fd, place->offset, &place->print);
    close(fd);
    return ok || rh_fail(error, "io", "cannot read the end of the log %s", path);
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
            fd = rh_log_open(list[i].path, &found);
            if (fd >= 0 && !rh_log_is_at(fd, place)) {
                close(fd);
                fd = -1;
            }
        }
    rh_log_free_rotated(list, count);
    return fd;
}

bool rh_log_begin_at_place(rh_log *log, rh_error *error)
{
    struct stat found = {0};
    int fd = rh_log_open(log->path, &found);
    if (fd < 0 && errno != ENOENT)
        return rh_fail_errno(error, errno, "cannot read the log %s", log->path);
    if (log->place.inode == 0) {
        log->now = (rh_log_stream){.fd = fd};
        return true;
    }
    if (fd >= 0 && (uint64_t)found.st_ino == log->place.inode &&
        (int64_t)found.st_size >= log->place.offset && rh_log_is_at(fd, &log->place)) {
        log->now = (rh_log_stream){.fd = fd, .offset = log->place.offset};
        return true;
    }
    const int rotated = find_rotated(log, &log->place);
    if (rotated >= 0) {
        if (fd >= 0)
            close(fd);
        log->now = (rh_log_stream){.fd = rotated, .offset = log->place.offset};
        return true;
    }
    log->found.gap = true;
    log->place = (rh_log_place){0};
    log->now = (rh_log_stream){.fd = fd};
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
        const int64_t ms =
            newline ? rh_log_stamp(at, (size_t)(newline - at), log->zone, log->started_ms) : 0;
        if (ms)
            return ms;
        at = newline;
    }
    return 0;
}

/* Lines are written in the order of their times, nearly: most of what is too old need not be read. */
static rh_log_stream skip_old(rh_log *log, int fd, int64_t size)
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
    return (rh_log_stream){.fd = fd, .offset = low, .skipping = low > 0};
}

bool rh_log_begin_at_time(rh_log *log, rh_error *error)
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
                fd = rh_log_open(list[i].path, &found);
        }
    rh_log_free_rotated(list, count);
    if (fd < 0)
        fd = rh_log_open(log->path, &found);
    if (fd < 0)
        return errno == ENOENT || rh_fail_errno(error, errno, "cannot read the log %s", log->path);
    log->now = log->from_ms ? skip_old(log, fd, (int64_t)found.st_size) : (rh_log_stream){.fd = fd};
    return true;
}

/* What follows a file ------------------------------------------------------------------------------- */

int rh_log_open_next(rh_log *log, const struct stat *own)
{
    rh_log_rotated *list;
    struct stat found;
    int fd = -1;
    const int64_t changed = (int64_t)own->st_mtim.tv_sec * 1000000000 + own->st_mtim.tv_nsec;
    const size_t count = rh_log_list_rotated(log->path, &list);
    size_t at = 0;
    while (at < count && list[at].inode != (uint64_t)own->st_ino)
        at++;
    const bool listed = at < count; /* else it was removed, or has a name that says nothing */
    for (size_t i = listed ? at + 1 : 0; fd < 0 && i < count; i++) {
        if (!listed && list[i].changed_ns <= changed)
            continue;
        if (list[i].packed)
            log->found.gap = true;
        else
            fd = rh_log_open(list[i].path, &found);
    }
    rh_log_free_rotated(list, count);
    return fd >= 0 ? fd : rh_log_open(log->path, &found);
}

void rh_log_cut_short(rh_log *log)
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
