#include "run/attach.h"

#include "core/buffer.h"
#include "core/mask.h"
#include "run/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *free_name(const char *folder, const char *name)
{
    char *path = rh_format("%s/%s", folder, name);
    for (int i = 2; access(path, F_OK) == 0; i++) {
        free(path);
        path = rh_format("%s/%s.%d", folder, name, i);
    }
    return path;
}

bool rh_attach(const char *run_dir, const char *path, const char *name, rh_attached *kept,
               rh_error *error)
{
    struct stat info;
    rh_buffer shown = {0};
    const bool hidden = rh_mask_text(rh_mask_process(), name, strlen(name), &shown);
    if (hidden)
        rh_fail(error, "masked", "its name, %s, holds a secret: give it another", shown.data);
    rh_buffer_free(&shown);
    if (hidden)
        return false;
    if (stat(path, &info) != 0)
        return rh_fail_errno(error, errno, "%s", path);
    if (!S_ISREG(info.st_mode))
        return rh_fail(error, "attach", "%s is no regular file", path);
    rh_buffer text = {0}, masked = {0};
    char *folder = rh_format("%s/attachments", run_dir);
    bool ok = rh_file_read(path, RH_ATTACH_LARGEST, &text, error);
    if (ok && mkdir(folder, 0700) != 0 && errno != EEXIST)
        ok = rh_fail_errno(error, errno, "%s", folder);
    if (ok) {
        rh_mask_text(rh_mask_process(), text.data ? text.data : "", text.size, &masked);
        kept->path = free_name(folder, name);
        kept->bytes = (int64_t)masked.size;
        rh_sha256_hex(masked.data ? masked.data : "", masked.size, kept->sha256);
        ok = rh_file_write(kept->path, masked.data ? masked.data : "", masked.size, 0600, true,
                           error);
        if (!ok) {
            free(kept->path);
            kept->path = NULL;
        }
    }
    free(folder);
    rh_buffer_free(&text);
    rh_buffer_free(&masked);
    return ok;
}
