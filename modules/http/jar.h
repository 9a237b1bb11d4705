/* Cookies of one session, kept by libcurl: in no file, and out of Lua's sight. */
#ifndef RH_MODULES_HTTP_JAR_H
#define RH_MODULES_HTTP_JAR_H

#include <curl/curl.h>
#include <stddef.h>

typedef struct rh_http_jar rh_http_jar;

rh_http_jar *rh_http_jar_new(void); /* NULL: out of memory */
void rh_http_jar_retain(rh_http_jar *jar);
void rh_http_jar_release(rh_http_jar *jar); /* the last one empties it; NULL is allowed */
/* Its cookies are sent where they belong, and what is set goes into it. The jar must outlive the handle. */
void rh_http_jar_use(rh_http_jar *jar, CURL *easy);
/* Masks a Set-Cookie line's value from now on, as far as it may be a credential. */
void rh_http_jar_mask(const char *line, size_t size);

#endif
