/* git: reads what `git status --porcelain=v2 --branch -z` prints. Commands are run by the process engine. */
#ifndef RH_GIT_H
#define RH_GIT_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Texts point into the input and live as long as it. */
typedef struct rh_git_entry {
    char kind;           /* '1' changed, '2' renamed or copied, 'u' unmerged, '?' untracked */
    char index, tree;    /* the two letters of the state, '.' for unchanged; '?' for untracked */
    bool submodule;      /* the path is one */
    const char *path;    /* NUL-terminated, as the file system has it */
    const char *renamed; /* the former path, or NULL */
} rh_git_entry;

typedef struct rh_git_status {
    const char *commit;   /* HEAD's, or NULL: there is none yet. These are not NUL-terminated: */
    const char *branch;   /* NULL: detached */
    const char *upstream; /* NULL: none is set */
    size_t commit_size, branch_size, upstream_size;
    bool compared; /* ahead and behind are known: the upstream exists here */
    int64_t ahead, behind;
    size_t staged, changed, unmerged, untracked; /* a file may count as staged and as changed */
    size_t total;                                /* entries */
} rh_git_status;

/* Reads `size` bytes at `text`, which a NUL follows. Calls `each` for every entry, in git's order. Fails with
 * code "protocol" on what is not that format, also where it was cut off. */
bool rh_git_status_read(const char *text, size_t size, rh_git_status *status,
                        void (*each)(void *data, const rh_git_entry *entry), void *data,
                        rh_error *error);

#endif
