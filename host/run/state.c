#include "run/state.h"

#include "core/buffer.h"
#include "core/digest.h"
#include "run/file.h"
#include "run/who.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char shared[] = "/var/lib/rollouthost";

/* Not in linux/magic.h. */
enum { LUSTRE = 0x0bd00bd0, GFS2 = 0x01161970, GPFS = 0x47504653 };

const char *rh_state_unfit(long magic, const char *type)
{
    switch ((uint32_t)magic) {
    case NFS_SUPER_MAGIC:
        return "NFS";
    case SMB_SUPER_MAGIC:
        return "SMB";
    case SMB2_SUPER_MAGIC:
        return "SMB";
    case CIFS_SUPER_MAGIC:
        return "CIFS";
    case V9FS_MAGIC:
        return "9p";
    case AFS_SUPER_MAGIC:
    case AFS_FS_MAGIC:
        return "AFS";
    case CODA_SUPER_MAGIC:
        return "Coda";
    case CEPH_SUPER_MAGIC:
        return "Ceph";
    case OCFS2_SUPER_MAGIC:
        return "OCFS2";
    case LUSTRE:
        return "Lustre";
    case GFS2:
        return "GFS2";
    case GPFS:
        return "GPFS";
    case FUSE_SUPER_MAGIC:
        /* A disk's file system (ntfs-3g) and a container's root are local; the rest is remote or unknown. */
        return strcmp(type, "fuseblk") == 0 || strcmp(type, "fuse.fuse-overlayfs") == 0 ? NULL
                                                                                        : type;
    default:
        return NULL;
    }
}

/* The type of the file system that `path` is on, as the kernel names it. */
static void mounted_type(dev_t device, char *type, size_t size)
{
    snprintf(type, size, "FUSE");
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    while (mounts && getline(&line, &capacity, mounts) > 0) {
        unsigned major_number, minor_number;
        const char *dash = strstr(line, " - ");
        char name[64];
        if (dash && sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) == 2 &&
            makedev(major_number, minor_number) == device && sscanf(dash + 3, "%63s", name) == 1)
            snprintf(type, size, "%s", name);
    }
    free(line);
    if (mounts)
        fclose(mounts);
}

static bool is_local(const char *path, const struct stat *status, rh_error *error)
{
    struct statfs fs;
    if (statfs(path, &fs) != 0)
        return rh_fail_errno(error, errno, "cannot look at the state folder %s", path);
    char type[64];
    mounted_type(status->st_dev, type, sizeof type);
    const char *unfit = rh_state_unfit((long)fs.f_type, type);
    return !unfit ||
           rh_fail(
               error, "state",
               "the state folder %s is on a network file system (%s), where locks and commits cannot be "
               "relied on: choose a local folder with --state or ROLLOUTHOST_STATE",
               path, unfit);
}

static bool is_ours(const char *path, const struct stat *status, rh_error *error)
{
    if (status->st_mode & S_IWOTH)
        return rh_fail(
            error, "state",
            "anyone can write to the state folder %s: approvals in it would prove nothing. Make it "
            "0700, or 2770 with a group of its own",
            path);
    if (status->st_uid == geteuid() || (status->st_mode & S_IWGRP))
        return true;
    char *owner = rh_who_login(status->st_uid), *us = rh_who_login(geteuid());
    rh_fail(
        error, "state",
        "the state folder %s belongs to %s and is not shared with a group, and you are %s: run as %s, or "
        "choose another folder with --state",
        path, owner, us, owner);
    free(owner);
    free(us);
    return false;
}

static bool check(const char *path, bool write, rh_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return rh_fail_errno(error, errno, "cannot use the state folder %s", path);
    if (!S_ISDIR(status.st_mode))
        return rh_fail(error, "state", "%s is not a folder: it cannot hold the state", path);
    if (!is_local(path, &status, error))
        return false;
    if (!write)
        return access(path, R_OK | X_OK) == 0 ||
               rh_fail(error, "state", "the state folder %s cannot be read: %s", path,
                       strerror(errno));
    if (!is_ours(path, &status, error))
        return false;
    return access(path, R_OK | W_OK | X_OK) == 0 ||
           rh_fail(
               error, "state",
               "the state folder %s cannot be written: %s. A run that cannot be recorded is not begun; choose "
               "another folder with --state",
               path, strerror(errno));
}

bool rh_state_fail_making(const char *path, int err, rh_error *error)
{
    const bool full = err == ENOSPC || err == EDQUOT || err == EIO;
    return rh_fail(error, full ? "journal" : "state", "%s cannot be made: %s", path, strerror(err));
}

static bool make_folders(char *path, rh_error *error)
{
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        int status = mkdir(path, 0700);
        int err = errno;
        if (slash)
            *slash = '/';
        if (status != 0 && err != EEXIST)
            return rh_state_fail_making(path, err, error);
        if (!slash)
            return true;
    }
}

/* Where state lives if nobody says so. */
static char *choose(rh_error *error)
{
    if (access(shared, W_OK | X_OK) == 0)
        return rh_strdup(shared);
    const char *base = getenv("XDG_STATE_HOME");
    if (base && base[0] == '/')
        return rh_format("%s/rollouthost", base);
    const char *home = getenv("HOME");
    const struct passwd *entry = home && home[0] == '/' ? NULL : getpwuid(geteuid());
    if (entry)
        home = entry->pw_dir;
    if (home && home[0] == '/')
        return rh_format("%s/.local/state/rollouthost", home);
    rh_fail(error, "state", "there is no home folder to keep state in: name a folder with --state");
    return NULL;
}

static char *absolute(const char *given)
{
    if (given[0] == '/')
        return rh_strdup(given);
    char here[PATH_MAX];
    return getcwd(here, sizeof here) ? rh_format("%s/%s", here, given) : rh_strdup(given);
}

/* The folders of the state itself take its own mode: private, or shared with a group. */
static bool make_rooms(const char *state, rh_error *error)
{
    static const char *const rooms[] = {"runs", "locks"};
    struct stat status;
    if (stat(state, &status) != 0)
        return rh_fail_errno(error, errno, "cannot use the state folder %s", state);
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof rooms / sizeof *rooms; i++) {
        char *path = rh_format("%s/%s", state, rooms[i]);
        if (mkdir(path, 0700) == 0)
            ok = chmod(path, status.st_mode & 02770) == 0 ||
                 rh_fail_errno(error, errno, "cannot use %s", path);
        else if (errno != EEXIST)
            ok = rh_state_fail_making(path, errno, error);
        free(path);
    }
    return ok;
}

char *rh_state_open(const char *given, bool write, rh_error *error)
{
    if (!given || !*given)
        given = getenv("ROLLOUTHOST_STATE");
    if (given && strstr(given, "://")) {
        rh_fail(error, "state", "%s: state is kept in a folder; this version has no other store",
                given);
        return NULL;
    }
    char *path = given && *given ? absolute(given) : choose(error);
    if (!path)
        return NULL;
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/';)
        path[--end] = '\0';
    bool there = access(path, F_OK) == 0;
    if ((there || !write || make_folders(path, error)) && check(path, write, error) &&
        (!write || make_rooms(path, error)))
        return path;
    free(path);
    return NULL;
}

char *rh_state_option(const char *state)
{
    rh_error ignored = {0};
    char *usual = choose(&ignored);
    rh_buffer option = {0};
    if (!usual || strcmp(usual, state) != 0) {
        rh_buffer_adds(&option, " --state ");
        rh_buffer_add_word(&option, state);
    }
    free(usual);
    rh_error_clear(&ignored);
    return option.size ? rh_buffer_take(&option) : rh_strdup("");
}

bool rh_state_key(const char *state, uint8_t key[RH_STATE_KEY], rh_error *error)
{
    char *path = rh_format("%s/key", state);
    rh_buffer text = {0};
    struct stat status;
    bool ok = true;
    if (access(path, F_OK) != 0 && stat(state, &status) == 0) {
        char *made = rh_format("%s/key.%ld", state, (long)getpid());
        rh_random(key, RH_STATE_KEY);
        ok = rh_file_write(made, key, RH_STATE_KEY, status.st_mode & S_IRGRP ? 0640 : 0600, true,
                           NULL) ||
             rh_state_fail_making(path, errno, error);
        /* link() does not replace: of two runs that begin at once, both take the first one's key. */
        if (ok && link(made, path) != 0 && errno != EEXIST)
            ok = rh_fail_errno(error, errno, "cannot make %s", path);
        unlink(made);
        free(made);
    }
    ok = ok && rh_file_read(path, RH_STATE_KEY, &text, error);
    if (ok && text.size == RH_STATE_KEY)
        memcpy(key, text.data, RH_STATE_KEY);
    else if (ok)
        ok = rh_fail(error, "state", "%s is damaged: it has %zu bytes, not %d", path, text.size,
                     RH_STATE_KEY);
    rh_buffer_free(&text);
    free(path);
    return ok;
}
