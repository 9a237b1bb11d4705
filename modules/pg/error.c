/* What went wrong, in an operator's words: by SQLSTATE, since messages come in the server's language. */
#include "connection.h"

#include "core/json.h"
#include "core/mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_STATEMENT = 300, SHOWN_BEFORE = 60, SHOWN_AFTER = 80, KEPT_STATEMENT = 4000 };

static const struct {
    const char *sqlstate, *code, *hint; /* a SQLSTATE, or the class of those that are not listed */
} known[] = {
    {"08P01", "sql", NULL},
    {"08", "lost_connection", "The server, or a proxy before it, ended the connection."},
    {"22P02", "sql", NULL},
    {"23502", "not_null", NULL},
    {"23503", "foreign_key", NULL},
    {"23505", "duplicate", NULL},
    {"23514", "check", NULL},
    {"23P01", "exclusion", NULL},
    {"25006", "read_only", "A query only reads; use db:exec in a step for what writes."},
    {"25P02", "aborted", "A statement of this transaction has failed, and all of it is void."},
    {"28", "access_denied", "Check user and password, and the server's pg_hba.conf."},
    {"3D000", "unknown_database", "Check the database's name."},
    {"40001", "serialization", "It was rolled back and can be tried again."},
    {"40P01", "deadlock", "It was rolled back and can be tried again."},
    {"42501", "access_denied", "The role has no right to do this."},
    {"42601", "syntax", NULL},
    {"42703", "undefined_column", NULL},
    {"42P01", "undefined_table", NULL},
    {"42883", "undefined_function", NULL},
    {"42P07", "exists", NULL},
    {"53100", "disk_full", "The server's disk is full."},
    {"53300", "too_many_connections", "Wait, end idle sessions, or raise max_connections."},
    {"55P03", "lock_timeout", "Another session holds a lock for too long."},
    {"57014", "cancelled", "An administrator, or a timeout of the server's (statement_timeout)."},
    {"57P01", "lost_connection", "The server ended the session."},
    {"57P02", "lost_connection", "A server process crashed, and the server ended all sessions."},
    {"57P03", "starting",
     "The server is starting up, recovering or shutting down: try again in a while."},
    {"57P05", "lost_connection", "The server ended the session, which was idle for too long."},
    {"25P03", "lost_connection", "The transaction was idle for too long for the server."},
};

const char *rh_pg_code(const char *sqlstate, const char **hint)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(sqlstate, known[i].sqlstate, strlen(known[i].sqlstate)) == 0) {
            *hint = known[i].hint;
            return known[i].code;
        }
    }
    *hint = NULL;
    return "sql";
}

void rh_pg_refuse(rh_error *error, const char *code, char *message, const char *statement)
{
    rh_buffer shown = {0};
    if (statement)
        rh_mask_text(rh_mask_process(), statement, strlen(statement), &shown);
    rh_fail(error, code, "pg: %s%s%.*s%s", message, statement ? ", in: " : "", SHOWN_STATEMENT,
            shown.data ? shown.data : "", shown.size > SHOWN_STATEMENT ? " …" : "");
    rh_error_module(error, "pg");
    rh_buffer_free(&shown);
    free(message);
}

/* Statements ---------------------------------------------------------------------------------------- */

/* The n-th character's place; the server counts from 1. */
static size_t byte_of(const char *text, long n)
{
    size_t at = 0;
    for (; text[at]; at++)
        if (((unsigned char)text[at] & 0xC0) != 0x80 && --n == 0)
            break;
    return at;
}

static size_t character_start(const char *text, size_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

/* Masked before it is cut: half a secret is not recognised. */
static void add_part(rh_buffer *out, const char *text, size_t size, size_t most, bool its_end)
{
    rh_buffer masked = {0};
    rh_mask_text(rh_mask_process(), text, size, &masked);
    if (masked.size <= most) {
        rh_buffer_add(out, masked.data ? masked.data : "", masked.size);
    } else if (its_end) {
        size_t from = character_start(masked.data, masked.size - most);
        rh_buffer_addf(out, "… %s", masked.data + from);
    } else {
        rh_buffer_add(out, masked.data, character_start(masked.data, most));
        rh_buffer_adds(out, " …");
    }
    rh_buffer_free(&masked);
}

static void add_statement(rh_buffer *out, const char *statement, long position)
{
    size_t size = strlen(statement), at = position > 0 ? byte_of(statement, position) : 0;
    if (position > 0 && at < size) {
        add_part(out, statement, at, SHOWN_BEFORE, true);
        rh_buffer_adds(out, ">>>");
        add_part(out, statement + at, size - at, SHOWN_AFTER, false);
    } else {
        add_part(out, statement, size, SHOWN_STATEMENT, false);
    }
}

static void add_fact(rh_buffer *detail, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    rh_buffer_addf(detail, "%s\"%s\":", detail->size > 1 ? "," : "", name);
    rh_json_quote(detail, value, strlen(value));
}

static void add_statement_fact(rh_buffer *detail, const char *statement)
{
    rh_buffer kept = {0};
    if (statement)
        add_part(&kept, statement, strlen(statement), KEPT_STATEMENT, false);
    add_fact(detail, "statement", kept.data);
    rh_buffer_free(&kept);
}

static char *details(const PGresult *result, const char *statement, long position)
{
    static const struct {
        int field;
        const char *name;
    } facts[] = {
        {PG_DIAG_SQLSTATE, "sqlstate"},          {PG_DIAG_MESSAGE_DETAIL, "detail"},
        {PG_DIAG_MESSAGE_HINT, "hint"},          {PG_DIAG_CONTEXT, "context"},
        {PG_DIAG_SCHEMA_NAME, "schema"},         {PG_DIAG_TABLE_NAME, "table"},
        {PG_DIAG_COLUMN_NAME, "column"},         {PG_DIAG_DATATYPE_NAME, "type"},
        {PG_DIAG_CONSTRAINT_NAME, "constraint"},
    };
    rh_buffer detail = {0};
    rh_buffer_adds(&detail, "{");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        add_fact(&detail, facts[i].name, PQresultErrorField(result, facts[i].field));
    add_statement_fact(&detail, statement);
    if (position > 0)
        rh_buffer_addf(&detail, "%s\"position\":%ld", detail.size > 1 ? "," : "", position);
    rh_buffer_adds(&detail, "}");
    return rh_buffer_take(&detail);
}

static void add_sentence(rh_buffer *out, const char *text)
{
    if (!text || !*text)
        return;
    if (out->size && !strchr(".!?", out->data[out->size - 1]))
        rh_buffer_adds(out, ".");
    rh_buffer_addf(out, " %s", text);
}

void rh_pg_fail_result(rh_error *error, const rh_pg_config *config, const PGresult *result,
                       const char *statement)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE), *hint = NULL;
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *place = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    const char *code = rh_pg_code(sqlstate ? sqlstate : "", &hint);
    long position = place && statement ? strtol(place, NULL, 10) : 0;
    rh_buffer text = {0};
    rh_pg_config_display(config, &text);
    rh_buffer_addf(&text, ": %s (%s)", primary ? primary : "failed", sqlstate ? sqlstate : "?");
    if (statement) {
        rh_buffer_adds(&text, " in: ");
        add_statement(&text, statement, position);
    }
    add_sentence(&text, PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
    add_sentence(&text, PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
    add_sentence(&text, hint);
    rh_fail(error, code, "pg: %s", text.data);
    rh_error_detail(error, details(result, statement, position));
    rh_error_module(error, "pg");
    rh_buffer_free(&text);
}

/* Connections --------------------------------------------------------------------------------------- */

/* libpq's own words, on one line, without what is said better here. */
static char *message_of(PGconn *handle)
{
    char *message = rh_strdup(PQerrorMessage(handle));
    static const char *const rests[] = {"\nLOCATION:", "\n\tIs the server running"};
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        char *rest = strstr(message, rests[i]);
        if (rest)
            *rest = '\0';
    }
    size_t size = strlen(message);
    while (size > 0 && isspace((unsigned char)message[size - 1]))
        message[--size] = '\0';
    for (char *at = message; *at; at++)
        if (isspace((unsigned char)*at))
            *at = ' ';
    return message;
}

/* Of "… FATAL:  28P01: password authentication failed": takes the state out. */
static bool take_sqlstate(char *message, char sqlstate[6])
{
    for (char *at = strstr(message, ":  "); at; at = strstr(at + 1, ":  ")) {
        size_t size = strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (size != 5 || strncmp(at + 8, ": ", 2) != 0)
            continue;
        memcpy(sqlstate, at + 3, 5);
        sqlstate[5] = '\0';
        memmove(at + 2, at + 9, strlen(at + 9) + 1);
        return true;
    }
    return false;
}

static bool about_tls(const char *message)
{
    return strstr(message, "SSL") || strstr(message, "certificate");
}

static void fail_tls(rh_error *error, const rh_pg_config *config, const char *where,
                     const char *message)
{
    const char *ca = rh_pg_config_get(config, "sslrootcert");
    bool refused = strstr(message, "does not support SSL") != NULL;
    rh_fail(
        error, "tls", "pg: %s: %s. %s%s%s", where, message,
        refused
            ? "TLS is demanded wherever the host is not this machine; sslmode=disable in the URL turns it off"
            : "The certificate must not have expired, must bear the host's name, and be signed by an authority in ",
        refused ? ""
        : ca    ? ca
                : "no file",
        refused ? "" : "; name another with sslrootcert=FILE in the URL");
}

void rh_pg_fail_connect(rh_error *error, const rh_pg_config *config, PGconn *handle)
{
    char *message = message_of(handle), sqlstate[6] = "";
    const char *hint = NULL;
    rh_buffer where = {0};
    rh_pg_config_display(config, &where);
    if (take_sqlstate(message, sqlstate)) {
        const char *code = rh_pg_code(sqlstate, &hint);
        if (strstr(message, "unsupported startup parameter"))
            hint =
                "This is PgBouncer: say pgbouncer=true in the URL instead of schema= and options=.";
        rh_fail(error, strcmp(code, "sql") == 0 ? "connect" : code, "pg: %s: %s (%s)%s%s",
                where.data, message, sqlstate, hint ? ". " : "", hint ? hint : "");
        rh_error_detail(error, rh_format("{\"sqlstate\":\"%s\"}", sqlstate));
    } else if (strstr(message, "invalid response to SSL negotiation") ||
               strstr(message, "expected authentication request")) {
        rh_fail(error, "connect",
                "pg: %s: what listens there is no PostgreSQL (%s). Is it the right host and port?",
                where.data, message);
    } else if (about_tls(message)) {
        fail_tls(error, config, where.data, message);
    } else if (strstr(message, "no password supplied")) {
        rh_fail(error, "access_denied", "pg: %s: %s: the URL has none, nor has ~/.pgpass",
                where.data, message);
    } else {
        rh_fail(error, "connect",
                "pg: %s: %s. Is the server running, and can it be reached from here?", where.data,
                message);
    }
    rh_error_module(error, "pg");
    rh_buffer_free(&where);
    free(message);
}

void rh_pg_fail_lost(rh_error *error, const rh_pg_config *config, PGconn *handle,
                     const char *statement)
{
    char *message = message_of(handle);
    rh_buffer text = {0};
    rh_pg_config_display(config, &text);
    rh_buffer_addf(&text, ": the connection was lost: %s", message);
    if (statement) {
        rh_buffer_adds(&text, ", in: ");
        add_statement(&text, statement, 0);
    }
    rh_fail(error, "lost_connection", "pg: %s", text.data);
    rh_buffer detail = {0};
    rh_buffer_adds(&detail, "{");
    add_statement_fact(&detail, statement);
    rh_buffer_adds(&detail, "}");
    rh_error_detail(error, rh_buffer_take(&detail));
    rh_error_module(error, "pg");
    rh_buffer_free(&text);
    free(message);
}
