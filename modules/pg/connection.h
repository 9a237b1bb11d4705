/* Inside a connection: shared by connect.c, statement.c, cancel.c and error.c. */
#ifndef RH_MODULES_PG_CONNECTION_H
#define RH_MODULES_PG_CONNECTION_H

#include "config.h"

#include <uv.h>

/* A poll handle for a socket that changes hands: libpq closes one and opens the next, often under the same number. */
typedef struct rh_pg_watch {
    uv_poll_t *poll; /* NULL: none */
    int fd;
} rh_pg_watch;

struct rh_pg_array {
    unsigned type, element;
};

struct rh_pg {
    unsigned refs;
    rh_pg_config *config;
    PGconn *handle;
    rh_pg_watch watch;
    struct progress *current; /* the statement under way, or NULL */
    struct rh_pg_array
        *arrays; /* types made by the database's owner: what their elements are, 0 for no array */
    size_t array_count;
    bool lost; /* must not be used again */
    bool closed;
};

/* Watches the connection's socket for these events (0: stops). */
bool rh_pg_watch_start(rh_pg_watch *watch, PGconn *handle, int events, uv_poll_cb fn, void *data);
void rh_pg_watch_stop(rh_pg_watch *watch);  /* before every call that may close the socket */
void rh_pg_watch_close(rh_pg_watch *watch); /* for good */

/* The environment of this process has no say in a connection (PGHOST, PGPASSWORD, PGSERVICE, PGTZ …): around calls that
 * look into it. */
void rh_pg_environment_hide(void);
void rh_pg_environment_show(void);

/* Fill *error from a failed connection's message, from a result, or from the connection in its present state. `statement`
 * may be NULL. */
void rh_pg_fail_connect(rh_error *error, const rh_pg_config *config, PGconn *handle);
void rh_pg_fail_result(rh_error *error, const rh_pg_config *config, const PGresult *result,
                       const char *statement);
void rh_pg_fail_lost(rh_error *error, const rh_pg_config *config, PGconn *handle,
                     const char *statement);
void rh_pg_refuse(rh_error *error, const char *code, char *message,
                  const char *statement); /* frees message */
const char *rh_pg_code(const char *sqlstate, const char **hint);

bool rh_pg_ends_session(const PGresult *result); /* its severity is FATAL or PANIC */
/* libpq's notice receiver; data is the rh_pg. */
void rh_pg_on_notice(void *data, const PGresult *result);

/* Asks the server to end what the connection is doing. `done` is called on the loop, unless it is abandoned before. NULL: it
 * could not be asked. The request frees itself. */
typedef struct rh_pg_cancel rh_pg_cancel;
rh_pg_cancel *rh_pg_cancel_send(rh_pg *connection, void (*done)(void *data, bool sent), void *data);
void rh_pg_cancel_abandon(rh_pg_cancel *request);

#endif
