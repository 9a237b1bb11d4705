#include "log.h"

#include "core/buffer.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "app.log.1", "app.log-20261120", "app.log.2.gz": not "app.log.bak", and not "app-error.log". */
static bool is_rotated(const char *name, const char *base)
{
    const size_t size = strlen(base);
    return strncmp(name, base, size) == 0 && (name[size] == '.' || name[size] == '-') &&
           isdigit((unsigned char)name[size + 1]);
}

static bool is_packed(const char *name)
{
    static const char *const ends[] = {".gz", ".xz", ".bz2", ".zst", ".lz4", ".zip"};
    const size_t size = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t end = strlen(ends[i]);
        if (size > end && strcmp(name + size - end, ends[i]) == 0)
            return true;
    }
    return false;
}

/* By their names: of numbers the highest is the oldest, of dates the earliest. Times of change would do but for files that
 * are written to in the same tick of the kernel's clock. */
static int by_age(const void *a, const void *b)
{
    enum { DATE = 8 }; /* so many digits are no number */
    const rh_log_rotated *x = a, *y = b;
    const char *left = x->path + x->suffix, *right = y->path + y->suffix;
    const size_t left_digits = strspn(left, "0123456789-"),
                 right_digits = strspn(right, "0123456789-");
    if (left_digits >= DATE && right_digits >= DATE)
        return strcmp(left, right);
    if (left_digits < DATE && right_digits < DATE) {
        const long p = strtol(left, NULL, 10), q = strtol(right, NULL, 10);
        return (p < q) - (p > q);
    }
    return (x->changed_ns > y->changed_ns) - (x->changed_ns < y->changed_ns);
}

size_t rh_log_list_rotated(const char *path, rh_log_rotated **list)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const int folder_size = slash ? (int)(base - path) : 2;
    size_t count = 0;
    char *folder = NULL;
    *list = NULL;
    if (asprintf(&folder, "%.*s", folder_size, slash ? path : "./") < 0)
        return 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat found;
        char *full = NULL;
        if (!is_rotated(entry->d_name, base) || asprintf(&full, "%s%s", folder, entry->d_name) < 0)
            continue;
        if (stat(full, &found) != 0 || !S_ISREG(found.st_mode)) {
            free(full);
            continue;
        }
        *list = rh_realloc(*list, (count + 1) * sizeof **list);
        (*list)[count++] = (rh_log_rotated){
            .path = full,
            .suffix = strlen(folder) + strlen(base) + 1,
            .inode = (uint64_t)found.st_ino,
            .size = (int64_t)found.st_size,
            .changed_ns = (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec,
            .packed = is_packed(entry->d_name)};
    }
    if (dir)
        closedir(dir);
    free(folder);
    if (count > 1)
        qsort(*list, count, sizeof **list, by_age);
    return count;
}

void rh_log_free_rotated(rh_log_rotated *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i].path);
    free(list);
}
