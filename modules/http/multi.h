/* The bridge between libcurl's multi interface and the loop. libcurl says which sockets and which timeout
 * it wants watched, and is told what happened there.
 *
 *      libcurl  -- socket_wanted, timer_wanted -->  uv_poll_t, uv_timer_t
 *      libcurl  <------ socket_action -----------  their callbacks
 *      finished(easy, code)  <-- once for each transfer that ended; nothing in it may wait
 *
 * The timer's handle exists while a transfer is under way and a socket's while libcurl watches it, so
 * idle it keeps nothing in the loop; kept connections are not watched, and are checked when one is taken
 * again. */
#ifndef RH_MODULES_HTTP_MULTI_H
#define RH_MODULES_HTTP_MULTI_H

#include "core/error.h"

#include <curl/curl.h>
#include <stdbool.h>

typedef struct rh_http_multi rh_http_multi;

/* Must remove the handle, and free it or add it again. */
typedef void rh_http_finished(CURL *easy, CURLcode code);

/* One of its own with up to `connections` kept, or NULL: out of memory. */
rh_http_multi *rh_http_multi_new(long connections, rh_http_finished *finished, rh_error *error);
/* Closes its connections. Its transfers are removed before; `finished` may call it. NULL is allowed. */
void rh_http_multi_free(rh_http_multi *multi);
/* Starts a transfer in the next turn of the loop. */
void rh_http_multi_add(rh_http_multi *multi, CURL *easy);
/* A transfer whose callback said "later" is to try again. Not from within libcurl's callbacks. */
void rh_http_multi_go_on(CURL *easy);
/* Ends one, finished or not. Not from within libcurl's callbacks. */
void rh_http_multi_remove(rh_http_multi *multi, CURL *easy);
/* How many files this process may have open at once; the first call raises it as far as it may be. */
size_t rh_http_open_files(void);
bool rh_http_multi_idle(const rh_http_multi *multi);

#endif
