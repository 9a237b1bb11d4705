/* Reading the payload of an event. Tolerant: what is missing or of another type reads as absent. */
#ifndef RH_SHOW_PAYLOAD_H
#define RH_SHOW_PAYLOAD_H

#include "core/buffer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

json_t *
rh_payload_parse(const char *text); /* an object, empty if the text is none; json_decref() it */
const char *rh_payload_text(const json_t *payload, const char *field); /* borrowed, or NULL */
int64_t rh_payload_integer(const json_t *payload, const char *field, int64_t fallback);
bool rh_payload_flag(const json_t *payload, const char *field);
/* A value for a person on one line: text as it is, ‹secret NAME›, numbers, the rest as JSON. Cleaned. */
void rh_payload_show(rh_buffer *out, const json_t *value);
char *rh_payload_shown(const json_t *payload,
                       const char *field);  /* the same of a field; NULL if absent; free() */
char *rh_payload_list(const json_t *array); /* "a, b"; free() it */
/* The message of `error` or `cause` (text or { message }), else `reason`: clean lines; free() it; NULL
 * without one. */
char *rh_payload_error(const json_t *payload);
char *rh_payload_brief(const json_t *payload); /* its first line */
char *rh_payload_who(
    const json_t *payload); /* of `by`: a name, or { name, uid }; free() it; NULL without one */
/* A time in ms since 1970, as µs; 0 if absent. */
int64_t rh_payload_time(const json_t *payload, const char *field);

#endif
