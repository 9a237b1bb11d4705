/* Writing that is whole or not there at all: a temporary file beside the target, fsync, rename, fsync of the
 * folder. And SHA-256 of files, streamed. */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

static void finish_digest(struct sha256_ctx *sha, char out[65])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(sha, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t count = write(fd, bytes, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        bytes += count;
        size -= (size_t)count;
    }
    return true;
}

/* Reads `in` to its end into the digest and, where out >= 0, into that file. */
static bool stream(rh_fs *fs, int in, const char *in_path, int out, const char *out_path)
{
    struct sha256_ctx sha;
    sha256_init(&sha);
    char *chunk = rh_alloc(CHUNK);
    bool ok = true;
    fs->size = 0;
    while (ok && !atomic_load(&fs->stop)) {
        const ssize_t count = read(in, chunk, CHUNK);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            ok = rh_fail_errno(&fs->op.error, errno, "cannot read %s", in_path);
        if (count <= 0)
            break;
        sha256_update(&sha, (size_t)count, (const uint8_t *)chunk);
        fs->size += count;
        if (out >= 0 && !write_all(out, chunk, (size_t)count))
            ok = rh_fail_errno(&fs->op.error, errno, "cannot write %s", out_path);
    }
    free(chunk);
    finish_digest(&sha, fs->digest);
    return ok;
}

bool rh_fs_do_sha256(rh_fs *fs)
{
    const int fd = open(fs->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot read %s", fs->path);
    const bool ok = stream(fs, fd, fs->path, -1, NULL);
    close(fd);
    return ok;
}

/* The file that is being written: `temp` becomes `path` when it is whole. */
typedef struct output {
    char *path; /* links resolved, so that a link stays one */
    char *folder;
    char *temp;
    int fd;
} output;

static bool open_target(rh_fs *fs, const char *path, output *target)
{
    struct stat there;
    const bool exists = stat(path, &there) == 0;
    mode_t mode = fs->mode >= 0 ? (mode_t)fs->mode : exists ? there.st_mode & 07777 : 0644;
    if (exists && !S_ISREG(there.st_mode))
        return rh_fail(&fs->op.error, "io", "cannot write %s: it is not a regular file", path);
    char *real = exists ? realpath(path, NULL) : NULL;
    target->path = real != NULL ? real : rh_strdup(path);
    const char *slash = strrchr(target->path, '/');
    target->folder =
        slash == NULL
            ? rh_strdup(".")
            : rh_strndup(target->path, slash == target->path ? 1 : (size_t)(slash - target->path));
    target->temp =
        rh_format("%s/.%s.XXXXXX", target->folder, slash == NULL ? target->path : slash + 1);
    target->fd = mkostemp(target->temp, O_CLOEXEC);
    if (target->fd < 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot write %s", path);
    /* an owner that cannot be kept is no reason to fail: the one who writes owns it then */
    if (exists && fchown(target->fd, there.st_uid, there.st_gid) != 0)
        mode &= 01777;
    if (fchmod(target->fd, mode) != 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot set the mode of %s", path);
    return true;
}

static bool sync_folder(rh_fs *fs, const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        rh_fail_errno(&fs->op.error, errno, "cannot make %s durable", folder);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool sync_file(rh_fs *fs, const output *target)
{
    return fsync(target->fd) == 0 ||
           rh_fail_errno(&fs->op.error, errno, "cannot make %s durable", target->path);
}

static bool move_into_place(rh_fs *fs, output *target)
{
    if (rename(target->temp, target->path) != 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot put %s into its place", target->path);
    free(target->temp);
    target->temp = NULL;
    return sync_folder(fs, target->folder);
}

static void close_target(output *target)
{
    if (target->fd >= 0)
        close(target->fd);
    if (target->temp != NULL && target->fd >= 0)
        unlink(target->temp);
    free(target->temp);
    free(target->folder);
    free(target->path);
}

bool rh_fs_do_write(rh_fs *fs)
{
    output target = {.fd = -1};
    struct sha256_ctx sha;
    sha256_init(&sha);
    sha256_update(&sha, fs->data.size, (const uint8_t *)fs->data.data);
    finish_digest(&sha, fs->digest);
    fs->size = (int64_t)fs->data.size;
    bool ok = open_target(fs, fs->path, &target);
    if (ok && !write_all(target.fd, fs->data.data, fs->data.size))
        ok = rh_fail_errno(&fs->op.error, errno, "cannot write %s", fs->path);
    ok = ok && sync_file(fs, &target) && move_into_place(fs, &target);
    close_target(&target);
    return ok;
}

/* What the disk holds, not the page cache as far as the kernel lets go of it. */
static bool read_back(rh_fs *fs, const output *target, const char *digest)
{
    char expected[65];
    memcpy(expected, digest, sizeof expected);
    posix_fadvise(target->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (lseek(target->fd, 0, SEEK_SET) != 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot read %s back", target->path);
    if (!stream(fs, target->fd, target->path, -1, NULL))
        return false;
    if (!atomic_load(&fs->stop) && strcmp(expected, fs->digest) != 0)
        return rh_fail(&fs->op.error, "checksum",
                       "%s reads back as %s, and %s was written: the copy is not used",
                       target->path, fs->digest, expected);
    return true;
}

bool rh_fs_do_copy(rh_fs *fs)
{
    output target = {.fd = -1};
    struct stat from;
    const int in = open(fs->path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot read %s", fs->path);
    bool ok = fstat(in, &from) == 0 && S_ISREG(from.st_mode);
    if (!ok)
        rh_fail(&fs->op.error, "io", "cannot copy %s: it is not a regular file", fs->path);
    if (ok && fs->mode < 0)
        fs->mode = (int)(from.st_mode & 0777);
    ok = ok && open_target(fs, fs->to, &target) && stream(fs, in, fs->path, target.fd, fs->to) &&
         sync_file(fs, &target) && read_back(fs, &target, fs->digest);
    if (ok && !atomic_load(&fs->stop))
        ok = move_into_place(fs, &target);
    close_target(&target);
    close(in);
    return ok;
}
