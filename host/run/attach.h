/* attach: a masked copy of a file that is kept with the run. */
#ifndef RH_RUN_ATTACH_H
#define RH_RUN_ATTACH_H

#include "core/digest.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { RH_ATTACH_LARGEST = 16 * 1024 * 1024 };

typedef struct rh_attached {
    char *path;                 /* in the run's folder; free() it */
    int64_t bytes;              /* of the copy */
    char sha256[RH_SHA256_HEX]; /* of the copy */
} rh_attached;

/* Copies the file at `path` to RUN_DIR/attachments/NAME, masked, by rename; a name that is taken gets a number.
 * Errors: "io", "attach" (no regular file, larger than RH_ATTACH_LARGEST). */
bool rh_attach(const char *run_dir, const char *path, const char *name, rh_attached *kept,
               rh_error *error);

#endif
