/* A temporary folder for a unit spec, removed with all that is in it. */
#ifndef SPEC_UNIT_FOLDER_H
#define SPEC_UNIT_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int folder_remove_entry(const char *path, const struct stat *status, int type,
                                      struct FTW *at)
{
    (void)status, (void)type, (void)at;
    return remove(path);
}

/* For cmocka's setup and teardown: *state is the folder's path. */
static inline int folder_make(void **state)
{
    const char *base = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/rollouthost-unit-XXXXXX", base ? base : "/tmp");
    *state = mkdtemp(path) ? strdup(path) : NULL;
    return *state ? 0 : -1;
}

static inline int folder_remove(void **state)
{
    int status = nftw(*state, folder_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return status;
}

#endif
