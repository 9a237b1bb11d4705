#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
    PRINT = 256,    /* bytes before a place by which it is known again */
    NEAR = 64 << 10 /* bytes that are looked through for a line's time */
};

/* FNV-1a. False where the bytes are not there. */
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

/* Whether the file has the place, as it was then. */
static bool is_at(int fd, const rh_log_place *place)
{
    uint64_t print;
    return print_of(fd, place->offset, &print) && print == place->print;
}

/* -1 with errno. */
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

int rh_log_open(const rh_log_rotated *file)
{
    struct stat found;
    return file->packed ? -1 : open_log(file->path, &found);
}

/* The first of the files that rotation has made since that place. The one that was the youngest then may have been
 * compressed, which keeps its time of change, or removed. */
static size_t first_new(const rh_log_place *place, const rh_log_rotated *list, size_t count)
{
    size_t i = count;
    if (place->rotated_inode == 0)
        return 0;
    while (i > 0 && list[i - 1].inode != place->rotated_inode)
        i--;
    if (i > 0)
        return i;
    for (i = count; i > 0; i--)
        if (list[i - 1].packed && list[i - 1].changed_ns == place->rotated_ns)
            return i;
    while (i < count && list[i].changed_ns <= place->rotated_ns)
        i++;
    return i;
}

bool rh_log_look(const char *path, const rh_log_place *since, rh_log_files *files, rh_error *error)
{
    struct stat again;
    for (int tries = 0;; tries++) {
        files->fd = open_log(path, &files->current);
        if (files->fd < 0 && errno != ENOENT)
            return rh_fail_errno(error, errno, "cannot read the log %s", path);
        files->count = rh_log_list_rotated(path, &files->list);
        const bool there = stat(path, &again) == 0;
        if (there == (files->fd >= 0) && (!there || again.st_ino == files->current.st_ino))
            break;
        if (tries == 3)
            return rh_fail(error, "io", "the log %s is being renamed all the time", path);
        rh_log_looked(files); /* it was renamed between the two */
    }
    files->first = since ? first_new(since, files->list, files->count) : 0;
    return true;
}

void rh_log_looked(rh_log_files *files)
{
    if (files->fd >= 0)
        close(files->fd);
    rh_log_free_rotated(files->list, files->count);
    *files = (rh_log_files){.fd = -1};
}

static int take_fd(rh_log_files *files)
{
    const int fd = files->fd;
    files->fd = -1;
    return fd;
}

bool rh_log_place_of(int fd, int64_t offset, const rh_log_files *files, rh_log_place *place)
{
    struct stat found;
    *place = (rh_log_place){0};
    if (files->count > 0) {
        place->rotated_inode = files->list[files->count - 1].inode;
        place->rotated_ns = files->list[files->count - 1].changed_ns;
    }
    if (fd < 0)
        return true;
    if (fstat(fd, &found) != 0)
        return false;
    place->inode = (uint64_t)found.st_ino;
    place->offset = offset;
    return print_of(fd, offset, &place->print);
}

bool rh_log_end(const char *path, rh_log_place *place, rh_error *error)
{
    rh_log_files files;
    if (!rh_log_look(path, NULL, &files, error))
        return false;
    const bool ok =
        rh_log_place_of(files.fd, files.fd < 0 ? 0 : (int64_t)files.current.st_size, &files, place);
    rh_log_looked(&files);
    return ok || rh_fail(error, "io", "cannot read the end of the log %s", path);
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
static rh_log_stream skip_old(rh_log *log, int fd)
{
    struct stat found;
    int64_t low = 0, high = fd >= 0 && fstat(fd, &found) == 0 ? (int64_t)found.st_size : 0;
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

void rh_log_begin_at_time(rh_log *log, rh_log_files *files)
{
    files->first = files->count;
    if (log->from_ms > 0) {
        files->first = 0;
        while (files->first < files->count &&
               files->list[files->first].changed_ns / 1000000 < log->from_ms)
            files->first++;
    }
    while (files->first < files->count && log->now.fd < 0) {
        log->now = skip_old(log, rh_log_open(&files->list[files->first++]));
        log->found.gap |= log->now.fd < 0;
    }
    if (log->now.fd < 0 && log->from_ms > 0)
        log->now = skip_old(log, take_fd(files));
    else if (log->now.fd < 0)
        log->now = (rh_log_stream){.fd = take_fd(files)};
}

void rh_log_begin_at_place(rh_log *log, rh_log_files *files)
{
    const rh_log_place *place = &log->place;
    const bool same = files->fd >= 0 && (uint64_t)files->current.st_ino == place->inode;
    if (files->first == files->count) { /* no rotation */
        const bool there = same && is_at(files->fd, place);
        log->found.gap |= place->inode != 0 && !there;
        log->now = (rh_log_stream){.fd = take_fd(files), .offset = there ? place->offset : 0};
        return;
    }
    if (place->inode == 0)
        return;
    /* The oldest of the new ones is what the file has become, by a new name or as a copy. */
    const rh_log_rotated *became = &files->list[files->first];
    const int fd = rh_log_open(became);
    if (fd >= 0 && is_at(fd, place) &&
        (became->inode == place->inode || place->offset > 0 || same)) {
        log->now = (rh_log_stream){.fd = fd, .offset = place->offset};
        files->first++;
        return;
    }
    if (fd >= 0)
        close(fd);
    log->found.gap = true;
}

void rh_log_go_on(rh_log *log, rh_log_files *files)
{
    struct stat own;
    const bool held = fstat(log->now.fd, &own) == 0 && (int64_t)own.st_size >= log->now.offset &&
                      is_at(log->now.fd, &log->place);
    const bool same = files->fd >= 0 && files->current.st_ino == own.st_ino;
    if (files->first == files->count) { /* no rotation: but it may have been truncated */
        if (same && !held) {
            log->found.gap = true;
            log->now.offset = 0;
            log->now.skipping = false;
        }
        return;
    }
    const rh_log_rotated *became = &files->list[files->first];
    if (became->inode == (uint64_t)own.st_ino || (!same && held)) { /* whatever its name is now */
        files->first++;
        return;
    }
    const int fd = rh_log_open(became);
    close(log->now.fd);
    log->now.fd = -1;
    if (fd >= 0 && is_at(fd, &log->place)) {
        log->now.fd = fd;
        files->first++;
        return;
    }
    if (fd >= 0)
        close(fd);
    log->found.gap = true;
}
