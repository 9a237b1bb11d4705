/* Inside a config: shared by config.c, url.c and connect.c. */
#ifndef RH_MODULES_PG_CONFIG_H
#define RH_MODULES_PG_CONFIG_H

#include "pg.h"

#include <libpq-fe.h>

struct rh_pg_config {
    unsigned refs;
    PQconninfoOption *options; /* every keyword that libpq knows, with those values that are set */
    char *schema;
    bool pooled;  /* the URL says pgbouncer=true */
    bool numbers; /* numeric values become numbers */
};

bool rh_pg_is(const char *text, size_t size, const char *other); /* the same text */
bool rh_pg_is_secret(const char *keyword);
/* What the server's search_path is to be, quoted, or NULL; free() it. */
char *rh_pg_config_search_path(const rh_pg_config *config);

#endif
