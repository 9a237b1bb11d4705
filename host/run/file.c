#include "run/file.h"

#include "core/digest.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool rh_file_read(const char *path, size_t limit, rh_buffer *out, rh_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(error, errno, "cannot read %s", path);
    const size_t start = out->size;
    char chunk[8192];
    ssize_t got;
    while ((got = read(fd, chunk, sizeof chunk)) > 0 && out->size - start <= limit)
        rh_buffer_add(out, chunk, (size_t)got);
    int err = errno;
    close(fd);
    explicit_bzero(chunk, sizeof chunk);
    if (got < 0)
        return rh_fail_errno(error, err, "cannot read %s", path);
    rh_buffer_reserve(out, 0);
    return out->size - start <= limit ||
           rh_fail(error, "too_large", "%s is larger than %zu bytes", path, limit);
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? rh_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : rh_strdup(".");
}

bool rh_file_sync_folder(const char *path, rh_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        rh_fail_errno(error, errno, "cannot make %s durable", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool write_new(int fd, const void *data, size_t size, mode_t mode, bool durable)
{
    return write_all(fd, data, size) && fchmod(fd, mode) == 0 && (!durable || fdatasync(fd) == 0);
}

bool rh_file_write(const char *path, const void *data, size_t size, mode_t mode, bool durable,
                   rh_error *error)
{
    char *folder = folder_of(path);
    unsigned long long mark;
    rh_random(&mark, sizeof mark);
    char *partial = rh_format("%s/.%016llx.partial", folder, mark);
    int fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_new(fd, data, size, mode, durable) && rename(partial, path) == 0;
    const int err = errno;
    if (!ok)
        rh_fail_errno(error, err, "cannot write %s", path);
    if (fd >= 0) {
        close(fd);
        if (!ok)
            unlink(partial);
    }
    errno = err;
    ok = ok && (!durable || rh_file_sync_folder(folder, error));
    free(partial);
    free(folder);
    return ok;
}

char *rh_file_safe(const char *text)
{
    rh_buffer name = {0};
    rh_buffer_reserve(&name, 1);
    for (const char *c = text; *c; c++) {
        bool plain =
            isalnum((unsigned char)*c) || *c == '_' || *c == '-' || (*c == '.' && c > text);
        rh_buffer_addf(&name, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    return rh_buffer_take(&name);
}
