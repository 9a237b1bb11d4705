/* One statement on a connection, as steps of Connector/C's non-blocking calls:
 *
 *   prepared:  PREPARE -> EXECUTE -> FETCH … FETCH -> NEXT (CALL's further results are read and dropped)
 *   plain:     QUERY -> STORE (a result that nobody asked for is dropped)
 *
 * The client library closes its socket by itself on errors: the poll handle is stopped before each call. */
#include "connection.h"

#include "core/loop.h"

#include <errmsg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum step { PREPARE, EXECUTE, FETCH, NEXT, QUERY, STORE };
enum { DEFAULT_LIMIT = 64 << 20, KILL_SECONDS = 3, KILL_GRACE_MS = 5000, BEGIN = -1 };

struct column {
    union {
        long long integer;
        double number;
        float single;
    } value;
    unsigned long length;
    my_bool is_null, truncated;
};

struct progress {
    rh_mysql_statement *op;
    rh_mysql *connection;
    enum step step;
    MYSQL_STMT *prepared;
    MYSQL_BIND *params, *binds;
    struct column *columns;
    MYSQL_RES *result;
    int ret;
    bool begun;
    bool dropping; /* reading a result that nobody asked for */
    bool ended;
    bool killing, kill_failed;
    uv_work_t kill;
    uv_timer_t grace;
};

/* Errors ------------------------------------------------------------------------------------------- */

static bool fail(struct progress *p)
{
    rh_mysql *c = p->connection;
    bool prepared = p->prepared && mysql_stmt_errno(p->prepared);
    unsigned number = prepared ? mysql_stmt_errno(p->prepared) : mysql_errno(c->handle);
    rh_mysql_fail(&p->op->op.error, c->config, number,
                  prepared ? mysql_stmt_sqlstate(p->prepared) : mysql_sqlstate(c->handle),
                  prepared ? mysql_stmt_error(p->prepared) : mysql_error(c->handle), p->op->sql);
    if (number >= CR_MIN_ERROR && number <= CR_MAX_ERROR)
        c->lost = true;
    return false;
}

static bool refuse(struct progress *p, const char *code, char *message)
{
    rh_fail(&p->op->op.error, code, "mysql: %s, in: %.300s", message, p->op->sql);
    rh_error_module(&p->op->op.error, "mysql");
    free(message);
    return false;
}

/* Parameters and columns --------------------------------------------------------------------------- */

static void bind_params(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    p->params = rh_alloc((op->param_count + 1) * sizeof *p->params);
    for (size_t i = 0; i < op->param_count; i++) {
        MYSQL_BIND *bind = &p->params[i];
        rh_mysql_value *value = &op->params[i];
        switch (value->kind) {
        case RH_MYSQL_NULL:
            bind->buffer_type = MYSQL_TYPE_NULL;
            break;
        case RH_MYSQL_INTEGER:
            bind->buffer_type = MYSQL_TYPE_LONGLONG;
            bind->buffer = &value->integer;
            break;
        case RH_MYSQL_NUMBER:
            bind->buffer_type = MYSQL_TYPE_DOUBLE;
            bind->buffer = &value->number;
            break;
        case RH_MYSQL_TEXT:
            bind->buffer_type = MYSQL_TYPE_STRING;
            bind->buffer = value->text;
            bind->buffer_length = value->size;
            break;
        }
    }
}

static void bind_column(MYSQL_BIND *bind, struct column *column, const MYSQL_FIELD *field)
{
    bind->is_null = &column->is_null;
    bind->error = &column->truncated;
    bind->length = &column->length;
    switch (field->type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR:
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->is_unsigned = (field->flags & UNSIGNED_FLAG) != 0;
        bind->buffer = &column->value;
        bind->buffer_length = sizeof column->value.integer;
        break;
    case MYSQL_TYPE_FLOAT:
        bind->buffer_type = MYSQL_TYPE_FLOAT;
        bind->buffer = &column->value;
        bind->buffer_length = sizeof column->value.single;
        break;
    case MYSQL_TYPE_DOUBLE:
        bind->buffer_type = MYSQL_TYPE_DOUBLE;
        bind->buffer = &column->value;
        bind->buffer_length = sizeof column->value.number;
        break;
    default:
        /* No buffer: fetching tells the length, fetch_column() then brings the bytes. */
        bind->buffer_type = MYSQL_TYPE_STRING;
        break;
    }
}

static bool bind_columns(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    MYSQL_RES *meta = mysql_stmt_result_metadata(p->prepared);
    unsigned count = mysql_stmt_field_count(p->prepared);
    if (!meta)
        return fail(p);
    free(p->binds);
    free(p->columns);
    p->binds = rh_alloc(count * sizeof *p->binds);
    p->columns = rh_alloc(count * sizeof *p->columns);
    const MYSQL_FIELD *fields = mysql_fetch_fields(meta);
    for (unsigned i = 0; i < count; i++)
        bind_column(&p->binds[i], &p->columns[i], &fields[i]);
    if (!p->dropping) {
        op->columns = rh_alloc(count * sizeof *op->columns);
        for (unsigned i = 0; i < count; i++)
            op->columns[op->column_count++] = rh_strndup(fields[i].name, fields[i].name_length);
    }
    mysql_free_result(meta);
    return !mysql_stmt_bind_result(p->prepared, p->binds) || fail(p);
}

static void add_cell(rh_buffer *cells, rh_mysql_kind kind, const void *bytes, size_t size)
{
    char tag = (char)kind;
    rh_buffer_add(cells, &tag, 1);
    if (kind == RH_MYSQL_TEXT)
        rh_buffer_add(cells, &size, sizeof size);
    rh_buffer_add(cells, bytes, size);
}

/* What does not fit Lua's integers stays exact as text. */
static void add_integer(rh_buffer *cells, long long integer, bool is_unsigned)
{
    char text[24];
    if (!is_unsigned || integer >= 0) {
        add_cell(cells, RH_MYSQL_INTEGER, &integer, sizeof integer);
        return;
    }
    const int size = snprintf(text, sizeof text, "%llu", (unsigned long long)integer);
    add_cell(cells, RH_MYSQL_TEXT, text, (size_t)size);
}

/* The shortest decimal that is this float again: 0.1, not 0.10000000149011612. */
static double widened(float single)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)single);
        if (strtof(text, NULL) == single)
            break;
    }
    return strtod(text, NULL);
}

static bool add_text(struct progress *p, unsigned i, bool is_bits)
{
    rh_buffer *cells = &p->op->cells;
    size_t size = p->columns[i].length;
    size_t head = cells->size;
    add_cell(cells, RH_MYSQL_TEXT, "", 0);
    memcpy(cells->data + head + 1, &size, sizeof size);
    rh_buffer_reserve(cells, size + 1);
    unsigned long length = 0;
    my_bool is_null = 0, truncated = 0;
    MYSQL_BIND bind = {.buffer_type = MYSQL_TYPE_STRING,
                       .buffer = cells->data + cells->size,
                       .buffer_length = size,
                       .length = &length,
                       .is_null = &is_null,
                       .error = &truncated};
    if (size > 0 && mysql_stmt_fetch_column(p->prepared, &bind, i, 0))
        return fail(p);
    if (!is_bits || size > 8) {
        cells->size += size;
        cells->data[cells->size] = '\0';
        return true;
    }
    uint64_t bits = 0;
    for (size_t at = 0; at < size; at++)
        bits = bits << 8 | (unsigned char)cells->data[cells->size + at];
    cells->size = head;
    add_integer(cells, (long long)bits, true);
    return true;
}

static bool add_row(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    size_t limit = op->limit ? op->limit : DEFAULT_LIMIT;
    for (unsigned i = 0; i < op->column_count; i++) {
        struct column *column = &p->columns[i];
        const MYSQL_FIELD *field = &p->prepared->fields[i];
        if (column->is_null) {
            add_cell(&op->cells, RH_MYSQL_NULL, "", 0);
        } else if (p->binds[i].buffer_type == MYSQL_TYPE_LONGLONG) {
            add_integer(&op->cells, column->value.integer, p->binds[i].is_unsigned);
        } else if (p->binds[i].buffer_type == MYSQL_TYPE_DOUBLE) {
            add_cell(&op->cells, RH_MYSQL_NUMBER, &column->value, sizeof column->value.number);
        } else if (p->binds[i].buffer_type == MYSQL_TYPE_FLOAT) {
            double number = widened(column->value.single);
            add_cell(&op->cells, RH_MYSQL_NUMBER, &number, sizeof number);
        } else if (op->cells.size + column->length <= limit) {
            if (!add_text(p, i, field->type == MYSQL_TYPE_BIT))
                return false;
        } else {
            op->cells.size = limit + 1;
        }
        if (op->cells.size > limit) {
            p->connection->lost = true;
            return refuse(
                p, "too_large",
                rh_format("more than %zu MiB of rows: select less, or let the database count",
                          limit >> 20));
        }
    }
    op->row_count++;
    return true;
}

/* Steps -------------------------------------------------------------------------------------------- */

/* Starts or continues the current step's call; what it waits for, or 0 when it is over. */
static int call(struct progress *p, int ready)
{
    rh_mysql_statement *op = p->op;
    MYSQL *handle = p->connection->handle;
    size_t size = strlen(op->sql);
    bool begin = ready == BEGIN;
    switch (p->step) {
    case PREPARE:
        return begin ? mysql_stmt_prepare_start(&p->ret, p->prepared, op->sql, size)
                     : mysql_stmt_prepare_cont(&p->ret, p->prepared, ready);
    case EXECUTE:
        return begin ? mysql_stmt_execute_start(&p->ret, p->prepared)
                     : mysql_stmt_execute_cont(&p->ret, p->prepared, ready);
    case FETCH:
        return begin ? mysql_stmt_fetch_start(&p->ret, p->prepared)
                     : mysql_stmt_fetch_cont(&p->ret, p->prepared, ready);
    case NEXT:
        return begin ? mysql_stmt_next_result_start(&p->ret, p->prepared)
                     : mysql_stmt_next_result_cont(&p->ret, p->prepared, ready);
    case QUERY:
        return begin ? mysql_real_query_start(&p->ret, handle, op->sql, size)
                     : mysql_real_query_cont(&p->ret, handle, ready);
    case STORE:
        return begin ? mysql_store_result_start(&p->result, handle)
                     : mysql_store_result_cont(&p->result, handle, ready);
    }
    return 0;
}

static bool check_prepared(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    unsigned long wanted = mysql_stmt_param_count(p->prepared);
    if (wanted != op->param_count)
        return refuse(p, "parameters",
                      rh_format("the statement has %lu placeholder%s, and %zu value%s given",
                                wanted, wanted == 1 ? "" : "s", op->param_count,
                                op->param_count == 1 ? " was" : "s were"));
    if (op->columns_required && mysql_stmt_field_count(p->prepared) == 0)
        return refuse(p, "no_columns",
                      rh_strdup("a query gives rows, and this statement gives none"));
    bind_params(p);
    return !mysql_stmt_bind_param(p->prepared, p->params) || fail(p);
}

/* After a step: decides the next one. False: the statement is over (well, or with op->error set). */
static bool next_step(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    MYSQL *handle = p->connection->handle;
    switch (p->step) {
    case PREPARE:
        if (p->ret)
            return fail(p);
        p->step = EXECUTE;
        return check_prepared(p);
    case NEXT:
        if (p->ret)
            return p->ret > 0 ? fail(p) : false;
        p->dropping = true;
        if (mysql_stmt_field_count(p->prepared) == 0)
            return mysql_stmt_more_results(p->prepared);
        p->step = FETCH;
        return bind_columns(p);
    case EXECUTE:
        if (p->ret)
            return fail(p);
        op->insert_id = mysql_stmt_insert_id(p->prepared);
        op->warnings = mysql_warning_count(handle);
        if (mysql_stmt_field_count(p->prepared) > 0) {
            p->step = FETCH;
            return bind_columns(p);
        }
        op->affected = mysql_stmt_affected_rows(p->prepared);
        p->step = NEXT;
        return mysql_stmt_more_results(p->prepared);
    case FETCH:
        if (p->ret == 1)
            return fail(p);
        if (p->ret != MYSQL_NO_DATA)
            return p->dropping || add_row(p);
        if (!p->dropping)
            op->affected = mysql_stmt_affected_rows(p->prepared);
        p->step = NEXT;
        return mysql_stmt_more_results(p->prepared);
    case QUERY:
        if (p->ret)
            return fail(p);
        op->affected = mysql_affected_rows(handle);
        p->step = STORE;
        return mysql_field_count(handle) > 0;
    case STORE:
        if (p->result)
            mysql_free_result(p->result);
        else
            fail(p);
        p->result = NULL;
        return false;
    }
    return false;
}

static void progress_free(struct progress *p)
{
    free(p->params);
    free(p->binds);
    free(p->columns);
    free(p);
}

static void on_grace_closed(uv_handle_t *handle) { progress_free(handle->data); }

/* The op is done when the statement has ended and no KILL is on its way any more. */
static void settle(struct progress *p)
{
    rh_mysql_statement *op = p->op;
    rh_mysql *connection = p->connection;
    if (!p->ended || p->killing)
        return;
    if (op->op.cancelled) {
        rh_error_clear(&op->op.error);
        refuse(p, "cancelled", rh_strdup("cancelled"));
    }
    unsigned status = connection->handle->server_status;
    op->transaction_open =
        (status & SERVER_STATUS_IN_TRANS) || !(status & SERVER_STATUS_AUTOCOMMIT);
    connection->current = NULL;
    if (connection->lost)
        rh_mysql_close(connection);
    rh_mysql_unref(connection);
    op->impl = NULL;
    uv_close((uv_handle_t *)&p->grace, on_grace_closed);
    rh_op_done(&op->op);
}

static void end(struct progress *p)
{
    if (p->prepared)
        mysql_stmt_close(p->prepared);
    p->prepared = NULL;
    p->ended = true;
    if (p->connection->lost)
        rh_mysql_unwatch(p->connection);
    settle(p);
}

/* Makes the library see the end of the connection, in its own time. */
static void cut(struct progress *p)
{
    if (!p->ended)
        shutdown((int)mysql_get_socket(p->connection->handle), SHUT_RDWR);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void advance(struct progress *p, int ready)
{
    rh_mysql *connection = p->connection;
    do {
        int wait = call(p, ready);
        if (wait) {
            int events = (wait & MYSQL_WAIT_READ ? UV_READABLE : 0) |
                         (wait & MYSQL_WAIT_WRITE ? UV_WRITABLE : 0) |
                         (wait & MYSQL_WAIT_EXCEPT ? UV_PRIORITIZED : 0);
            uv_poll_start(connection->poll, events, on_poll);
            return;
        }
        ready = BEGIN;
    } while (next_step(p));
    /* Closing the statement would read what is left of its rows: of a broken one, nothing may come. */
    if (connection->lost)
        cut(p);
    end(p);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    rh_mysql *connection = poll->data;
    struct progress *p = connection->current;
    uv_poll_stop(poll);
    if (!p->begun) {
        p->begun = true;
        advance(p, BEGIN);
        return;
    }
    /* An error of the socket is for the library to find and to name. */
    int ready = status < 0 ? MYSQL_WAIT_READ
                           : (events & UV_READABLE ? MYSQL_WAIT_READ : 0) |
                                 (events & UV_WRITABLE ? MYSQL_WAIT_WRITE : 0) |
                                 (events & UV_PRIORITIZED ? MYSQL_WAIT_EXCEPT : 0);
    advance(p, ready);
}

bool rh_mysql_statement_start(rh_mysql_statement *op, rh_mysql *connection, rh_error *error)
{
    if (connection->current)
        return rh_fail(error, "busy", "mysql: the connection is in use");
    if (!rh_mysql_usable(connection))
        return rh_fail(error, "lost_connection", "mysql: the connection has ended");
    struct progress *p = rh_alloc(sizeof *p);
    p->op = op;
    p->connection = rh_mysql_ref(connection);
    p->step = op->plain ? QUERY : PREPARE;
    uv_timer_init(rh_loop(), &p->grace);
    p->grace.data = p;
    if (!op->plain && !(p->prepared = mysql_stmt_init(connection->handle)))
        abort();
    op->impl = p;
    connection->current = p;
    /* Not at once: a quick answer would end the operation before anybody waits for it. */
    uv_poll_start(connection->poll, UV_WRITABLE, on_poll);
    return true;
}

/* Cancelling ---------------------------------------------------------------------------------------- */

static void on_grace(uv_timer_t *timer) { cut(timer->data); }

static void kill_work(uv_work_t *work)
{
    struct progress *p = work->data;
    MYSQL *handle = rh_mysql_handle(p->connection->config, KILL_SECONDS);
    unsigned seconds = KILL_SECONDS;
    mysql_optionsv(handle, MYSQL_OPT_READ_TIMEOUT, &seconds);
    char sql[48];
    snprintf(sql, sizeof sql, "KILL QUERY %lu", p->connection->id);
    p->kill_failed =
        !rh_mysql_handshake(handle, p->connection->config, NULL) || mysql_query(handle, sql);
    mysql_close(handle);
}

static void kill_done(uv_work_t *work, int status)
{
    struct progress *p = work->data;
    p->killing = false;
    if (status < 0 || p->kill_failed)
        cut(p);
    else if (!p->ended)
        uv_timer_start(&p->grace, on_grace, KILL_GRACE_MS, 0);
    settle(p);
}

void rh_mysql_statement_cancel(rh_op *op)
{
    struct progress *p = ((rh_mysql_statement *)op)->impl;
    if (!p->begun) { /* nothing was sent, and nothing shall be */
        uv_poll_stop(p->connection->poll);
        end(p);
        return;
    }
    p->connection->lost = true;
    p->kill.data = p;
    p->killing = uv_queue_work(rh_loop(), &p->kill, kill_work, kill_done) == 0;
    if (!p->killing)
        cut(p);
}

/* Results ------------------------------------------------------------------------------------------- */

rh_mysql_value rh_mysql_cell(const rh_mysql_statement *op, size_t *at)
{
    char *from = op->cells.data + *at + 1;
    rh_mysql_value value = {.kind = (rh_mysql_kind)op->cells.data[*at]};
    size_t size = 0;
    switch (value.kind) {
    case RH_MYSQL_NULL:
        break;
    case RH_MYSQL_INTEGER:
        memcpy(&value.integer, from, size = sizeof value.integer);
        break;
    case RH_MYSQL_NUMBER:
        memcpy(&value.number, from, size = sizeof value.number);
        break;
    case RH_MYSQL_TEXT:
        memcpy(&value.size, from, sizeof value.size);
        value.text = from + sizeof value.size;
        size = sizeof value.size + value.size;
        break;
    }
    *at += 1 + size;
    return value;
}

void rh_mysql_statement_fini(rh_op *op)
{
    rh_mysql_statement *s = (rh_mysql_statement *)op;
    for (size_t i = 0; i < s->param_count; i++) {
        if (s->params[i].text)
            explicit_bzero(s->params[i].text, s->params[i].size);
        free(s->params[i].text);
    }
    for (size_t i = 0; i < s->column_count; i++)
        free(s->columns[i]);
    free(s->params);
    free(s->columns);
    free(s->sql);
    rh_buffer_free(&s->cells);
}
