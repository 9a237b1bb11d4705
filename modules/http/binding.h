/* What the parts of the binding share. */
#ifndef RH_MODULES_HTTP_BINDING_H
#define RH_MODULES_HTTP_BINDING_H

#include "http.h"

#include <stdint.h>

struct lua_State;

/* What a request is put together from. A userdata, so that an error raised on the way frees it. */
typedef struct rh_http_parts {
    rh_buffer url;
    rh_buffer body;
    rh_buffer lines; /* headers, each ended by a NUL */
    const char **headers;
    rh_http_aws aws;
    rh_http_part *form;
} rh_http_parts;

/* Reads the request that the table at 1, which is alone on the stack, describes (see http_lua.c). The spec's
 * texts live in *parts, which is at 2 afterwards, and on the stack; secrets are opened. */
rh_http_parts *rh_http_read_spec(struct lua_State *L, rh_http_spec *spec);
/* Once the spec is copied: a collection may be long away, and it may hold a secret. */
void rh_http_free_parts(rh_http_parts *parts);
int64_t rh_http_integer(struct lua_State *L, const char *field, int64_t otherwise);

int rh_http_jar_lua(struct lua_State *L);    /* native.jar */
int rh_http_sample_lua(struct lua_State *L); /* native.sample */
int rh_http_mail_lua(struct lua_State *L);   /* native.mail */

#endif
