/* Connections: opening on libuv's threads, since name resolution blocks and the certificate is verified
 * with the name, not with the address that a resolver of ours would pass. */
#include "connection.h"

#include "core/json.h"
#include "core/loop.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SHOWN_STATEMENT = 300 };

struct attempt {
    uv_work_t work;
    rh_mysql_connect *op;
    rh_mysql_config *config;
    MYSQL *handle;
    char *database;
    bool connected;
};

static const struct {
    unsigned number;
    const char *code, *hint;
} known[] = {
    {CR_CONNECTION_ERROR, "connect", "Is the server running, and can it be reached from here?"},
    {CR_CONN_HOST_ERROR, "connect", "Is the server running, and can it be reached from here?"},
    {CR_UNKNOWN_HOST, "connect", "The host name cannot be resolved."},
    {CR_SSL_CONNECTION_ERROR, "tls",
     "The certificate is verified; name its authority with ssl-ca=FILE."},
    {CR_SERVER_GONE_ERROR, "lost_connection", "The server ended the connection."},
    {CR_SERVER_LOST, "lost_connection", "The server went away, or a proxy closed the connection."},
    {ER_ACCESS_DENIED_ERROR, "access_denied", "Check user and password."},
    {1698, "access_denied", "Check user and password."},
    {ER_DBACCESS_DENIED_ERROR, "access_denied", "The user has no rights on this database."},
    {ER_TABLEACCESS_DENIED_ERROR, "access_denied", "GRANT SELECT on that table lets it read."},
    {ER_COLUMNACCESS_DENIED_ERROR, "access_denied", "GRANT SELECT on that column lets it read."},
    {ER_SPECIFIC_ACCESS_DENIED_ERROR, "access_denied", "The user lacks that privilege."},
    {ER_BAD_DB_ERROR, "unknown_database", "Check the database's name."},
    {ER_CON_COUNT_ERROR, "too_many_connections", "Wait, or raise max_connections."},
    {ER_DUP_ENTRY, "duplicate", NULL},
    {ER_LOCK_DEADLOCK, "deadlock", "It was rolled back and can be tried again."},
    {ER_LOCK_WAIT_TIMEOUT, "lock_timeout", "Another session holds a lock for too long."},
    {ER_QUERY_INTERRUPTED, "cancelled", NULL},
    {1792, "read_only", "A query only reads; use db:exec in a step for what writes."},
    {ER_OPTION_PREVENTS_STATEMENT, "read_only", NULL},
};

void rh_mysql_fail(rh_error *error, const rh_mysql_config *config, unsigned number,
                   const char *state, const char *message, const char *statement)
{
    const char *code = number >= 2000 && number < 3000 ? "lost_connection" : "sql", *hint = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].number == number) {
            code = known[i].code;
            hint = known[i].hint;
        }
    }
    rh_buffer where = {0}, detail = {0};
    rh_mysql_config_display(config, &where);
    size_t shown = statement ? strnlen(statement, SHOWN_STATEMENT) : 0;
    rh_fail(error, code, "mysql: %s: %s (%u, %s)%s%.*s%s%s%s", where.data, message, number, state,
            statement ? " in: " : "", (int)shown, statement ? statement : "",
            statement && statement[shown] ? " …" : "", hint ? ". " : "", hint ? hint : "");
    rh_buffer_free(&where);
    rh_buffer_addf(&detail, "{\"errno\":%u,\"sqlstate\":\"%s\"", number, state);
    if (statement) {
        rh_buffer_adds(&detail, ",\"statement\":");
        rh_json_quote(&detail, statement, strlen(statement));
    }
    rh_buffer_adds(&detail, "}");
    rh_error_detail(error, rh_buffer_take(&detail));
    rh_error_module(error, "mysql");
}

MYSQL *rh_mysql_handle(const rh_mysql_config *config, unsigned timeout)
{
    MYSQL *handle = mysql_init(NULL);
    if (!handle)
        abort();
    my_bool on = 1, off = 0;
    unsigned none = 0;
    unsigned protocol = config->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    mysql_optionsv(handle, MYSQL_OPT_CONNECT_TIMEOUT, &timeout);
    mysql_optionsv(handle, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_optionsv(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_optionsv(handle, MYSQL_OPT_RECONNECT, &off);
    mysql_optionsv(handle, MYSQL_REPORT_DATA_TRUNCATION, &on);
    mysql_optionsv(handle, MYSQL_OPT_LOCAL_INFILE, &none);
    mysql_optionsv(handle, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "rollouthost");
    if (config->tls) {
        mysql_optionsv(handle, MYSQL_OPT_SSL_ENFORCE, &on);
        mysql_optionsv(handle, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on);
        if (config->ca)
            mysql_optionsv(handle, MYSQL_OPT_SSL_CA, config->ca);
    }
    return handle;
}

bool rh_mysql_handshake(MYSQL *handle, const rh_mysql_config *config, const char *database)
{
    return mysql_real_connect(handle, config->host, config->user, config->password,
                              database && *database ? database : NULL, config->port, config->socket,
                              CLIENT_MULTI_RESULTS) != NULL;
}

static void connect_work(uv_work_t *work)
{
    struct attempt *attempt = work->data;
    attempt->connected = rh_mysql_handshake(attempt->handle, attempt->config, attempt->database);
}

static rh_mysql *connection_new(struct attempt *attempt)
{
    rh_mysql *connection = rh_alloc(sizeof *connection);
    connection->refs = 1;
    connection->handle = attempt->handle;
    connection->config = rh_mysql_config_ref(attempt->config);
    connection->id = mysql_thread_id(attempt->handle);
    connection->poll = rh_alloc(sizeof *connection->poll);
    uv_poll_init(rh_loop(), connection->poll, (int)mysql_get_socket(attempt->handle));
    connection->poll->data = connection;
    attempt->handle = NULL;
    return connection;
}

static void connect_done(uv_work_t *work, int status)
{
    struct attempt *attempt = work->data;
    rh_mysql_connect *op = attempt->op;
    (void)status;
    if (attempt->connected && !op->op.cancelled)
        op->connection = connection_new(attempt);
    else if (attempt->connected)
        rh_fail(&op->op.error, "cancelled", "mysql: cancelled while connecting");
    else
        rh_mysql_fail(&op->op.error, attempt->config, mysql_errno(attempt->handle),
                      mysql_sqlstate(attempt->handle), mysql_error(attempt->handle), NULL);
    if (attempt->handle)
        mysql_close(attempt->handle);
    rh_mysql_config_unref(attempt->config);
    free(attempt->database);
    free(attempt);
    rh_op_done(&op->op);
}

bool rh_mysql_connect_start(rh_mysql_connect *op, rh_mysql_config *config, const char *database,
                            int64_t timeout_ms, rh_error *error)
{
    struct attempt *attempt = rh_alloc(sizeof *attempt);
    attempt->work.data = attempt;
    attempt->op = op;
    attempt->config = rh_mysql_config_ref(config);
    attempt->handle =
        rh_mysql_handle(config, timeout_ms > 0 ? (unsigned)((timeout_ms + 999) / 1000) : 10);
    mysql_optionsv(attempt->handle, MYSQL_OPT_NONBLOCK, 0);
    if (!database)
        database = config->database;
    attempt->database = database ? rh_strdup(database) : NULL;
    int status = uv_queue_work(rh_loop(), &attempt->work, connect_work, connect_done);
    if (status == 0)
        return true;
    mysql_close(attempt->handle);
    rh_mysql_config_unref(attempt->config);
    free(attempt->database);
    free(attempt);
    return rh_fail_uv(error, status, "mysql: cannot connect");
}

void rh_mysql_connect_fini(rh_op *op)
{
    rh_mysql_connect *connect = (rh_mysql_connect *)op;
    if (connect->connection)
        rh_mysql_unref(connect->connection);
}

rh_mysql *rh_mysql_ref(rh_mysql *connection)
{
    connection->refs++;
    return connection;
}

static void on_closed(uv_handle_t *handle) { free(handle); }

void rh_mysql_unwatch(rh_mysql *connection)
{
    if (connection->poll)
        uv_close((uv_handle_t *)connection->poll, on_closed);
    connection->poll = NULL;
}

void rh_mysql_close(rh_mysql *connection)
{
    connection->lost = true;
    if (connection->current || connection->closed)
        return;
    connection->closed = true;
    rh_mysql_unwatch(connection);
    mysql_close(connection->handle);
    connection->handle = NULL;
}

void rh_mysql_unref(rh_mysql *connection)
{
    if (!connection || --connection->refs > 0)
        return;
    rh_mysql_close(connection);
    rh_mysql_config_unref(connection->config);
    free(connection);
}

bool rh_mysql_usable(const rh_mysql *connection)
{
    char byte;
    /* A server has nothing to say to an idle client but that it ends the connection. */
    return !connection->lost &&
           (connection->current ||
            recv((int)mysql_get_socket(connection->handle), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0);
}

bool rh_mysql_busy(const rh_mysql *connection) { return connection->current != NULL; }

const rh_mysql_config *rh_mysql_config_of(const rh_mysql *connection) { return connection->config; }
