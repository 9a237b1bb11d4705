#include "git.h"

#include <stdlib.h>
#include <string.h>

/* Fields before the path, without the kind. */
enum { CHANGED_FIELDS = 7, RENAMED_FIELDS = 8, UNMERGED_FIELDS = 9 };

static bool malformed(const char *record, rh_error *error)
{
    return rh_fail(error, "protocol", "git status printed what is not its format: %.60s", record);
}

static const char *after(const char *record, const char *prefix)
{
    const size_t size = strlen(prefix);
    return strncmp(record, prefix, size) == 0 ? record + size : NULL;
}

static bool read_header(const char *record, rh_git_status *status, rh_error *error)
{
    const char *value;
    if ((value = after(record, "# branch.oid "))) {
        status->commit = strcmp(value, "(initial)") == 0 ? NULL : value;
        status->commit_size = strlen(value);
    } else if ((value = after(record, "# branch.head "))) {
        status->branch = strcmp(value, "(detached)") == 0 ? NULL : value;
        status->branch_size = strlen(value);
    } else if ((value = after(record, "# branch.upstream "))) {
        status->upstream = value;
        status->upstream_size = strlen(value);
    } else if ((value = after(record, "# branch.ab +"))) {
        char *end;
        status->ahead = strtoll(value, &end, 10);
        if (strncmp(end, " -", 2) != 0)
            return malformed(record, error);
        status->behind = strtoll(end + 2, NULL, 10);
        status->compared = true;
    } /* a later git may say more */
    return true;
}

/* What follows `fields` fields that end with a space each, or NULL. */
static const char *skip_fields(const char *text, int fields)
{
    for (; fields > 0; fields--) {
        text = strchr(text, ' ');
        if (!text)
            return NULL;
        text++;
    }
    return *text ? text : NULL;
}

static bool read_entry(const char *record, rh_git_entry *entry, rh_error *error)
{
    *entry = (rh_git_entry){.kind = record[0], .index = '?', .tree = '?'};
    if (strlen(record) < 3 || record[1] != ' ')
        return malformed(record, error);
    if (entry->kind == '?') {
        entry->path = record + 2;
        return true;
    }
    const int fields = entry->kind == '1'   ? CHANGED_FIELDS
                       : entry->kind == '2' ? RENAMED_FIELDS
                       : entry->kind == 'u' ? UNMERGED_FIELDS
                                            : 0;
    entry->path = fields ? skip_fields(record + 2, fields) : NULL;
    if (!entry->path || record[4] != ' ')
        return malformed(record, error);
    entry->index = record[2];
    entry->tree = record[3];
    entry->submodule = record[5] == 'S';
    return true;
}

static void count(const rh_git_entry *entry, rh_git_status *status)
{
    status->total++;
    if (entry->kind == '?') {
        status->untracked++;
    } else if (entry->kind == 'u') {
        status->unmerged++;
    } else {
        status->staged += entry->index != '.';
        status->changed += entry->tree != '.';
    }
}

bool rh_git_status_read(const char *text, size_t size, rh_git_status *status,
                        void (*each)(void *data, const rh_git_entry *entry), void *data,
                        rh_error *error)
{
    const char *const end = text + size;
    *status = (rh_git_status){0};
    if (size > 0 && end[-1] != '\0')
        return rh_fail(error, "protocol", "what git status printed was cut off");
    while (text < end) {
        const char *record = text;
        text += strlen(text) + 1;
        if (record[0] == '#') {
            if (!read_header(record, status, error))
                return false;
            continue;
        }
        rh_git_entry entry;
        if (!read_entry(record, &entry, error))
            return false;
        if (entry.kind == '2') {
            if (text >= end)
                return malformed(record, error);
            entry.renamed = text;
            text += strlen(text) + 1;
        }
        count(&entry, status);
        each(data, &entry);
    }
    return true;
}
