/* Where values of variables and secrets come from: the environment, $CREDENTIALS_DIRECTORY/NAME, and the file of
 * --env-file, in that order. */
#ifndef RH_RUN_VARIABLES_H
#define RH_RUN_VARIABLES_H

#include "core/buffer.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct rh_variables rh_variables;

/* `env_file` may be NULL. Errors: it cannot be read, or a line of it is none ("FILE:LINE: …", never its value). */
rh_variables *rh_variables_open(const char *env_file, rh_error *error);
void rh_variables_close(rh_variables *variables); /* wipes what it held */
/* Appends the value; *origin (may be NULL) names where it is from, for messages. False: it is nowhere. */
bool rh_variables_get(const rh_variables *variables, const char *name, rh_buffer *value,
                      const char **origin);

/* Reads a .env file's text: NAME=value lines, also with `export`, # comments, 'literal' and "escaped" values
 * (\n \r \t \\ \" \$), both also over several lines. Nothing is expanded. `file` is named in errors. */
bool rh_variables_parse(const char *file, const char *text, size_t size,
                        void (*fn)(void *data, const char *name, const char *value, size_t size),
                        void *data, rh_error *error);
/* Appends the value of one name in a .env file. False and no error: the file has none. */
bool rh_variables_in_file(const char *file, const char *name, rh_buffer *value, rh_error *error);

#endif
