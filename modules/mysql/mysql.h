/* MariaDB and MySQL over MariaDB Connector/C's non-blocking calls.
 *
 *      rh_mysql_config   where to connect and as whom; holds the password, wiped when freed
 *      rh_mysql          one connection: one statement at a time
 *      rh_mysql_connect, rh_mysql_statement   the two operations (core/op.h)
 *
 * All three are counted: whoever keeps a pointer holds a reference. Everything runs on the loop's thread
 * but what may block beyond our control (name resolution, the handshake, KILL), which is done by libuv's
 * threads. */
#ifndef RH_MODULES_MYSQL_H
#define RH_MODULES_MYSQL_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_mysql_config {
    unsigned refs;
    char *host; /* NULL with a socket */
    unsigned port;
    char *socket;
    char *user;
    char *password; /* may be NULL */
    char *database; /* may be NULL */
    char *ca;       /* file of certificate authorities; NULL: the system's */
    bool tls;       /* required, and the certificate verified with the host's name */
} rh_mysql_config;

/* A new config with one reference from "mysql://user:password@host:port/database?ssl-mode=…&ssl-ca=…&socket=…".
 * TLS is on where the host is not this machine, unless ssl-mode=disabled. Parameters that are meant for other
 * clients are ignored. NULL with *error (code "usage") otherwise; the text of the URL is in no message. */
rh_mysql_config *rh_mysql_config_parse(const char *url, rh_error *error);
rh_mysql_config *rh_mysql_config_new(void); /* empty, port 3306 */
/* Fills what is not said: TLS for a host that is not this machine. False: nothing to connect to. `mode`:
 * "disabled", "required", "verify_ca", "verify_identity" (any case), or NULL. */
bool rh_mysql_config_finish(rh_mysql_config *config, const char *mode, rh_error *error);
rh_mysql_config *rh_mysql_config_ref(rh_mysql_config *config);
void rh_mysql_config_unref(rh_mysql_config *config);
/* Appends "user@host:port/database": for messages, without the password. */
void rh_mysql_config_display(const rh_mysql_config *config, rh_buffer *out);
/* Appends what mariadb-dump and mariadb read as --defaults-file: how they get the password. */
void rh_mysql_config_options(const rh_mysql_config *config, rh_buffer *out);
bool rh_mysql_config_same(const rh_mysql_config *config, const rh_mysql_config *other);

typedef struct rh_mysql rh_mysql;

typedef struct rh_mysql_connect {
    rh_op op;
    rh_mysql *connection; /* the result, one reference; NULL once taken */
    void *impl;
} rh_mysql_connect;

/* Connects. `database` replaces the config's unless NULL; "" connects to none. `timeout_ms` bounds the
 * whole handshake (rounded up to seconds); it cannot be cut short before. */
bool rh_mysql_connect_start(rh_mysql_connect *op, rh_mysql_config *config, const char *database,
                            int64_t timeout_ms, rh_error *error);
void rh_mysql_connect_fini(rh_op *op);

rh_mysql *rh_mysql_ref(rh_mysql *connection);
void rh_mysql_unref(rh_mysql *connection); /* the last one closes it */
void rh_mysql_close(
    rh_mysql *connection); /* now, or at the end of its statement; takes no reference */
bool rh_mysql_usable(const rh_mysql *connection); /* not closed, lost or cancelled */
bool rh_mysql_busy(const rh_mysql *connection);
const rh_mysql_config *rh_mysql_config_of(const rh_mysql *connection);

typedef enum { RH_MYSQL_NULL, RH_MYSQL_INTEGER, RH_MYSQL_NUMBER, RH_MYSQL_TEXT } rh_mysql_kind;

typedef struct rh_mysql_value {
    rh_mysql_kind kind;
    int64_t integer;
    double number;
    char *text; /* of a parameter: owned; of a cell: points into the result */
    size_t size;
} rh_mysql_value;

typedef struct rh_mysql_statement {
    rh_op op;
    /* what to do; set before rh_mysql_statement_start(), owned by the op */
    char *sql;
    rh_mysql_value *params;
    size_t param_count;
    bool columns_required; /* refuse what describes no columns, before it is executed */
    bool plain;            /* not prepared: for statements that give no rows; no parameters */
    size_t limit;          /* bytes of rows that are kept, more is an error; 0: 64 MiB */
    /* what came of it */
    char **columns;
    size_t column_count;
    size_t row_count;
    uint64_t affected, insert_id;
    unsigned warnings;
    bool transaction_open; /* after it, or autocommit is off */
    rh_buffer cells;
    void *impl;
} rh_mysql_statement;

/* Runs one statement. Integers are exact; BIGINT UNSIGNED beyond 63 bits and decimals are text, as are
 * dates, times and JSON; booleans and BIT are integers. Cancelling kills the statement on the server by a
 * second connection and waits for its end; the connection is not usable afterwards.
 * Errors: "sql" "duplicate" "deadlock" "lock_timeout" "lost_connection" "read_only" "no_columns" "parameters"
 * "too_large" "cancelled" …, with detail { errno, sqlstate, statement }. */
bool rh_mysql_statement_start(rh_mysql_statement *op, rh_mysql *connection, rh_error *error);
void rh_mysql_statement_cancel(rh_op *op);
void rh_mysql_statement_fini(rh_op *op);
/* Reads the cell at *at (0 first) and moves on. Cells come row by row, column_count each. */
rh_mysql_value rh_mysql_cell(const rh_mysql_statement *op, size_t *at);

#endif
