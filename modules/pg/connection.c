#include "connection.h"

#include <stdlib.h>
#include <string.h>

rh_pg *rh_pg_ref(rh_pg *connection)
{
    connection->refs++;
    return connection;
}

void rh_pg_close(rh_pg *connection)
{
    connection->lost = true;
    if (connection->current || connection->closed)
        return;
    connection->closed = true;
    rh_pg_watch_close(&connection->watch);
    PQfinish(connection->handle);
    connection->handle = NULL;
}

void rh_pg_unref(rh_pg *connection)
{
    if (!connection || --connection->refs > 0)
        return;
    rh_pg_close(connection);
    rh_pg_config_unref(connection->config);
    free(connection->arrays);
    free(connection);
}

bool rh_pg_usable(const rh_pg *connection)
{
    if (connection->lost)
        return false;
    if (connection->current)
        return true;
    /* What the server says to an idle client are notices, and why it ends the connection: a FATAL notice sets `lost`. */
    return PQconsumeInput(connection->handle) && !PQisBusy(connection->handle) &&
           PQstatus(connection->handle) == CONNECTION_OK && !connection->lost &&
           PQtransactionStatus(connection->handle) != PQTRANS_UNKNOWN;
}

bool rh_pg_busy(const rh_pg *connection) { return connection->current != NULL; }

const rh_pg_config *rh_pg_config_of(const rh_pg *connection) { return connection->config; }

const char *rh_pg_database_of(const rh_pg *connection)
{
    return connection->handle ? PQdb(connection->handle) : "";
}

int rh_pg_server_version(const rh_pg *connection)
{
    return connection->handle ? PQserverVersion(connection->handle) : 0;
}

int rh_pg_backend(const rh_pg *connection)
{
    return connection->handle ? PQbackendPID(connection->handle) : 0;
}

bool rh_pg_ends_session(const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}
