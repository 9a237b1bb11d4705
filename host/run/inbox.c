#include "run/inbox.h"

#include "core/buffer.h"
#include "core/digest.h"
#include "core/event.h"
#include "core/json.h"
#include "core/loop.h"
#include "run/file.h"
#include "run/waiters.h"
#include "run/who.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LARGEST = 1024 * 1024,
    SOON = 200,   /* ms until there is a watch */
    BLIND = 1000, /* ms between two looks where no watch can be had */
};

struct rh_inbox {
    uv_fs_event_t watch;
    uv_timer_t timer; /* until there is a watch */
    unsigned handles; /* that are not closed */
    rh_waiters waiters;
    char *folder;
    char *run;
    char **told; /* files that were warned about */
    size_t told_count;
};

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Dropping. ---------------------------------------------------------------------------------------- */

bool rh_inbox_drop(const char *run_dir, const char *kind, const char *json, rh_error *error)
{
    rh_buffer text = {0};
    uint32_t mark;
    rh_random(&mark, sizeof mark);
    /* Named by the time, so that names sort as they came. */
    char *path = rh_format("%s/inbox/%020lld-%08x.json", run_dir, (long long)rh_wall_us(), mark);
    const char *run = last_part(run_dir);
    rh_buffer_adds(&text, "{\"kind\":");
    rh_json_quote(&text, kind, strlen(kind));
    rh_buffer_adds(&text, ",\"run\":");
    rh_json_quote(&text, run, strlen(run));
    rh_buffer_addf(&text, ",\"data\":%s}\n", json ? json : "{}");
    bool ok = rh_file_write(path, text.data, text.size, 0644, true, error);
    rh_buffer_free(&text);
    free(path);
    return ok;
}

/* Reading. ----------------------------------------------------------------------------------------- */

static bool is_told(const rh_inbox *inbox, const char *file)
{
    for (size_t i = 0; i < inbox->told_count; i++)
        if (strcmp(inbox->told[i], file) == 0)
            return true;
    return false;
}

static void ignore(rh_inbox *inbox, const char *file, const char *why)
{
    rh_buffer payload = {0}, text = {0};
    inbox->told = rh_realloc(inbox->told, (inbox->told_count + 1) * sizeof *inbox->told);
    inbox->told[inbox->told_count++] = rh_strdup(file);
    rh_buffer_addf(&text, "the inbox holds %s, which is ignored: %s", file, why);
    rh_buffer_adds(&payload, "{\"text\":");
    rh_json_quote(&payload, text.data, text.size);
    rh_buffer_adds(&payload, "}");
    rh_event_say("warning", "", payload.data);
    rh_buffer_free(&payload);
    rh_buffer_free(&text);
}

/* Reads a file that somebody else may have made to deceive. Returns why it is no message, or NULL. */
static const char *read_file(int fd, struct stat *status, rh_buffer *text)
{
    if (fstat(fd, status) != 0 || !S_ISREG(status->st_mode))
        return "it is no regular file";
    if (status->st_nlink != 1)
        return "it has another name elsewhere, so its owner need not have put it here";
    if (status->st_mode & (S_IWGRP | S_IWOTH))
        return "others than its owner can write it";
    if (status->st_size > LARGEST)
        return "it is too large";
    rh_buffer_reserve(text, (size_t)status->st_size);
    ssize_t got;
    while ((size_t)status->st_size > text->size &&
           (got = read(fd, text->data + text->size, (size_t)status->st_size - text->size)) > 0)
        text->size += (size_t)got;
    text->data[text->size] = '\0';
    return NULL;
}

static const char *read_message(const rh_inbox *inbox, const char *file, rh_inbox_message *message,
                                json_t **json)
{
    char *path = rh_format("%s/%s", inbox->folder, file);
    /* Not blocking: a pipe of that name must not stop the run. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return errno == ENOENT ? "" : "it cannot be read";
    struct stat status;
    rh_buffer text = {0};
    const char *why = read_file(fd, &status, &text);
    close(fd);
    if (!why && !(*json = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, NULL)))
        why = "it is not JSON";
    rh_buffer_free(&text);
    if (why)
        return why;
    const char *run = json_string_value(json_object_get(*json, "run"));
    message->kind = json_string_value(json_object_get(*json, "kind"));
    if (!message->kind || !json_is_object(json_object_get(*json, "data")))
        return "it is no message";
    if (!run || strcmp(run, inbox->run) != 0)
        return "it is meant for another run";
    message->file = file;
    message->uid = status.st_uid;
    message->time_ms = (int64_t)status.st_ctim.tv_sec * 1000 + status.st_ctim.tv_nsec / 1000000;
    return NULL;
}

static int is_candidate(const struct dirent *entry) { return entry->d_name[0] != '.'; }

bool rh_inbox_scan(rh_inbox *inbox, void (*fn)(void *data, const rh_inbox_message *message),
                   void *data, rh_error *error)
{
    struct dirent **entries;
    int count = scandir(inbox->folder, &entries, is_candidate, alphasort);
    if (count < 0)
        return rh_fail_errno(error, errno, "cannot read the inbox %s", inbox->folder);
    for (int i = 0; i < count; i++) {
        rh_inbox_message message = {0};
        json_t *json = NULL;
        const char *file = entries[i]->d_name;
        const char *why = is_told(inbox, file) ? "" : read_message(inbox, file, &message, &json);
        if (!why) {
            char *by = rh_who_login(message.uid);
            char *payload =
                json_dumps(json_object_get(json, "data"), JSON_COMPACT | JSON_SORT_KEYS);
            message.by = by;
            message.data = payload;
            fn(data, &message);
            free(payload);
            free(by);
        } else if (*why) {
            ignore(inbox, file, why);
        }
        json_decref(json);
        free(entries[i]);
    }
    free(entries);
    return true;
}

bool rh_inbox_remove(rh_inbox *inbox, const char *file)
{
    char *path = rh_format("%s/%s", inbox->folder, last_part(file));
    bool ok = unlink(path) == 0 || errno == ENOENT;
    free(path);
    return ok;
}

/* Watching. ---------------------------------------------------------------------------------------- */

static void wake(rh_inbox *inbox)
{
    uv_unref((uv_handle_t *)&inbox->watch);
    uv_unref((uv_handle_t *)&inbox->timer);
    rh_waiters_wake(&inbox->waiters, NULL);
}

static void changed(uv_fs_event_t *watch, const char *file, int events, int status)
{
    (void)events, (void)status;
    rh_inbox *inbox = watch->data;
    if (file && (file[0] == '.' || is_told(inbox, file)))
        return; /* half-written */
    char *path = file ? rh_format("%s/%s", inbox->folder, file) : NULL;
    if (!path || access(path, F_OK) == 0) /* not for one that was just removed */
        wake(inbox);
    free(path);
}

static bool holds_news(const rh_inbox *inbox)
{
    bool news = false;
    DIR *folder = opendir(inbox->folder);
    for (struct dirent *entry = NULL; folder && !news && (entry = readdir(folder));)
        news = is_candidate(entry) && !is_told(inbox, entry->d_name);
    if (folder)
        closedir(folder);
    return news;
}

static void watch_from_now(uv_timer_t *timer)
{
    rh_inbox *inbox = timer->data;
    if (uv_fs_event_start(&inbox->watch, changed, inbox->folder, 0) != 0)
        uv_timer_start(timer, watch_from_now, BLIND,
                       0); /* of inotify a user may have only so much */
    if (holds_news(inbox))
        wake(inbox);
}

bool rh_inbox_look_early(rh_inbox *inbox)
{
    if (uv_is_active((uv_handle_t *)&inbox->watch) || !holds_news(inbox))
        return false;
    wake(inbox);
    return true;
}

static void closed(uv_handle_t *handle)
{
    rh_inbox *inbox = handle->data;
    if (--inbox->handles > 0)
        return;
    for (size_t i = 0; i < inbox->told_count; i++)
        free(inbox->told[i]);
    free(inbox->told);
    free(inbox->folder);
    free(inbox->run);
    free(inbox);
}

rh_inbox *rh_inbox_open(const char *run_dir, rh_error *error)
{
    rh_inbox *inbox = rh_alloc(sizeof *inbox);
    inbox->folder = rh_format("%s/inbox", run_dir);
    inbox->run = rh_strdup(last_part(run_dir));
    uv_fs_event_init(rh_loop(), &inbox->watch);
    uv_timer_init(rh_loop(), &inbox->timer);
    inbox->handles = 2;
    inbox->watch.data = inbox->timer.data = inbox;
    /* Giving a watch back takes the kernel up to 10 ms, twice of all that a short run takes: those get none. */
    uv_timer_start(&inbox->timer, watch_from_now, SOON, 0);
    uv_unref((uv_handle_t *)&inbox->watch);
    uv_unref((uv_handle_t *)&inbox->timer);
    if (access(inbox->folder, R_OK | X_OK) == 0)
        return inbox;
    rh_fail_errno(error, errno, "cannot watch the inbox %s", inbox->folder);
    rh_inbox_close(inbox);
    return NULL;
}

void rh_inbox_close(rh_inbox *inbox)
{
    if (!inbox)
        return;
    uv_close((uv_handle_t *)&inbox->timer, closed);
    uv_close((uv_handle_t *)&inbox->watch, closed);
}

rh_op *rh_inbox_wait(rh_inbox *inbox)
{
    uv_ref((uv_handle_t *)&inbox->watch); /* somebody waits for it: the loop has something to do */
    uv_ref((uv_handle_t *)&inbox->timer);
    return rh_waiters_add(&inbox->waiters, true);
}
