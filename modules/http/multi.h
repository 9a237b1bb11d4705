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

/* Must remove the handle, and free it. */
typedef void rh_http_finished(CURL *easy, CURLcode code);

/* Opens it on first use; rh_http_close() (http.h) closes it. */
bool rh_http_multi_open(rh_http_finished *finished, rh_error *error);
/* Starts a transfer in the next turn of the loop. */
void rh_http_multi_add(CURL *easy);
/* A transfer whose callback said "later" is to try again. Not from within libcurl's callbacks. */
void rh_http_multi_go_on(CURL *easy);
/* Ends one, finished or not. Not from within libcurl's callbacks. */
void rh_http_multi_remove(CURL *easy);

#endif
