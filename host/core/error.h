/* One error type. An engine returns `bool` and fills an rh_error; a binding raises it with
 * rh_raise() (core/luaerror.h). The first error wins: filling one that is already set does nothing.
 *
 * Ownership: `message` and `detail` are heap strings owned by the struct; `code` and `module` are
 * string literals. rh_error_clear() frees and empties it; an rh_error that is all zero is empty. */
#ifndef RH_CORE_ERROR_H
#define RH_CORE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rh_error {
    const char *code; /* stable identifier: "timeout", "cancelled", "refused", "usage", "io", … */
    const char *module; /* who failed: "http", "journal"; may be NULL */
    char *message;      /* one sentence for a person: what, where, why, what to do */
    char *detail;       /* a JSON object with machine-readable facts, or NULL */
} rh_error;

/* Sets the error unless it is set already. Always returns false, so that `return rh_fail(…)` reads
 * well. `error` may be NULL (the caller does not care). */
bool rh_fail(rh_error *error, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with ": <strerror>" appended; code is "io". `err` is a positive errno. */
bool rh_fail_errno(rh_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a negative libuv status; UV_ECANCELED becomes code "cancelled". */
bool rh_fail_uv(rh_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void rh_error_module(rh_error *error, const char *module); /* names the module if none is named */
void rh_error_detail(rh_error *error, char *json);         /* takes ownership of `json` */
void rh_error_move(rh_error *to, rh_error *from); /* `to` unless set; `from` is empty after */
void rh_error_clear(rh_error *error);

static inline bool rh_error_is_set(const rh_error *error) { return error->code != NULL; }

#endif
