#include "fs.h"

#include "core/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool do_stat(rh_fs *fs)
{
    if (lstat(fs->path, &fs->stat) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return true;
        return rh_fail_errno(&fs->op.error, errno, "cannot look at %s", fs->path);
    }
    fs->found = true;
    if (S_ISLNK(
            fs->stat.st_mode)) { /* what it points to, and the link itself where that is nothing */
        struct stat target;
        if (stat(fs->path, &target) == 0)
            fs->stat = target;
    }
    return true;
}

static bool do_read(rh_fs *fs)
{
    const int fd = open(fs->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot read %s", fs->path);
    bool ok = true;
    while (ok && !atomic_load(&fs->stop)) {
        rh_buffer_reserve(&fs->data, 65536);
        const ssize_t count = read(fd, fs->data.data + fs->data.size, 65536);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            ok = rh_fail_errno(&fs->op.error, errno, "cannot read %s", fs->path);
        if (count <= 0)
            break;
        fs->data.size += (size_t)count;
        if ((int64_t)fs->data.size > fs->limit)
            ok = rh_fail(&fs->op.error, "too_large",
                         "%s has more than %lld bytes; give a larger limit if it is meant",
                         fs->path, (long long)fs->limit);
    }
    close(fd);
    return ok;
}

static bool is_directory(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static bool do_mkdir(rh_fs *fs)
{
    const mode_t mode = fs->mode < 0 ? 0755 : (mode_t)fs->mode;
    fs->found = is_directory(fs->path);
    for (char *at = fs->path + 1; !fs->found && *at != '\0'; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = '\0';
        const bool ok = mkdir(fs->path, 0755) == 0 || is_directory(fs->path);
        const int why = errno;
        if (!ok)
            rh_fail_errno(&fs->op.error, why, "cannot make the folder %s", fs->path);
        *at = '/';
        if (!ok)
            return false;
    }
    if (!fs->found && mkdir(fs->path, mode) != 0 && !is_directory(fs->path))
        return rh_fail_errno(&fs->op.error, errno, "cannot make the folder %s", fs->path);
    return true;
}

static bool do_remove(rh_fs *fs)
{
    fs->found = unlink(fs->path) == 0;
    if (fs->found || errno == ENOENT)
        return true;
    const int why = errno;
    if (is_directory(fs->path))
        return rh_fail(&fs->op.error, "directory", "%s is a folder; fs.remove removes files only",
                       fs->path);
    return rh_fail_errno(&fs->op.error, why, "cannot remove %s", fs->path);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_name(rh_fs *fs, const char *name)
{
    if ((fs->names_count & (fs->names_count + 1)) == 0) /* 0, 1, 3, 7, …: grow to twice as many */
        fs->names = rh_realloc(fs->names, (fs->names_count + 1) * 2 * sizeof *fs->names);
    fs->names[fs->names_count++] = rh_strdup(name);
}

static void sort_names(rh_fs *fs)
{
    if (fs->names_count > 1)
        qsort(fs->names, fs->names_count, sizeof *fs->names, by_bytes);
}

static bool do_list(rh_fs *fs)
{
    DIR *folder = opendir(fs->path);
    if (folder == NULL)
        return rh_fail_errno(&fs->op.error, errno, "cannot list %s", fs->path);
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            add_name(fs, entry->d_name);
    const int why = errno;
    closedir(folder);
    if (why != 0)
        return rh_fail_errno(&fs->op.error, why, "cannot list %s", fs->path);
    sort_names(fs);
    return true;
}

static bool do_glob(rh_fs *fs)
{
    glob_t found = {0};
    const int status = glob(fs->path, GLOB_NOSORT | GLOB_BRACE, NULL, &found);
    if (status == GLOB_NOSPACE)
        return rh_fail(&fs->op.error, "io", "cannot search for %s: out of memory", fs->path);
    for (size_t i = 0; status == 0 && i < found.gl_pathc; i++)
        add_name(fs, found.gl_pathv[i]);
    globfree(&found);
    sort_names(fs);
    return true;
}

static bool do_free(rh_fs *fs)
{
    struct statvfs found;
    if (statvfs(fs->path, &found) != 0)
        return rh_fail_errno(&fs->op.error, errno, "cannot ask for the free space at %s", fs->path);
    fs->size = (int64_t)(found.f_bavail * found.f_frsize);
    return true;
}

static bool (*const verbs[])(rh_fs *) = {
    [RH_FS_STAT] = do_stat,       [RH_FS_READ] = do_read,   [RH_FS_WRITE] = rh_fs_do_write,
    [RH_FS_COPY] = rh_fs_do_copy, [RH_FS_MKDIR] = do_mkdir, [RH_FS_REMOVE] = do_remove,
    [RH_FS_LIST] = do_list,       [RH_FS_GLOB] = do_glob,   [RH_FS_SHA256] = rh_fs_do_sha256,
    [RH_FS_FREE] = do_free,
};

static void work(uv_work_t *request)
{
    rh_fs *fs = request->data;
    if (verbs[fs->verb](fs) && atomic_load(&fs->stop))
        rh_fail(&fs->op.error, "cancelled", "%s was cancelled", fs->path);
}

static void after_work(uv_work_t *request, int status)
{
    rh_fs *fs = request->data;
    if (status != 0)
        rh_fail(&fs->op.error, "cancelled", "%s was cancelled", fs->path);
    rh_error_module(&fs->op.error, "fs");
    rh_op_done(&fs->op);
}

bool rh_fs_start(rh_fs *fs, const rh_fs_request *request, rh_error *error)
{
    fs->verb = request->verb;
    fs->path = rh_strdup(request->path);
    fs->to = request->to != NULL ? rh_strdup(request->to) : NULL;
    fs->mode = request->mode;
    fs->limit = request->limit;
    if (request->data != NULL)
        rh_buffer_add(&fs->data, request->data, request->data_size);
    fs->work.data = fs;
    const int status = uv_queue_work(rh_loop(), &fs->work, work, after_work);
    return status == 0 || rh_fail_uv(error, status, "cannot work on %s", request->path);
}

void rh_fs_cancel(rh_op *op)
{
    rh_fs *fs = (rh_fs *)op;
    atomic_store(&fs->stop, true);
    uv_cancel((uv_req_t *)&fs->work); /* where it has not begun; else `stop` ends its loop */
}

void rh_fs_fini(rh_op *op)
{
    rh_fs *fs = (rh_fs *)op;
    for (size_t i = 0; i < fs->names_count; i++)
        free(fs->names[i]);
    free(fs->names);
    free(fs->path);
    free(fs->to);
    rh_buffer_free(&fs->data);
}
