#include "files.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void run(uv_work_t *work)
{
    rh_mysql_publish *publish = work->data;
    rh_error *error = &publish->op.error;
    if (!sync_path(publish->path, O_RDWR, error))
        return;
    if (renameat2(AT_FDCWD, publish->path, AT_FDCWD, publish->to, RENAME_NOREPLACE) != 0)
        rh_fail_errno(error, errno, "cannot name %s", publish->to);
    else
        sync_folder_of(publish->to, error);
}

static void ran(uv_work_t *work, int status)
{
    rh_mysql_publish *publish = work->data;
    if (status < 0)
        rh_fail_uv(&publish->op.error, status, "%s", publish->path);
    free(work);
    rh_op_done(&publish->op);
}

bool rh_mysql_publish_start(rh_mysql_publish *publish, rh_error *error)
{
    uv_work_t *work = rh_alloc(sizeof *work);
    work->data = publish;
    int status = uv_queue_work(rh_loop(), work, run, ran);
    if (status == 0)
        return true;
    free(work);
    return rh_fail_uv(error, status, "%s", publish->path);
}

void rh_mysql_publish_fini(rh_op *op)
{
    rh_mysql_publish *publish = (rh_mysql_publish *)op;
    free(publish->path);
    free(publish->to);
}
