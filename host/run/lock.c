#include "run/lock.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/loop.h"
#include "run/file.h"
#include "run/state.h"
#include "run/who.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NOTE_LIMIT = 64 * 1024 };

struct rh_lock {
    int fd;
    char *note; /* the path of NAME.json */
};

void rh_lock_info_clear(rh_lock_info *info)
{
    free(info->run);
    free(info->by);
    free(info->host);
    free(info->reason);
    *info = (rh_lock_info){0};
}

/* Notes. ------------------------------------------------------------------------------------------ */

static void add_field(rh_buffer *out, const char *name, const char *value)
{
    if (!value)
        return;
    rh_buffer_addf(out, ",\"%s\":", name);
    rh_json_quote(out, value, strlen(value));
}

static bool write_note(const char *path, const char *run, const char *reason, bool durable,
                       rh_error *error)
{
    rh_buffer note = {0};
    char *by = rh_who_login(getuid()), *host = rh_who_host();
    rh_buffer_addf(&note, "{\"since\":%lld", (long long)rh_wall_ms());
    if (!reason)
        rh_buffer_addf(&note, ",\"pid\":%lld", (long long)getpid());
    add_field(&note, "run", run);
    add_field(&note, "by", by);
    add_field(&note, "host", host);
    add_field(&note, "reason", reason);
    rh_buffer_adds(&note, "}\n");
    bool ok = rh_file_write(path, note.data, note.size, 0644, durable, error);
    free(by);
    free(host);
    rh_buffer_free(&note);
    return ok;
}

static char *copy_field(const json_t *note, const char *name)
{
    const char *value = json_string_value(json_object_get(note, name));
    return value ? rh_strdup(value) : NULL;
}

static void read_note(const char *path, rh_lock_info *info)
{
    rh_buffer text = {0};
    if (rh_file_read(path, NOTE_LIMIT, &text, NULL)) {
        json_t *note = json_loadb(text.data, text.size, 0, NULL);
        *info = (rh_lock_info){
            .run = copy_field(note, "run"),
            .by = copy_field(note, "by"),
            .host = copy_field(note, "host"),
            .reason = copy_field(note, "reason"),
            .pid = json_integer_value(json_object_get(note, "pid")),
            .since_ms = json_integer_value(json_object_get(note, "since")),
        };
        json_decref(note);
    }
    rh_buffer_free(&text);
}

static char *note_path(const char *lock)
{
    const char *dot = strrchr(lock, '.');
    const char *slash = strrchr(lock, '/');
    size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - lock) : strlen(lock);
    return rh_format("%.*s.json", (int)stem, lock);
}

/* Locks. ------------------------------------------------------------------------------------------ */

static void add_holder(rh_buffer *out, const rh_lock_info *info)
{
    char since[40] = "an unknown time";
    time_t seconds = (time_t)(info->since_ms / 1000);
    struct tm utc;
    if (info->since_ms && gmtime_r(&seconds, &utc))
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &utc);
    rh_buffer_addf(out, "%s", info->by ? info->by : "someone");
    if (info->host)
        rh_buffer_addf(out, " on %s", info->host);
    if (info->pid)
        rh_buffer_addf(out, " (pid %lld)", (long long)info->pid);
    rh_buffer_addf(out, " since %s", since);
}

/* STATE of STATE/locks/NAME.lock. */
static char *state_of(const char *path)
{
    const char *end = strrchr(path, '/');
    while (end && end > path && end[-1] != '/')
        end--;
    return end && end > path ? rh_strndup(path, (size_t)(end - path - 1)) : rh_strdup(".");
}

static bool refuse(const char *path, const char *what, const rh_lock_info *info, rh_error *error)
{
    rh_buffer holder = {0};
    add_holder(&holder, info);
    if (info->run) {
        char *state = state_of(path), *option = rh_state_option(state);
        rh_fail(
            error, "locked",
            "%s is held by run %s, %s: wait for it, look at it with `rollouthost show %s%s`, or stop it with "
            "`rollouthost pause %s%s`",
            what, info->run, holder.data, info->run, option, info->run, option);
        free(option);
        free(state);
    } else
        rh_fail(error, "locked", "%s is held by %s: wait until it is done", what, holder.data);
    rh_buffer_free(&holder);
    return false;
}

static bool lock_file(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

rh_lock *rh_lock_take(const char *path, const char *what, const char *run, rh_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0660);
    if (fd < 0) {
        rh_fail_errno(error, errno, "cannot open the lock %s", path);
        return NULL;
    }
    (void)fchmod(
        fd, 0660); /* whatever the umask says: its group shares the state; only the owner may */
    char *note = note_path(path);
    if (!lock_file(fd)) {
        rh_lock_info info = {0};
        if (errno == EAGAIN || errno == EACCES) {
            read_note(note, &info);
            refuse(path, what, &info, error);
        } else {
            rh_fail_errno(error, errno, "cannot lock %s", path);
        }
        rh_lock_info_clear(&info);
    } else if (write_note(note, run, NULL, false, error)) {
        rh_lock *lock = rh_alloc(sizeof *lock);
        *lock = (rh_lock){fd, note};
        return lock;
    }
    close(fd);
    free(note);
    return NULL;
}

void rh_lock_release(rh_lock *lock)
{
    if (!lock)
        return;
    unlink(lock->note); /* before the lock goes: afterwards it would be the next holder's */
    close(lock->fd);
    free(lock->note);
    free(lock);
}

bool rh_lock_is_held(const char *path, rh_lock_info *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    close(fd);
    if (held && info) {
        char *note = note_path(path);
        read_note(note, info);
        free(note);
    }
    return held;
}

/* Environments. ------------------------------------------------------------------------------------ */

static char *environment_path(const char *state, const char *playbook, const char *environment,
                              const char *suffix)
{
    char *safe_playbook = rh_file_safe(playbook), *safe_environment = rh_file_safe(environment);
    char *path = rh_format("%s/locks/%s@%s%s", state, safe_playbook, safe_environment, suffix);
    free(safe_playbook);
    free(safe_environment);
    return path;
}

static bool record_is_there(const char *state, const char *playbook, const char *environment,
                            rh_lock_info *info)
{
    char *path = environment_path(state, playbook, environment, ".held");
    bool there = access(path, F_OK) == 0;
    if (there)
        read_note(path, info);
    free(path);
    return there;
}

static bool refuse_record(const char *state, const char *playbook, const char *environment,
                          const rh_lock_info *info, rh_error *error)
{
    char *option = rh_state_option(state);
    rh_buffer holder = {0};
    add_holder(&holder, info);
    rh_fail(
        error, "locked",
        "%s of %s is locked by %s%s%s: %s. Look into it%s%s%s, then `rollouthost unlock %s %s%s`",
        environment, playbook, holder.data, info->run ? ", run " : "", info->run ? info->run : "",
        info->reason ? info->reason : "no reason was given",
        info->run ? " with rollouthost show " : "", info->run ? info->run : "",
        info->run ? option : "", playbook, environment, option);
    free(option);
    rh_error_detail(error, rh_strdup("{\"record\":true}"));
    rh_buffer_free(&holder);
    return false;
}

rh_lock *rh_lock_environment(const char *state, const char *playbook, const char *environment,
                             const char *run, rh_error *error)
{
    char *path = environment_path(state, playbook, environment, ".lock");
    char *what = rh_format("%s of %s", environment, playbook);
    rh_lock *lock = rh_lock_take(path, what, run, error);
    rh_lock_info record = {0};
    /* Looked for under the lock: a run that is just rolling back writes its record before it lets go. A run
     * may pass its own record: that is how it is resumed or rolled back. */
    if (lock && record_is_there(state, playbook, environment, &record) &&
        !(record.run && strcmp(record.run, run) == 0)) {
        refuse_record(state, playbook, environment, &record, error);
        rh_lock_release(lock);
        lock = NULL;
    }
    rh_lock_info_clear(&record);
    free(path);
    free(what);
    return lock;
}

bool rh_lock_environment_is_held(const char *state, const char *playbook, const char *environment,
                                 rh_lock_info *info)
{
    if (record_is_there(state, playbook, environment, info))
        return true;
    char *path = environment_path(state, playbook, environment, ".lock");
    bool held = rh_lock_is_held(path, info);
    free(path);
    return held;
}

bool rh_lock_hold(const char *state, const char *playbook, const char *environment,
                  const char *reason, const char *run, rh_error *error)
{
    char *path = environment_path(state, playbook, environment, ".held");
    bool ok = write_note(path, run, reason, true, error);
    free(path);
    return ok;
}

bool rh_lock_unhold(const char *state, const char *playbook, const char *environment,
                    rh_error *error)
{
    char *path = environment_path(state, playbook, environment, ".held");
    bool ok = unlink(path) == 0;
    if (!ok && errno == ENOENT)
        rh_fail(error, "not_held", "%s of %s is not locked by hand or after a rollback",
                environment, playbook);
    else if (!ok)
        rh_fail_errno(error, errno, "cannot remove %s", path);
    free(path);
    return ok;
}

void rh_lock_unhold_own(const char *state, const char *playbook, const char *environment,
                        const char *run)
{
    rh_lock_info record = {0};
    if (record_is_there(state, playbook, environment, &record) && record.run &&
        strcmp(record.run, run) == 0)
        (void)rh_lock_unhold(state, playbook, environment, NULL);
    rh_lock_info_clear(&record);
}

/* Back from rh_file_safe(), in place. */
static void unsafe(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in == '%' && isxdigit((unsigned char)in[1]) && isxdigit((unsigned char)in[2])) {
            const char digits[] = {in[1], in[2], '\0'};
            *out++ = (char)strtol(digits, NULL, 16);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
}

bool rh_lock_each(const char *state,
                  void (*fn)(void *data, const char *playbook, const char *environment,
                             const rh_lock_info *info),
                  void *data, rh_error *error)
{
    char *folder = rh_format("%s/locks", state);
    DIR *dir = opendir(folder);
    if (!dir && errno != ENOENT)
        rh_fail_errno(error, errno, "cannot read %s", folder);
    free(folder);
    if (!dir)
        return !error || !rh_error_is_set(error);
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        char *playbook = rh_strdup(entry->d_name);
        char *at = strchr(playbook, '@'), *dot = strrchr(playbook, '.');
        const bool record = dot && strcmp(dot, ".held") == 0;
        if (at && dot > at && (record || strcmp(dot, ".lock") == 0)) {
            rh_lock_info info = {0};
            *at = *dot = '\0';
            unsafe(playbook);
            unsafe(at + 1);
            if (record
                    ? record_is_there(state, playbook, at + 1, &info)
                    : rh_lock_environment_is_held(state, playbook, at + 1, &info) && !info.reason)
                fn(data, playbook, at + 1, &info);
            rh_lock_info_clear(&info);
        }
        free(playbook);
    }
    closedir(dir);
    return true;
}
