/* Inside a connection: shared by connect.c and statement.c. */
#ifndef RH_MODULES_MYSQL_CONNECTION_H
#define RH_MODULES_MYSQL_CONNECTION_H

#include "mysql.h"

#include <mysql.h>
#include <uv.h>

struct rh_mysql {
    unsigned refs;
    rh_mysql_config *config;
    MYSQL *handle;
    uv_poll_t *poll;          /* NULL once nothing is to be watched any more */
    unsigned long id;         /* the server's, for KILL */
    struct progress *current; /* the statement under way, or NULL */
    bool lost;                /* must not be used again */
    bool closed;
};

/* A handle with the config's options, not connected. `timeout` in seconds. */
MYSQL *rh_mysql_handle(const rh_mysql_config *config, unsigned timeout);
/* Blocks: for libuv's threads. */
bool rh_mysql_handshake(MYSQL *handle, const rh_mysql_config *config, const char *database);

/* Before the socket is closed, and at once where the library has closed it: whatever gets its number next would
 * lose its own watch. */
void rh_mysql_unwatch(rh_mysql *connection);

/* Fills *error from the client's errno and message; `statement` may be NULL. */
void rh_mysql_fail(rh_error *error, const rh_mysql_config *config, unsigned number,
                   const char *state, const char *message, const char *statement);

#endif
