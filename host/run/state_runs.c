#include "core/buffer.h"
#include "core/digest.h"
#include "run/file.h"
#include "run/journal.h"
#include "run/state.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Making one. -------------------------------------------------------------------------------------- */

static bool make_folder(const char *path, mode_t mode, rh_error *error)
{
    return (mkdir(path, 0700) == 0 && chmod(path, mode) == 0) ||
           rh_state_fail_making(path, errno, error);
}

static bool make_run(const char *state, const char *run, rh_error *error)
{
    static const char *const rooms[] = {"sources", "log", "inbox", "spool"};
    struct stat status;
    if (stat(state, &status) != 0)
        return rh_fail_errno(error, errno, "cannot use the state folder %s", state);
    const mode_t mode = status.st_mode & 02770;
    char *folder = rh_state_run_dir(state, run), *runs = rh_format("%s/runs", state);
    bool ok = make_folder(folder, mode, error);
    for (size_t i = 0; ok && i < sizeof rooms / sizeof *rooms; i++) {
        char *path = rh_format("%s/%s", folder, rooms[i]);
        /* Sticky: who may drop a message may not remove or rename another's. */
        ok = make_folder(path, strcmp(rooms[i], "inbox") == 0 ? mode | S_ISVTX : mode, error);
        free(path);
    }
    ok = ok && rh_file_sync_folder(runs, error);
    free(folder);
    free(runs);
    return ok;
}

char *rh_state_new_run(const char *state, const char *playbook, rh_error *error)
{
    char stamp[32];
    uint8_t mark[2];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &utc);
    rh_random(mark, sizeof mark);
    char *name = rh_file_safe(playbook);
    char *run = rh_format("%.100s-%s-%02x%02x", name, stamp, mark[0], mark[1]);
    free(name);
    if (make_run(state, run, error))
        return run;
    free(run);
    return NULL;
}

char *rh_state_run_dir(const char *state, const char *run)
{
    return rh_format("%s/runs/%s", state, run);
}

/* Listing. ----------------------------------------------------------------------------------------- */

struct names {
    char **list;
    size_t count;
};

/* PLAYBOOK-20261120-093301-a1b2: the part that tells when, or NULL for what is no run's id. */
static const char *stamp_of(const char *run)
{
    size_t size = strlen(run);
    return size > 21 && run[size - 21] == '-' && run[size - 12] == '-' && run[size - 5] == '-'
               ? run + size - 20
               : NULL;
}

static int newest_first(const void *left, const void *right)
{
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    int order = strcmp(stamp_of(b), stamp_of(a));
    return order ? order : strcmp(a, b);
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}

static bool list_names(const char *state, struct names *names, rh_error *error)
{
    char *folder = rh_format("%s/runs", state);
    DIR *dir = opendir(folder);
    bool ok = dir || errno == ENOENT || rh_fail_errno(error, errno, "cannot read %s", folder);
    free(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (!stamp_of(entry->d_name) || entry->d_name[0] == '.')
            continue;
        names->list = rh_realloc(names->list, (names->count + 1) * sizeof *names->list);
        names->list[names->count++] = rh_strdup(entry->d_name);
    }
    if (dir)
        closedir(dir);
    if (names->count)
        qsort(names->list, names->count, sizeof *names->list, newest_first);
    return ok;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static bool is(const rh_journal_glance *glance, const char *type)
{
    return glance->type && strcmp(glance->type, type) == 0;
}

static bool tell(const rh_journal_glance *glance, const char *id, bool live,
                 bool (*fn)(void *, const rh_state_run *), void *data)
{
    const bool finished = is(glance, "run.end");
    const bool at_rest = finished || is(glance, "run.pause");
    json_t *begun = glance->start ? json_loads(glance->start, 0, NULL) : NULL;
    json_t *last = at_rest ? json_loads(glance->last, 0, NULL) : NULL;
    const json_t *exit_code = json_object_get(last, "exit");
    rh_state_run run = {
        .id = id,
        .status = live   ? "running"
                  : last ? text_of(last, "status")
                         : "interrupted",
        .playbook = text_of(begun, "name"),
        .environment = text_of(begun, "environment"),
        .by = text_of(begun, "operator"),
        .error = live ? "" : text_of(json_object_get(last, "error"), "message"),
        .begun_ms = glance->begun_us / 1000,
        .ended_ms = finished && !live ? glance->last_us / 1000 : 0,
        .exit_code = !live && json_is_integer(exit_code) ? json_integer_value(exit_code) : -1,
        .live = live,
        .finished = finished && !live,
    };
    bool more = fn(data, &run);
    json_decref(begun);
    json_decref(last);
    return more;
}

static bool tell_damaged(const char *id, bool live, const rh_error *why,
                         bool (*fn)(void *, const rh_state_run *), void *data)
{
    rh_state_run run = {.id = id,
                        .status = live ? "running" : "damaged",
                        .playbook = "",
                        .environment = "",
                        .by = "",
                        .error = live ? "" : why->message,
                        .exit_code = -1,
                        .live = live,
                        .finished = !live};
    return fn(data, &run);
}

static bool tell_one(const char *state, const char *id, bool (*fn)(void *, const rh_state_run *),
                     void *data)
{
    rh_error why = {0};
    char *folder = rh_state_run_dir(state, id);
    const bool live = rh_journal_is_live(folder);
    rh_journal_glance glance;
    const bool more = rh_journal_glance_at(folder, &glance, &why)
                          ? tell(&glance, id, live, fn, data)
                          : tell_damaged(id, live, &why, fn, data);
    rh_journal_glance_clear(&glance);
    rh_error_clear(&why);
    free(folder);
    return more;
}

bool rh_state_runs(const char *state, size_t limit, bool (*fn)(void *data, const rh_state_run *run),
                   void *data, rh_error *error)
{
    struct names names = {0};
    bool ok = list_names(state, &names, error), more = true;
    for (size_t i = 0; ok && more && i < names.count && (!limit || i < limit); i++)
        more = tell_one(state, names.list[i], fn, data);
    names_free(&names);
    return ok;
}

static bool take_unfinished(void *data, const rh_state_run *run)
{
    *(bool *)data = !run->finished || strcmp(run->status, "damaged") == 0;
    return false;
}

bool rh_state_run_is_there(const char *state, const char *run, bool *unfinished)
{
    const char *stamp = strchr(run, '/') || *run == '.' ? NULL : stamp_of(run);
    char *folder = stamp ? rh_state_run_dir(state, run) : NULL;
    const bool there = folder && access(folder, F_OK) == 0;
    if (there)
        tell_one(state, run, take_unfinished, unfinished);
    free(folder);
    return there;
}

/* Finding one. ------------------------------------------------------------------------------------- */

static void add_name(rh_buffer *list, size_t *count, const char *name)
{
    if (++*count <= 6)
        rh_buffer_addf(list, "%s%s", *count > 1 ? ", " : "", *count <= 5 ? name : "…");
}

struct pick {
    const char *part; /* of the ids that count, or NULL */
    char *newest, *unfinished;
    size_t count;
    rh_buffer list;
};

static bool consider(void *data, const rh_state_run *run)
{
    struct pick *pick = data;
    if (pick->part && !strstr(run->id, pick->part))
        return true;
    if (!pick->newest)
        pick->newest = rh_strdup(run->id);
    if (!run->finished) {
        add_name(&pick->list, &pick->count, run->id);
        free(pick->unfinished);
        pick->unfinished = rh_strdup(run->id);
    }
    return true;
}

static void pick_free(struct pick *pick)
{
    free(pick->newest);
    free(pick->unfinished);
    rh_buffer_free(&pick->list);
}

char *rh_state_find_run(const char *state, const char *part, rh_error *error)
{
    struct names names = {0};
    rh_buffer found = {0};
    char *run = NULL;
    size_t count = 0;
    bool ok = list_names(state, &names, error);
    for (size_t i = 0; ok && i < names.count; i++) {
        bool whole = strcmp(names.list[i], part) == 0;
        if (!whole && !strstr(names.list[i], part))
            continue;
        free(run);
        run = rh_strdup(names.list[i]);
        add_name(&found, &count, run);
        if (whole) {
            count = 1;
            break;
        }
    }
    struct pick pick = {.part = part};
    if (count > 1 && rh_state_runs(state, 0, consider, &pick, error) && pick.count == 1) {
        free(run);
        run = rh_strdup(pick.unfinished);
        count = 1;
    }
    pick_free(&pick);
    if (ok && count == 0)
        rh_fail(error, "no_run", "there is no run \"%s\" in %s: `rollouthost runs` lists them",
                part, state);
    else if (count > 1)
        rh_fail(error, "ambiguous", "\"%s\" stands for %zu runs: %s", part, count, found.data);
    if (count != 1) {
        free(run);
        run = NULL;
    }
    rh_buffer_free(&found);
    names_free(&names);
    return run;
}

char *rh_state_pick_run(const char *state, rh_error *error)
{
    struct pick pick = {0};
    char *run = NULL;
    if (!rh_state_runs(state, 0, consider, &pick, error))
        run = NULL;
    else if (pick.count > 1)
        rh_fail(error, "ambiguous", "%zu runs are not finished, name one: %s", pick.count,
                pick.list.data);
    else if (pick.newest)
        run = rh_strdup(pick.unfinished ? pick.unfinished : pick.newest);
    else
        rh_fail(error, "no_run", "there is no run in %s", state);
    pick_free(&pick);
    return run;
}
