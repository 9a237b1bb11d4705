/* Inside a statement: shared by statement.c, params.c and types.c. */
#ifndef RH_MODULES_PG_STATEMENT_H
#define RH_MODULES_PG_STATEMENT_H

#include "connection.h"

/* The parameters as they are sent; the texts are the statement's. */
typedef struct rh_pg_values {
    const char **texts;
    int *lengths, *formats;
} rh_pg_values;

void rh_pg_values_init(rh_pg_values *values, size_t count);
void rh_pg_values_free(rh_pg_values *values);
/* `described`: what the server says of the statement, or NULL: nothing is known of the types. */
void rh_pg_values_fill(rh_pg_values *values, const rh_pg_statement *op, const PGresult *described);
/* Where the server's idea of a type decides what is sent: tables, and what a bytea would read as an escape or in another
 * encoding. And for a read, which is refused where it has no columns. */
bool rh_pg_must_describe(const rh_pg_statement *op);

/* Which of the types that the database's owner made are arrays, and of what; remembered with the connection.
 * "SELECT …" for those of the columns that are not known yet; false: there is none. */
bool rh_pg_types_query(const rh_pg *connection, const rh_pg_statement *op, rh_buffer *sql);
void rh_pg_types_take(rh_pg *connection, const PGresult *result);   /* its rows */
void rh_pg_types_set(const rh_pg *connection, rh_pg_statement *op); /* columns[].element */

#endif
