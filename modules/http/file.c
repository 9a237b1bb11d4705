#include "file.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 512 * 1024 };

struct chunk {
    char *data;
    size_t size, at;
};

struct rh_http_file {
    uv_work_t work;
    int fd;
    char *path, *folder, *temp;  /* temp: what a sink writes until it is finished */
    int64_t offset, size, whole; /* of a source; whole: of its file */
    int64_t read;                /* of a source, by the pool */
    struct chunk front, back;    /* front is the transfer's, back the pool's */
    struct sha256_ctx sha;
    int64_t bytes; /* hashed */
    bool busy;  /* the pool has `back`; of the fields below and above only flags may be touched */
    bool waits; /* the transfer was told RH_HTTP_LATER */
    bool ended; /* a source's last chunk is read */
    bool again; /* rewind when the pool has finished */
    bool hashing;
    bool writes, finishing, finished;
    atomic_bool closed; /* the pool ends early, and frees it */
    char expected[RH_SHA256_HEX];
    rh_error error;
    rh_http_file_fn ready, done;
    void *data;
};

static rh_http_file *new_file(const char *path, rh_http_file_fn ready, void *data)
{
    rh_http_file *file = rh_alloc(sizeof *file);
    file->fd = -1;
    file->path = path ? rh_strdup(path) : NULL;
    file->ready = ready;
    file->data = data;
    file->front.data = rh_alloc(CHUNK);
    file->back.data = rh_alloc(CHUNK);
    sha256_init(&file->sha);
    return file;
}

static void free_file(rh_http_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->temp)
        unlink(file->temp);
    rh_error_clear(&file->error);
    free(file->front.data);
    free(file->back.data);
    free(file->temp);
    free(file->folder);
    free(file->path);
    free(file);
}

void rh_http_file_close(rh_http_file *file)
{
    if (!file)
        return;
    atomic_store(&file->closed, true);
    if (file->temp &&
        !(file->busy && file->finished)) { /* now: the next attempt has the same name */
        unlink(file->temp);
        free(file->temp);
        file->temp = NULL;
    }
    if (!file->busy)
        free_file(file);
}

rh_error *rh_http_file_error(rh_http_file *file)
{
    static rh_error none;
    return file->busy ? &none : &file->error;
}

bool rh_http_source_is_sent(const rh_http_file *file)
{
    return !file->busy && file->ended && file->front.at == file->front.size;
}

int64_t rh_http_file_bytes(const rh_http_file *file) { return file->bytes; }
int64_t rh_http_source_size(const rh_http_file *file) { return file->size; }
int64_t rh_http_source_whole(const rh_http_file *file) { return file->whole; }

void rh_http_file_digest(const rh_http_file *file, char out[RH_SHA256_HEX])
{
    struct sha256_ctx copy = file->sha;
    uint8_t digest[RH_SHA256_SIZE];
    sha256_digest(&copy, sizeof digest, digest);
    rh_hex(digest, sizeof digest, out);
}

static void hash(rh_http_file *file, const char *bytes, size_t size)
{
    sha256_update(&file->sha, size, (const uint8_t *)bytes);
    file->bytes += (int64_t)size;
}

/* ---- the pool ---- */

static void work_done(uv_work_t *work, int status);

static void begin(rh_http_file *file, uv_work_cb work)
{
    file->busy = true;
    uv_queue_work(rh_loop(), &file->work, work, work_done); /* fails only without a callback */
}

static void reset(rh_http_file *file)
{
    file->front.size = file->front.at = file->back.size = 0;
    file->read = file->bytes = 0;
    file->ended = file->again = false;
    sha256_init(&file->sha);
}

/* Fills the back chunk. */
static bool read_chunk(rh_http_file *file)
{
    size_t wanted = file->size - file->read < CHUNK ? (size_t)(file->size - file->read) : CHUNK;
    file->back.size = 0;
    while (file->back.size < wanted) {
        ssize_t got = pread(file->fd, file->back.data + file->back.size, wanted - file->back.size,
                            file->offset + file->read);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(&file->error, errno, "cannot read %s", file->path);
        if (got == 0)
            return rh_fail(&file->error, "changed",
                           "%s became shorter while it was sent: something still writes it",
                           file->path);
        file->back.size += (size_t)got;
        file->read += got;
    }
    hash(file, file->back.data, file->back.size);
    return true;
}

static void read_ahead(uv_work_t *work)
{
    rh_http_file *file = work->data;
    read_chunk(file);
}

static void hash_all(uv_work_t *work)
{
    rh_http_file *file = work->data;
    while (file->read < file->size && !atomic_load(&file->closed) && read_chunk(file)) {
    }
}

static bool write_chunk(rh_http_file *file, struct chunk *chunk)
{
    hash(file, chunk->data, chunk->size);
    for (size_t at = 0; file->fd >= 0 && at < chunk->size;) {
        ssize_t count = write(file->fd, chunk->data + at, chunk->size - at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return rh_fail_errno(&file->error, errno, "cannot write %s", file->path);
        at += (size_t)count;
    }
    chunk->size = 0;
    return true;
}

static void write_behind(uv_work_t *work)
{
    rh_http_file *file = work->data;
    write_chunk(file, &file->back);
}

static bool compare(rh_http_file *file)
{
    char found[RH_SHA256_HEX];
    rh_http_file_digest(file, found);
    return !file->expected[0] || strcmp(file->expected, found) == 0 ||
           rh_fail(&file->error, "checksum",
                   "what came has the SHA-256 %s, not %s: it is not what was asked for, or was "
                   "damaged on the way; nothing is kept of it",
                   found, file->expected);
}

static bool put_into_place(rh_http_file *file)
{
    if (fsync(file->fd) != 0)
        return rh_fail_errno(&file->error, errno, "cannot make %s durable", file->path);
    if (rename(file->temp, file->path) != 0)
        return rh_fail_errno(&file->error, errno, "cannot put %s into its place", file->path);
    free(file->temp);
    file->temp = NULL;
    int folder = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = folder >= 0 && fsync(folder) == 0;
    if (!ok)
        rh_fail_errno(&file->error, errno, "cannot make %s durable", file->folder);
    if (folder >= 0)
        close(folder);
    return ok;
}

static void finish(uv_work_t *work)
{
    rh_http_file *file = work->data;
    if (write_chunk(file, &file->front) && compare(file) && file->temp &&
        !atomic_load(&file->closed))
        put_into_place(file);
}

/* Back in the loop: what the transfer, or whoever waits for the end, can do now. */
static void work_done(uv_work_t *work, int status)
{
    (void)status;
    rh_http_file *file = work->data;
    file->busy = false;
    if (atomic_load(&file->closed)) {
        free_file(file);
        return;
    }
    bool broken = rh_error_is_set(&file->error);
    if (file->hashing || file->finished) {
        file->hashing = false;
        file->done(file->data);
    } else if (file->finishing && !broken) {
        file->finished = true;
        begin(file, finish);
    } else if (file->finishing) {
        file->done(file->data);
    } else {
        if (file->again)
            reset(file);
        else if (!file->writes)
            file->ended = file->read == file->size;
        if (file->waits) {
            file->waits = false;
            file->ready(file->data);
        }
    }
}

static int64_t later(rh_http_file *file)
{
    file->waits = true;
    return RH_HTTP_LATER;
}

static void swap(rh_http_file *file)
{
    struct chunk front = file->front;
    file->front = file->back;
    file->back = front;
    file->front.at = file->back.at = 0;
}

/* ---- a source ---- */

rh_http_file *rh_http_source(const char *path, int64_t offset, int64_t size, rh_http_file_fn ready,
                             void *data, rh_error *error)
{
    rh_http_file *file = new_file(path, ready, data);
    struct stat there;
    file->work.data = file;
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for its writer */
    bool ok = (file->fd >= 0 && fstat(file->fd, &there) == 0) ||
              rh_fail_errno(error, errno, "cannot read %s", path);
    if (ok && !S_ISREG(there.st_mode))
        ok = rh_fail(error, "io", "cannot send %s: it is not a regular file", path);
    if (ok && (offset > there.st_size || (size >= 0 && size > there.st_size - offset)))
        ok = rh_fail(error, "changed",
                     "%s has %lld bytes, fewer than are to be sent: something still writes it",
                     path, (long long)there.st_size);
    if (!ok) {
        free_file(file);
        return NULL;
    }
    file->offset = offset;
    file->whole = there.st_size;
    file->size = size < 0 ? there.st_size - offset : size;
    file->ended = file->size == 0;
    return file;
}

int64_t rh_http_file_take(rh_http_file *file, char *bytes, size_t room)
{
    if (file->front.at == file->front.size) {
        if (file->busy)
            return later(file);
        if (rh_error_is_set(&file->error))
            return RH_HTTP_BROKEN;
        file->front.size = 0;
        swap(file);
        if (!file->ended)
            begin(file, read_ahead);
        if (file->front.size == 0)
            return file->ended ? 0 : later(file);
    }
    size_t left = file->front.size - file->front.at;
    size_t count = left < room ? left : room;
    memcpy(bytes, file->front.data + file->front.at, count);
    file->front.at += count;
    return (int64_t)count;
}

void rh_http_file_rewind(rh_http_file *file)
{
    if (!file->busy) {
        reset(file);
        file->ended = file->size == 0;
        return;
    }
    file->front.size = file->front.at = 0;
    file->again = true;
}

void rh_http_file_hash(rh_http_file *file, rh_http_file_fn done)
{
    file->done = done;
    file->hashing = true;
    begin(file, hash_all);
}

/* ---- a sink ---- */

static bool open_target(rh_http_file *file, const char *mark, int mode, rh_error *error)
{
    struct stat there;
    bool exists = stat(file->path, &there) == 0;
    if (exists && !S_ISREG(there.st_mode))
        return rh_fail(error, "io", "cannot write %s: it is not a regular file", file->path);
    if (exists) { /* a link stays one */
        char *real = realpath(file->path, NULL);
        if (!real)
            return rh_fail_errno(error, errno, "cannot write %s", file->path);
        free(file->path);
        file->path = real;
    }
    const char *slash = strrchr(file->path, '/');
    file->folder = !slash                ? rh_strdup(".")
                   : slash == file->path ? rh_strdup("/")
                                         : rh_strndup(file->path, (size_t)(slash - file->path));
    char *temp = rh_format("%s/.%s.%s", file->folder, slash ? slash + 1 : file->path,
                           mark ? mark : "XXXXXX");
    if (mark)
        unlink(temp); /* of a process that was killed */
    file->fd = mark ? open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
                    : mkostemp(temp, O_CLOEXEC);
    if (file->fd < 0) {
        rh_fail_errno(error, errno, "cannot write %s", file->path);
        free(temp);
        return false;
    }
    file->temp = temp;
    mode_t wanted = mode >= 0 ? (mode_t)mode : exists ? there.st_mode & 0777 : 0644;
    return fchmod(file->fd, wanted) == 0 ||
           rh_fail_errno(error, errno, "cannot set the mode of %s", file->path);
}

rh_http_file *rh_http_sink(const char *path, const char *mark, int mode, rh_http_file_fn ready,
                           void *data, rh_error *error)
{
    rh_http_file *file = new_file(path, ready, data);
    file->work.data = file;
    file->writes = true;
    if (path && !open_target(file, mark, mode, error)) {
        free_file(file);
        return NULL;
    }
    return file;
}

int64_t rh_http_file_give(rh_http_file *file, const char *bytes, size_t size)
{
    if (size > CHUNK - file->front.size) {
        if (file->busy)
            return later(file);
        if (rh_error_is_set(&file->error) || size > CHUNK)
            return RH_HTTP_BROKEN;
        swap(file);
        begin(file, write_behind);
    }
    memcpy(file->front.data + file->front.size, bytes, size);
    file->front.size += size;
    return (int64_t)size;
}

void rh_http_file_finish(rh_http_file *file, const char *sha256, rh_http_file_fn done)
{
    snprintf(file->expected, sizeof file->expected, "%s", sha256 ? sha256 : "");
    file->done = done;
    file->finishing = true;
    if (!file->busy) {
        file->finished = true;
        begin(file, finish);
    }
}
