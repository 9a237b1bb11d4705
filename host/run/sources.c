#include "run/sources.h"

#include "run/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 16 * 1024 * 1024 };

/* One that was read in this process: what it says is not asked of the disk again. */
struct source {
    struct source *next;
    char *path;
    rh_buffer text;
    char sha256[RH_SHA256_HEX]; /* "": there is no such file */
    bool unsettled;             /* its copy may not be on disk yet */
};

struct rh_sources {
    char *start_dir;
    char *run_dir; /* NULL: not attached */
    rh_journal *journal;
    struct source *first, **last;
    bool unsettled;
};

rh_sources *rh_sources_new(const char *start_dir)
{
    rh_sources *sources = rh_alloc(sizeof *sources);
    sources->start_dir = rh_strdup(start_dir);
    sources->last = &sources->first;
    return sources;
}

void rh_sources_free(rh_sources *sources)
{
    if (!sources)
        return;
    for (struct source *source = sources->first, *next; source; source = next) {
        next = source->next;
        free(source->path);
        rh_buffer_free(&source->text);
        free(source);
    }
    free(sources->start_dir);
    free(sources->run_dir);
    free(sources);
}

static struct source *find(const rh_sources *sources, const char *path)
{
    for (struct source *source = sources->first; source; source = source->next)
        if (strcmp(source->path, path) == 0)
            return source;
    return NULL;
}

static struct source *add(rh_sources *sources, const char *path)
{
    struct source *source = rh_alloc(sizeof *source);
    source->path = rh_strdup(path);
    *sources->last = source;
    sources->last = &source->next;
    return source;
}

static char *stored_path(const rh_sources *sources, const char *sha256)
{
    return rh_format("%s/sources/%s", sources->run_dir, sha256);
}

static bool store(rh_sources *sources, struct source *source, rh_error *error)
{
    rh_buffer payload = {0};
    bool ok = true;
    if (*source->sha256) {
        char *path = stored_path(sources, source->sha256);
        rh_error why = {0};
        if (access(path, F_OK) != 0) {
            ok = rh_file_write(path, source->text.data, source->text.size, 0640, false, &why);
            source->unsettled = sources->unsettled = ok;
        }
        if (!ok)
            rh_fail(error, "journal", "cannot keep the run's copy of %s: %s", source->path,
                    why.message);
        rh_error_clear(&why);
        free(path);
        rh_buffer_addf(&payload, "{\"bytes\":%zu,\"sha256\":\"%s\"}", source->text.size,
                       source->sha256);
    } else {
        rh_buffer_adds(&payload, "{\"missing\":true}");
    }
    ok = ok && rh_journal_append(sources->journal, "source", source->path, payload.data,
                                 payload.size, error);
    rh_buffer_free(&payload);
    return ok;
}

bool rh_sources_attach(rh_sources *sources, const char *run_dir, rh_journal *journal,
                       rh_error *error)
{
    sources->run_dir = rh_strdup(run_dir);
    sources->journal = journal;
    bool ok = true;
    for (struct source *source = sources->first; ok && source; source = source->next)
        ok = store(sources, source, error);
    return ok;
}

/* What the run began with. */
static bool recall(rh_sources *sources, const rh_event *event, struct source *source,
                   rh_error *error)
{
    json_t *payload = json_loads(event->payload, 0, NULL);
    const char *sha256 = json_string_value(json_object_get(payload, "sha256"));
    bool ok = true;
    if (sha256) {
        char *path = stored_path(sources, sha256);
        char found[RH_SHA256_HEX] = "";
        rh_error why = {0};
        if (rh_file_read(path, LARGEST, &source->text, &why))
            rh_sha256_hex(source->text.data, source->text.size, found);
        ok = strcmp(found, sha256) == 0 ||
             rh_fail(error, "journal", "the run's own copy of %s is %s: it cannot go on from it",
                     source->path, why.message ? why.message : "damaged");
        strcpy(source->sha256, found);
        rh_error_clear(&why);
        free(path);
    }
    json_decref(payload);
    return ok;
}

static bool read_file(const rh_sources *sources, struct source *source, rh_error *error)
{
    char *path = source->path[0] == '/' ? rh_strdup(source->path)
                                        : rh_format("%s/%s", sources->start_dir, source->path);
    bool missing = access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
    bool ok = missing || rh_file_read(path, LARGEST, &source->text, error);
    if (ok && !missing)
        rh_sha256_hex(source->text.data, source->text.size, source->sha256);
    free(path);
    return ok;
}

/* The source of that path, whether the file is there or not; NULL on errors. */
static struct source *look_up(rh_sources *sources, const char *path, rh_error *error)
{
    struct source *source = find(sources, path);
    if (source)
        return source;
    rh_event event;
    const bool known =
        sources->journal && rh_journal_recall(sources->journal, "source", path, &event);
    struct source fresh = {.path = (char *)(uintptr_t)path};
    if (!(known ? recall(sources, &event, &fresh, error) : read_file(sources, &fresh, error)) ||
        (!known && sources->journal && !store(sources, &fresh, error))) {
        rh_buffer_free(&fresh.text);
        return NULL;
    }
    source = add(sources, path);
    source->text = fresh.text;
    source->unsettled = fresh.unsettled;
    memcpy(source->sha256, fresh.sha256, sizeof source->sha256);
    return source;
}

bool rh_sources_get(rh_sources *sources, const char *path, rh_buffer *text,
                    char sha256[RH_SHA256_HEX], rh_error *error)
{
    const struct source *source = look_up(sources, path, error);
    if (!source)
        return false;
    if (!*source->sha256)
        return rh_fail(error, "source", "there is no file %s", path);
    rh_buffer_add(text, source->text.data, source->text.size);
    strcpy(sha256, source->sha256);
    return true;
}

bool rh_sources_exists(rh_sources *sources, const char *path, rh_error *error)
{
    const struct source *source = look_up(sources, path, error);
    return source && *source->sha256;
}

static bool sync_copy(const rh_sources *sources, const struct source *source, rh_error *error)
{
    char *path = stored_path(sources, source->sha256);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fdatasync(fd) == 0;
    if (!ok)
        rh_fail(error, "journal", "cannot make %s durable: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
    return ok;
}

bool rh_sources_settle(rh_sources *sources, rh_error *error)
{
    if (!sources->unsettled)
        return true;
    bool ok = true;
    for (struct source *source = sources->first; ok && source; source = source->next) {
        ok = !source->unsettled || sync_copy(sources, source, error);
        source->unsettled = false;
    }
    char *folder = stored_path(sources, "");
    ok = ok && rh_file_sync_folder(folder, error); /* their names, all at once */
    sources->unsettled = false;
    free(folder);
    return ok;
}
