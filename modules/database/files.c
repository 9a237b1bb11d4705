#include "files.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FTS *walk(const char *path)
{
    char *const paths[] = {(char *)(uintptr_t)path, NULL};
    return fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

int64_t rh_database_size(const char *path)
{
    if (access(path, F_OK) != 0)
        return -1;
    FTS *fts = walk(path);
    int64_t size = 0;
    for (FTSENT *at; fts && (at = fts_read(fts));) {
        if (at->fts_info == FTS_F)
            size += at->fts_statp->st_size;
    }
    if (fts)
        fts_close(fts);
    return size;
}

int64_t rh_database_offset(int64_t pid, int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fdinfo/%d", (long long)pid, fd);
    FILE *file = fopen(path, "re");
    long long offset = -1;
    if (file) {
        if (fscanf(file, "pos: %lld", &offset) != 1)
            offset = -1;
        fclose(file);
    }
    return offset;
}

bool rh_database_remove(const char *path, rh_error *error)
{
    FTS *fts = walk(path);
    int err = fts ? 0 : errno;
    for (FTSENT *at; fts && (at = fts_read(fts));) {
        if (at->fts_info == FTS_D)
            continue;
        if (remove(at->fts_accpath) != 0 && errno != ENOENT && !err)
            err = errno;
    }
    if (fts)
        fts_close(fts);
    return !err || rh_fail_errno(error, err, "cannot remove %s", path);
}

static bool sync_path(const char *path, int flags, rh_error *error)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int err = errno;
    if (fd >= 0)
        close(fd);
    return ok || rh_fail_errno(error, err, "cannot make %s durable", path);
}

static bool sync_folder_of(const char *path, rh_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? rh_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : rh_strdup(".");
    bool ok = sync_path(folder, O_RDONLY | O_DIRECTORY, error);
    free(folder);
    return ok;
}

static bool sync_all(const char *path, rh_error *error)
{
    FTS *fts = walk(path);
    bool ok = fts || rh_fail_errno(error, errno, "cannot read %s", path);
    for (FTSENT *at; ok && (at = fts_read(fts));) {
        if (at->fts_info == FTS_F)
            ok = sync_path(at->fts_accpath, O_RDWR, error);
        else if (at->fts_info == FTS_DP)
            ok = sync_path(at->fts_accpath, O_RDONLY | O_DIRECTORY, error);
        else if (at->fts_info != FTS_D)
            ok = rh_fail_errno(error, at->fts_errno ? at->fts_errno : ENOENT,
                               "cannot make %s durable", path);
    }
    if (fts)
        fts_close(fts);
    return ok;
}

static void run(uv_work_t *work)
{
    rh_database_publish *publish = work->data;
    rh_error *error = &publish->op.error;
    if (!sync_all(publish->path, error))
        return;
    if (renameat2(AT_FDCWD, publish->path, AT_FDCWD, publish->to, RENAME_NOREPLACE) != 0)
        rh_fail_errno(error, errno, "cannot name %s", publish->to);
    else
        sync_folder_of(publish->to, error);
}

static void ran(uv_work_t *work, int status)
{
    rh_database_publish *publish = work->data;
    if (status < 0)
        rh_fail_uv(&publish->op.error, status, "%s", publish->path);
    free(work);
    rh_op_done(&publish->op);
}

bool rh_database_publish_start(rh_database_publish *publish, rh_error *error)
{
    uv_work_t *work = rh_alloc(sizeof *work);
    work->data = publish;
    int status = uv_queue_work(rh_loop(), work, run, ran);
    if (status == 0)
        return true;
    free(work);
    return rh_fail_uv(error, status, "%s", publish->path);
}

void rh_database_publish_fini(rh_op *op)
{
    rh_database_publish *publish = (rh_database_publish *)op;
    free(publish->path);
    free(publish->to);
}
