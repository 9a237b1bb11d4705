/* PostgreSQL over libpq's non-blocking calls.
 *
 *      rh_pg_config   where to connect and as whom; holds the password, wiped when freed
 *      rh_pg          one connection: one statement at a time
 *      rh_pg_connect, rh_pg_statement   the two operations (core/op.h)
 *
 * Configs and connections are counted: whoever keeps a pointer holds a reference. Everything runs on the loop's
 * thread but what may block beyond our control (name resolution, PQcancel), which is done on threads. */
#ifndef RH_MODULES_PG_H
#define RH_MODULES_PG_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_pg_config rh_pg_config;

/* A new config with one reference from "postgresql://user:password@host:port,host:port/database?sslmode=…". Also
 * postgres://, postgresql+DRIVER:// and jdbc:postgresql://. Parameters are libpq's; schema=NAME is the search path;
 * those of other clients are ignored. NULL with *error (code "usage") otherwise; no part of the URL that may hold a
 * password is in the message. */
rh_pg_config *rh_pg_config_parse(const char *url, rh_error *error);
rh_pg_config *rh_pg_config_new(void);
/* A keyword of libpq ("host", "sslrootcert", …) or "schema". Copied; NULL or "" takes it away; a password goes into the
 * process's mask. False: there is no such keyword. */
bool rh_pg_config_set(rh_pg_config *config, const char *keyword, const char *value);
const char *rh_pg_config_get(const rh_pg_config *config, const char *keyword); /* NULL: not set */
/* Decides what was not said, TLS above all; call it once, after the last rh_pg_config_set(). */
bool rh_pg_config_finish(rh_pg_config *config, rh_error *error);
rh_pg_config *rh_pg_config_ref(rh_pg_config *config);
void rh_pg_config_unref(rh_pg_config *config);
/* Appends "user@host:port/database": for messages, without the password. */
void rh_pg_config_display(const rh_pg_config *config, rh_buffer *out);
bool rh_pg_config_same(const rh_pg_config *config, const rh_pg_config *other);
bool rh_pg_config_verifies(const rh_pg_config *config); /* TLS, and the certificate verified */
void rh_pg_config_set_numbers(rh_pg_config *config,
                              bool numbers); /* numeric is to become a number, not text */
bool rh_pg_config_numbers(const rh_pg_config *config);
/* The same for libpq's own programs: calls fn with each PG… variable, value NULL for one that is to be unset. No
 * password among them: see the next. */
void rh_pg_config_variables(const rh_pg_config *config, const char *database,
                            void (*fn)(void *data, const char *name, const char *value),
                            void *data);
/* Appends the text of a password file (PGPASSFILE) that fits every connection of this config; nothing without password. */
void rh_pg_config_passfile(const rh_pg_config *config, rh_buffer *out);

typedef struct rh_pg rh_pg;

typedef struct rh_pg_connect {
    rh_op op;
    rh_pg *connection; /* the result, one reference; NULL once taken */
    void *impl;
} rh_pg_connect;

/* Connects: each host's addresses in turn, each with its part of `timeout_ms`. `database` replaces the config's unless
 * NULL; "" is for what needs no database of its own: "postgres", or "template1" where there is none. Errors: "connect"
 * "tls" "access_denied" "unknown_database" "too_many_connections" "starting" "timeout" "cancelled". */
bool rh_pg_connect_start(rh_pg_connect *op, rh_pg_config *config, const char *database,
                         int64_t timeout_ms, rh_error *error);
void rh_pg_connect_cancel(rh_op *op);
void rh_pg_connect_fini(rh_op *op);

rh_pg *rh_pg_ref(rh_pg *connection);
void rh_pg_unref(rh_pg *connection); /* the last one closes it */
void rh_pg_close(rh_pg *connection); /* now, or at the end of its statement; takes no reference */
bool rh_pg_usable(const rh_pg *connection); /* not closed, and not ended by the server */
bool rh_pg_busy(const rh_pg *connection);
const rh_pg_config *rh_pg_config_of(const rh_pg *connection);
const char *rh_pg_database_of(const rh_pg *connection);
int rh_pg_server_version(const rh_pg *connection); /* 150018 */
int rh_pg_backend(
    const rh_pg *connection); /* the server process's id, as pg_stat_activity has it */

typedef struct rh_pg_param {
    char *text;  /* owned; NULL: SQL's NULL */
    size_t size; /* of text */
    char *
        array; /* owned: the text to be used where the statement wants neither JSON nor a string, or NULL */
} rh_pg_param;

typedef struct rh_pg_column {
    char *name;
    unsigned type;    /* OID */
    unsigned element; /* of an array: its elements' OID; else 0 */
} rh_pg_column;

typedef struct rh_pg_statement {
    rh_op op;
    /* what to do; set before rh_pg_statement_start(), owned by the op */
    char *sql;
    rh_pg_param *params;
    size_t param_count;
    bool
        read; /* refuse what describes no columns, before it is executed; outside of a transaction, in one of its own
                  that cannot write */
    bool plain;   /* not prepared, may hold several statements; no parameters, rows are dropped */
    size_t limit; /* bytes of rows that are kept, more is an error; 0: 64 MiB */
    /* what came of it */
    rh_pg_column *columns;
    size_t column_count;
    size_t row_count;
    uint64_t affected;
    bool numbers;   /* the config's */
    char **notices; /* "WARNING: there is no transaction in progress" */
    size_t notice_count;
    bool transaction_open; /* after it */
    rh_buffer cells;
    void *impl;
} rh_pg_statement;

/* Runs one statement. Cancelling asks the server to end it and waits for that: the connection stays usable. One that does
 * not end in time is dropped.
 * Errors: "sql" "syntax" "duplicate" "deadlock" "serialization" "lock_timeout" "lost_connection" "read_only" "no_columns"
 * "parameters" "too_large" "cancelled" …, with detail { sqlstate, statement, position, hint, constraint, … }. */
bool rh_pg_statement_start(rh_pg_statement *op, rh_pg *connection, rh_error *error);
void rh_pg_statement_cancel(rh_op *op);
void rh_pg_statement_fini(rh_op *op);
/* Reads the cell at *at (0 first) and moves on: text as the server sent it, NULL for SQL's NULL. Cells come row by row,
 * column_count each. */
const char *rh_pg_cell(const rh_pg_statement *op, size_t *at, size_t *size);

/* Appends a timestamp as the server writes it (DateStyle ISO) in ISO 8601: "2026-11-20T09:30:00.5Z" where it has a zone,
 * without "Z" where it has none. What has no such form (infinity, BC) is appended as it is. */
void rh_pg_add_time(rh_buffer *out, const char *text, size_t size);

#endif
