/* One statement on a connection:
 *
 *   plain      Query                                            -> results, dropped
 *   direct     Parse Bind Execute Sync                          -> rows
 *   described  [BEGIN READ ONLY] Parse Describe Flush           -> the types of parameters, whether there are columns
 *              Bind Execute [COMMIT] Sync                       -> rows
 *
 * "Described" is a pipeline between one Sync and the next: a pooler keeps it on one server. After rows of types that
 * the database's owner made, TYPES asks which of those are arrays. */
#include "statement.h"

#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum step { PLAIN, DIRECT, DESCRIBE, EXECUTE, TYPES };
enum {
    DEFAULT_LIMIT = 64 << 20,
    CANCEL_GRACE_MS = 5000,
    MOST_NOTICES = 100,
    MOST_PARAMS = 65535,
};

static const size_t null_size = (size_t)-1;

struct progress {
    rh_pg_statement *op;
    rh_pg *connection;
    enum step step;
    rh_pg_values values;
    unsigned ended_commands; /* of this step of the pipeline */
    bool wrapped;            /* in BEGIN READ ONLY and COMMIT, whose results are nobody's */
    int events;              /* that are watched for */
    bool ended;
    rh_pg_cancel *cancelling; /* a request that is on its way, or NULL */
    uv_timer_t grace;
};

/* The end ------------------------------------------------------------------------------------------- */

static void on_grace_closed(uv_handle_t *handle)
{
    struct progress *p = handle->data;
    rh_pg_values_free(&p->values);
    free(p);
}

/* A request that is still on its way could hit the connection's next statement, unless there is none. */
static void settle(struct progress *p)
{
    rh_pg_statement *op = p->op;
    rh_pg *connection = p->connection;
    if (!p->ended || (p->cancelling && !connection->lost))
        return;
    if (p->cancelling)
        rh_pg_cancel_abandon(p->cancelling);
    if (op->op.cancelled) {
        rh_error_clear(&op->op.error);
        rh_pg_refuse(&op->op.error, "cancelled", rh_strdup("cancelled"), op->sql);
    }
    op->transaction_open =
        connection->handle && PQtransactionStatus(connection->handle) != PQTRANS_IDLE;
    op->impl = NULL;
    connection->current = NULL;
    if (connection->lost)
        rh_pg_close(connection);
    rh_pg_unref(connection);
    uv_close((uv_handle_t *)&p->grace, on_grace_closed);
    rh_op_done(&op->op);
}

static void end(struct progress *p)
{
    p->ended = true;
    rh_pg_watch_stop(&p->connection->watch);
    settle(p);
}

static void lose(struct progress *p)
{
    rh_pg *c = p->connection;
    rh_pg_fail_lost(&p->op->op.error, c->config, c->handle, p->op->sql);
    c->lost = true;
    end(p);
}

static void refuse(struct progress *p, const char *code, char *message)
{
    rh_pg_refuse(&p->op->op.error, code, message, p->op->sql);
}

/* What the server says beside an answer. To an idle session: why it ends. */
void rh_pg_on_notice(void *data, const PGresult *result)
{
    rh_pg *connection = data;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!connection->current) {
        connection->lost |= rh_pg_ends_session(result);
        return;
    }
    rh_pg_statement *op = connection->current->op;
    if (op->notice_count == MOST_NOTICES || !message || connection->current->step == TYPES)
        return;
    if (!op->notices)
        op->notices = rh_alloc(MOST_NOTICES * sizeof *op->notices);
    op->notices[op->notice_count++] = rh_format("%s: %s", severity ? severity : "NOTICE", message);
}

/* Rows ---------------------------------------------------------------------------------------------- */

static void take_columns(struct progress *p, const PGresult *result)
{
    rh_pg_statement *op = p->op;
    int count = PQnfields(result);
    if (op->columns || count == 0)
        return;
    op->columns = rh_alloc((size_t)count * sizeof *op->columns);
    for (int i = 0; i < count; i++) {
        rh_pg_column *column = &op->columns[op->column_count++];
        column->name = rh_strdup(PQfname(result, i));
        column->type = PQftype(result, i);
    }
}

static void add_cell(rh_buffer *cells, const char *text, size_t size)
{
    rh_buffer_add(cells, &size, sizeof size);
    if (size != null_size)
        rh_buffer_add(cells, text, size + 1);
}

static bool take_rows(struct progress *p, const PGresult *result)
{
    rh_pg_statement *op = p->op;
    size_t limit = op->limit ? op->limit : DEFAULT_LIMIT;
    for (int row = 0; row < PQntuples(result); row++, op->row_count++) {
        for (int i = 0; i < PQnfields(result); i++) {
            bool null = PQgetisnull(result, row, i);
            add_cell(&op->cells, PQgetvalue(result, row, i),
                     null ? null_size : (size_t)PQgetlength(result, row, i));
        }
        if (op->cells.size > limit) {
            refuse(p, "too_large",
                   rh_format("more than %zu MiB of rows: select less, or let the database count",
                             limit >> 20));
            p->connection->lost = true;
            return false;
        }
    }
    return true;
}

static bool check_described(struct progress *p, const PGresult *described)
{
    rh_pg_statement *op = p->op;
    int wanted = PQnparams(described);
    if ((size_t)wanted != op->param_count)
        refuse(p, "parameters",
               rh_format("the statement has %d parameter%s, and %zu value%s given", wanted,
                         wanted == 1 ? "" : "s", op->param_count,
                         op->param_count == 1 ? " was" : "s were"));
    else if (op->read && PQnfields(described) == 0)
        refuse(p, "no_columns", rh_strdup("a query gives rows, and this statement gives none"));
    return !rh_error_is_set(&op->op.error);
}

/* Steps --------------------------------------------------------------------------------------------- */

static bool send_execute(struct progress *p)
{
    PGconn *handle = p->connection->handle;
    rh_pg_statement *op = p->op;
    bool ok = rh_error_is_set(&op->op.error) ||
              (PQsendQueryPrepared(handle, "", (int)op->param_count, p->values.texts,
                                   p->values.lengths, p->values.formats, 0) &&
               (!p->wrapped || PQsendQueryParams(handle, "COMMIT", 0, NULL, NULL, NULL, NULL, 0)));
    p->step = EXECUTE;
    p->ended_commands = 0;
    ok = ok && PQpipelineSync(handle);
    if (ok && !rh_error_is_set(&op->op.error))
        PQsetSingleRowMode(handle);
    return ok;
}

static bool send_described(struct progress *p)
{
    PGconn *handle = p->connection->handle;
    p->step = DESCRIBE;
    p->wrapped = p->op->read && PQtransactionStatus(handle) == PQTRANS_IDLE;
    return PQenterPipelineMode(handle) &&
           (!p->wrapped ||
            PQsendQueryParams(handle, "BEGIN READ ONLY", 0, NULL, NULL, NULL, NULL, 0)) &&
           PQsendPrepare(handle, "", p->op->sql, 0, NULL) && PQsendDescribePrepared(handle, "") &&
           PQsendFlushRequest(handle);
}

static bool send_first(struct progress *p)
{
    PGconn *handle = p->connection->handle;
    rh_pg_statement *op = p->op;
    if (op->plain) {
        p->step = PLAIN;
        return PQsendQuery(handle, op->sql) && PQsetSingleRowMode(handle);
    }
    if (rh_pg_must_describe(op))
        return send_described(p);
    p->step = DIRECT;
    rh_pg_values_fill(&p->values, op, NULL);
    return PQsendQueryParams(handle, op->sql, (int)op->param_count, NULL, p->values.texts,
                             p->values.lengths, p->values.formats, 0) &&
           PQsetSingleRowMode(handle);
}

/* All results are in. True: something more was sent. */
static bool next_step(struct progress *p)
{
    PGconn *handle = p->connection->handle;
    if (p->step == TYPES || rh_error_is_set(&p->op->op.error)) {
        rh_pg_types_set(p->connection, p->op);
        end(p);
        return false;
    }
    rh_buffer sql = {0};
    bool more = rh_pg_types_query(p->connection, p->op, &sql);
    p->step = TYPES;
    bool sent = more && PQsendQuery(handle, sql.data);
    rh_buffer_free(&sql);
    if (more && !sent)
        lose(p);
    else if (!more)
        next_step(p);
    return sent;
}

static bool is_ours(const struct progress *p)
{
    if (p->step == EXECUTE)
        return p->ended_commands == 0;
    return p->step != DESCRIBE || p->ended_commands >= (p->wrapped ? 2 : 1);
}

/* False: the connection is not to be read any further. */
static bool take_result(struct progress *p, const PGresult *result)
{
    rh_pg_statement *op = p->op;
    PGconn *handle = p->connection->handle;
    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK:
        if (p->step == TYPES)
            rh_pg_types_take(p->connection, result);
        if (p->step == TYPES || p->step == PLAIN)
            return true;
        take_columns(p, result);
        if (is_ours(p) && *PQcmdTuples((PGresult *)result))
            op->affected = strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
        return take_rows(p, result);
    case PGRES_COMMAND_OK:
        if (p->step == PLAIN && strcmp(PQcmdStatus((PGresult *)result), "ROLLBACK") == 0 &&
            strncasecmp(op->sql, "COMMIT", 6) == 0) { /* the server's own word for it is no error */
            refuse(p, "aborted",
                   rh_strdup("nothing was committed: a statement of the transaction had failed"));
        } else if (p->step == DESCRIBE && is_ours(p)) {
            if (check_described(p, result))
                rh_pg_values_fill(&p->values, op, result);
        } else if (is_ours(p)) {
            op->affected = strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
        }
        return true;
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_ABORTED:
        return true;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        refuse(p, "usage", rh_strdup("COPY moves data through the client: let psql do it"));
        p->connection->lost = true;
        return false;
    default:
        if (PQstatus(handle) == CONNECTION_BAD && !PQresultErrorField(result, PG_DIAG_SQLSTATE))
            rh_pg_fail_lost(&op->op.error, p->connection->config, handle, op->sql);
        else
            rh_pg_fail_result(&op->op.error, p->connection->config, result, op->sql);
        p->connection->lost |= PQstatus(handle) == CONNECTION_BAD || rh_pg_ends_session(result);
        return !p->connection->lost;
    }
}

/* After the NULL that ends a command's results, or the pipeline's end. False: nothing more is to be read now. */
static bool command_over(struct progress *p, bool synced)
{
    PGconn *handle = p->connection->handle;
    if (PQstatus(handle) == CONNECTION_BAD) {
        lose(p);
        return false;
    }
    if (synced) {
        PQexitPipelineMode(handle);
        return next_step(p);
    }
    if (p->step != DESCRIBE && p->step != EXECUTE)
        return next_step(p);
    p->ended_commands++;
    if (p->step == DESCRIBE && p->ended_commands == (p->wrapped ? 3 : 2) && !send_execute(p)) {
        lose(p);
        return false;
    }
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void wait_more(struct progress *p)
{
    rh_pg *c = p->connection;
    /* While it writes, the server may be stuck at writing to us: both ways are watched. */
    int events = UV_READABLE | (PQflush(c->handle) > 0 ? UV_WRITABLE : 0);
    if (events == p->events)
        return;
    p->events = events;
    if (!rh_pg_watch_start(&c->watch, c->handle, events, on_poll, c))
        lose(p);
}

static void advance(struct progress *p)
{
    rh_pg *c = p->connection;
    bool reading = true;
    while (reading && !p->ended && !PQisBusy(c->handle)) {
        PGresult *result = PQgetResult(c->handle);
        bool synced = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (result && !synced && !take_result(p, result))
            end(p);
        else if (!result || synced)
            reading = command_over(p, synced);
        PQclear(result);
    }
    if (!p->ended)
        wait_more(p);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    rh_pg *connection = poll->data;
    struct progress *p = connection->current;
    (void)status; /* an error of the socket is for libpq to find and to name */
    if ((events & UV_READABLE || status < 0) && !PQconsumeInput(connection->handle)) {
        advance(p); /* what had come before the end, and then the end, as a result */
        return;
    }
    advance(p);
}

/* The connection cannot be used, or the server does not end what it was asked to. */
static void on_grace(uv_timer_t *timer)
{
    struct progress *p = timer->data;
    p->connection->lost = true;
    end(p);
}

bool rh_pg_statement_start(rh_pg_statement *op, rh_pg *connection, rh_error *error)
{
    if (connection->current)
        return rh_fail(error, "busy", "pg: the connection is in use");
    if (!rh_pg_usable(connection))
        return rh_fail(error, "lost_connection", "pg: the connection has ended");
    if (op->param_count > MOST_PARAMS)
        return rh_fail(error, "parameters",
                       "pg: %zu parameters, and PostgreSQL takes no more than %d", op->param_count,
                       MOST_PARAMS);
    struct progress *p = rh_alloc(sizeof *p);
    p->op = op;
    p->connection = rh_pg_ref(connection);
    rh_pg_values_init(&p->values, op->param_count);
    uv_timer_init(rh_loop(), &p->grace);
    p->grace.data = p;
    op->impl = p;
    op->numbers = connection->config->numbers;
    connection->current = p;
    p->events = UV_WRITABLE;
    bool sent = send_first(p);
    if (!sent)
        rh_pg_fail_lost(&op->op.error, connection->config, connection->handle, op->sql);
    /* An error of now is told on the next turn: nobody waits for the operation yet. */
    if (!sent || !rh_pg_watch_start(&connection->watch, connection->handle, UV_WRITABLE, on_poll,
                                    connection))
        uv_timer_start(&p->grace, on_grace, 0, 0);
    return true;
}

/* Cancelling ---------------------------------------------------------------------------------------- */

static void on_cancel_sent(void *data, bool sent)
{
    struct progress *p = data;
    p->cancelling = NULL;
    if (!sent && !p->ended) {
        p->connection->lost = true;
        end(p);
    } else {
        settle(p);
    }
}

void rh_pg_statement_cancel(rh_op *op)
{
    struct progress *p = ((rh_pg_statement *)op)->impl;
    p->cancelling = rh_pg_cancel_send(p->connection, on_cancel_sent, p);
    uv_timer_start(&p->grace, on_grace, p->cancelling ? CANCEL_GRACE_MS : 0, 0);
}

/* Results ------------------------------------------------------------------------------------------- */

const char *rh_pg_cell(const rh_pg_statement *op, size_t *at, size_t *size)
{
    memcpy(size, op->cells.data + *at, sizeof *size);
    *at += sizeof *size;
    if (*size == null_size)
        return NULL;
    const char *text = op->cells.data + *at;
    *at += *size + 1;
    return text;
}

void rh_pg_statement_fini(rh_op *op)
{
    rh_pg_statement *s = (rh_pg_statement *)op;
    for (size_t i = 0; i < s->param_count; i++) {
        if (s->params[i].text)
            explicit_bzero(s->params[i].text, s->params[i].size);
        if (s->params[i].array)
            explicit_bzero(s->params[i].array, strlen(s->params[i].array));
        free(s->params[i].text);
        free(s->params[i].array);
    }
    for (size_t i = 0; i < s->column_count; i++)
        free(s->columns[i].name);
    for (size_t i = 0; i < s->notice_count; i++)
        free(s->notices[i]);
    free(s->params);
    free(s->columns);
    free(s->notices);
    free(s->sql);
    rh_buffer_free(&s->cells);
}
