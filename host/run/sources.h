/* The playbook, its modules and assets, kept with the run by content: a run executes the bytes that it began
 * with. What is read before the run has a folder waits in memory for rh_sources_attach(). */
#ifndef RH_RUN_SOURCES_H
#define RH_RUN_SOURCES_H

#include "core/buffer.h"
#include "core/digest.h"
#include "core/error.h"
#include "run/journal.h"

#include <stdbool.h>

typedef struct rh_sources rh_sources;

/* Relative paths start at `start_dir`. */
rh_sources *rh_sources_new(const char *start_dir);
void rh_sources_free(rh_sources *sources);
/* From now on what is read is stored in `run_dir` and journaled (`source` events), what was read before is, too,
 * and what the journal knows is taken from there. Both must outlive the sources. */
bool rh_sources_attach(rh_sources *sources, const char *run_dir, rh_journal *journal,
                       rh_error *error);
/* Appends the file's bytes; `sha256` gets their digest. Errors: "source": there is no such file; "journal":
 * the stored bytes are gone or changed. */
bool rh_sources_get(rh_sources *sources, const char *path, rh_buffer *text,
                    char sha256[RH_SHA256_HEX], rh_error *error);
/* Whether the file is there; the answer is journaled, so that a resumed run finds the same one of several
 * places. *error is set only where that cannot be done. */
bool rh_sources_exists(rh_sources *sources, const char *path, rh_error *error);
/* What was stored is on disk on return: to be called before the commit that records it. */
bool rh_sources_settle(rh_sources *sources, rh_error *error);

#endif
