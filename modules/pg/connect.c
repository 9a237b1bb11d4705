/* Opening a connection: the hosts' names are resolved by libuv, since libpq would block on them, and their addresses are
 * tried one after the other, each with its part of the time, so that a host that does not answer leaves some for the next.
 *
 *      resolve host 1 -> … -> resolve host n -> poll address 1 -> … -> poll address m
 */
#include "connection.h"

#include "core/loop.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TIMEOUT_MS = 10000, LEAST_SLOT_MS = 1000, MOST_TARGETS = 32 };

struct target {
    char *host, *address, *port; /* host or address may be NULL; address "": libpq finds a socket */
};

struct attempt {
    rh_pg_connect *op;
    rh_pg_config *config;
    char *database;
    struct target targets[MOST_TARGETS];
    size_t count, at; /* at: being resolved, then being connected to */
    struct target resolved[MOST_TARGETS];
    size_t resolved_count;
    uv_getaddrinfo_t resolver;
    bool resolving;
    uv_timer_t timer;
    uint64_t deadline, slot; /* slot: the part of the time that the present address has */
    PGconn *handle;
    rh_pg_watch watch;
    bool fell_back; /* from "postgres" to "template1" */
    bool ended;     /* a resolver that hangs may come back after that */
};

/* The end ------------------------------------------------------------------------------------------- */

static void target_free(struct target *target)
{
    free(target->host);
    free(target->address);
    free(target->port);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct attempt *attempt = handle->data;
    for (size_t i = 0; i < attempt->count; i++)
        target_free(&attempt->targets[i]);
    for (size_t i = 0; i < attempt->resolved_count; i++)
        target_free(&attempt->resolved[i]);
    rh_pg_config_unref(attempt->config);
    free(attempt->database);
    free(attempt);
}

static void drop_handle(struct attempt *attempt)
{
    rh_pg_watch_close(&attempt->watch);
    if (attempt->handle)
        PQfinish(attempt->handle);
    attempt->handle = NULL;
}

static void end(struct attempt *attempt)
{
    rh_pg_connect *op = attempt->op;
    drop_handle(attempt);
    op->impl = NULL;
    attempt->ended = true;
    if (attempt->resolving)
        uv_timer_stop(&attempt->timer);
    else
        uv_close((uv_handle_t *)&attempt->timer, on_timer_closed);
    rh_op_done(&op->op);
}

static void succeed(struct attempt *attempt)
{
    rh_pg *connection = rh_alloc(sizeof *connection);
    connection->refs = 1;
    connection->config = rh_pg_config_ref(attempt->config);
    connection->handle = attempt->handle;
    connection->watch = attempt->watch;
    rh_pg_watch_stop(&connection->watch);
    PQsetnonblocking(connection->handle, 1);
    PQsetErrorVerbosity(connection->handle, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(connection->handle, rh_pg_on_notice, connection);
    attempt->handle = NULL;
    attempt->watch.poll = NULL;
    rh_error_clear(&attempt->op->op.error); /* of the addresses before */
    attempt->op->connection = connection;
    end(attempt);
}

/* The session --------------------------------------------------------------------------------------- */

static void fail_target(struct attempt *attempt, rh_error *error);
static void on_setup_poll(uv_poll_t *poll, int status, int events);

/* A pooler may have taken the options and forgotten them: then statements would meet another schema's tables. */
static bool check_search_path(struct attempt *attempt, const PGresult *result, rh_error *error)
{
    char *wanted = rh_pg_config_search_path(attempt->config);
    bool same = strcmp(wanted, PQgetvalue(result, 0, 0)) == 0;
    if (!same)
        rh_fail(error, "connect",
                "pg: the session's search_path is %s, and the URL's schema= wants %s: a pooler "
                "drops it; set it with ALTER ROLE %s SET search_path, and leave schema= out",
                PQgetvalue(result, 0, 0), wanted, rh_pg_config_get(attempt->config, "user"));
    free(wanted);
    return same;
}

static void set_up(struct attempt *attempt)
{
    rh_error error = {0};
    PGconn *handle = attempt->handle;
    rh_pg_watch_stop(&attempt->watch);
    while (!rh_error_is_set(&error) && !PQisBusy(handle)) {
        PGresult *result = PQgetResult(handle);
        ExecStatusType status = PQresultStatus(result);
        if (!result) {
            succeed(attempt);
            return;
        }
        if (status == PGRES_TUPLES_OK)
            check_search_path(attempt, result, &error);
        else if (status != PGRES_COMMAND_OK)
            rh_pg_fail_result(&error, attempt->config, result, NULL);
        PQclear(result);
    }
    if (rh_error_is_set(&error))
        fail_target(attempt, &error);
    else
        rh_pg_watch_start(&attempt->watch, handle, UV_READABLE, on_setup_poll, attempt);
}

static void on_setup_poll(uv_poll_t *poll, int status, int events)
{
    struct attempt *attempt = poll->data;
    (void)status, (void)events;
    PQconsumeInput(attempt->handle); /* its failure is the next result */
    set_up(attempt);
}

/* Times are read in ISO's form; the order of day and month stays the session's own. */
static void begin_session(struct attempt *attempt)
{
    const char *style = PQparameterStatus(attempt->handle, "DateStyle");
    char *path = rh_pg_config_search_path(attempt->config);
    rh_buffer sql = {0};
    if (style && strncmp(style, "ISO", 3) != 0)
        rh_buffer_adds(&sql, "SET DateStyle = ISO;");
    if (path)
        rh_buffer_adds(&sql, "SHOW search_path");
    free(path);
    if (sql.size == 0) {
        succeed(attempt);
    } else {
        PQsendQuery(attempt->handle, sql.data);
        set_up(attempt);
    }
    rh_buffer_free(&sql);
}

/* Connecting ---------------------------------------------------------------------------------------- */

static void next_target(struct attempt *attempt);

/* What another address may do better: the server there was not reached, or is no use yet. */
static bool is_local_trouble(const rh_error *error)
{
    return strcmp(error->code, "connect") == 0 || strcmp(error->code, "starting") == 0 ||
           strcmp(error->code, "timeout") == 0 || strcmp(error->code, "too_many_connections") == 0;
}

static void fail_target(struct attempt *attempt, rh_error *error)
{
    bool further = is_local_trouble(error);
    bool again =
        strcmp(error->code, "unknown_database") == 0 && !attempt->database && !attempt->fell_back;
    drop_handle(attempt);
    if (again) {
        attempt->fell_back = true;
        rh_error_clear(error);
        next_target(attempt);
        return;
    }
    /* The first is told; but a server that answered says more than one that did not. */
    if (!rh_error_is_set(&attempt->op->op.error) || !further)
        rh_error_clear(&attempt->op->op.error);
    rh_error_move(&attempt->op->op.error, error);
    rh_error_clear(error);
    attempt->at++;
    if (further && attempt->at < attempt->resolved_count)
        next_target(attempt);
    else
        end(attempt);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void advance(struct attempt *attempt)
{
    rh_error error = {0};
    rh_pg_watch_stop(&attempt->watch);
    rh_pg_environment_hide();
    PostgresPollingStatusType state = PQconnectPoll(attempt->handle);
    rh_pg_environment_show();
    int events = state == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE;
    if (state == PGRES_POLLING_OK) {
        begin_session(attempt);
    } else if (state == PGRES_POLLING_FAILED ||
               !rh_pg_watch_start(&attempt->watch, attempt->handle, events, on_poll, attempt)) {
        rh_pg_fail_connect(&error, attempt->config, attempt->handle);
        fail_target(attempt, &error);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events; /* an error of the socket is for libpq to find and to name */
    advance(poll->data);
}

static void on_slot_over(uv_timer_t *timer)
{
    struct attempt *attempt = timer->data;
    const struct target *target = &attempt->resolved[attempt->at];
    bool named = target->host && target->address && strcmp(target->host, target->address) != 0;
    rh_error error = {0};
    rh_buffer where = {0};
    rh_pg_config_display(attempt->config, &where);
    rh_fail(&error, "timeout",
            "pg: %s: no answer from %s%s%s within %g s. Is it the right address, and is no "
            "firewall in between?",
            where.data, named ? target->host : "", named ? " at " : "",
            target->address ? target->address : "the server", (double)attempt->slot / 1000);
    rh_buffer_free(&where);
    fail_target(attempt, &error);
}

static PGconn *open_handle(const struct attempt *attempt, const struct target *target)
{
    const char *keywords[96], *values[96];
    size_t count = 0;
    for (const PQconninfoOption *option = attempt->config->options; option->keyword; option++) {
        const char *value = option->val;
        if (strcmp(option->keyword, "host") == 0)
            value = target->host;
        else if (strcmp(option->keyword, "hostaddr") == 0)
            value = target->address;
        else if (strcmp(option->keyword, "port") == 0)
            value = target->port;
        else if (strcmp(option->keyword, "dbname") == 0)
            value = attempt->database    ? attempt->database
                    : attempt->fell_back ? "template1"
                                         : "postgres";
        if (!value || count == 95)
            continue;
        keywords[count] = option->keyword;
        values[count++] = value;
    }
    keywords[count] = values[count] = NULL;
    rh_pg_environment_hide();
    PGconn *handle = PQconnectStartParams(keywords, values, 0);
    rh_pg_environment_show();
    if (!handle)
        abort();
    return handle;
}

static void ignore_notice(void *data, const PGresult *result) { (void)data, (void)result; }

static void next_target(struct attempt *attempt)
{
    uint64_t now = uv_now(rh_loop());
    uint64_t left = attempt->deadline > now ? attempt->deadline - now : 0;
    uint64_t slot = left / (attempt->resolved_count - attempt->at);
    if (slot < LEAST_SLOT_MS)
        slot = left < LEAST_SLOT_MS ? left : LEAST_SLOT_MS;
    attempt->slot = slot;
    attempt->handle = open_handle(attempt, &attempt->resolved[attempt->at]);
    /* This way a refusal carries its SQLSTATE, which says more than a message in the server's language. */
    PQsetErrorVerbosity(attempt->handle, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(attempt->handle, ignore_notice, NULL);
    uv_timer_start(&attempt->timer, on_slot_over, slot, 0);
    rh_error error = {0};
    if (PQstatus(attempt->handle) != CONNECTION_BAD &&
        rh_pg_watch_start(&attempt->watch, attempt->handle, UV_WRITABLE, on_poll, attempt))
        return;
    rh_pg_fail_connect(&error, attempt->config, attempt->handle);
    fail_target(attempt, &error);
}

/* Resolving ----------------------------------------------------------------------------------------- */

static void add_resolved(struct attempt *attempt, const struct target *from, const char *address)
{
    if (attempt->resolved_count == MOST_TARGETS)
        return;
    struct target *target = &attempt->resolved[attempt->resolved_count++];
    target->host = from->host ? rh_strdup(from->host) : NULL;
    target->address = address ? rh_strdup(address) : NULL;
    target->port = from->port ? rh_strdup(from->port) : NULL;
}

static void resolve_next(struct attempt *attempt);

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct attempt *attempt = request->data;
    const struct target *target = &attempt->targets[attempt->at];
    attempt->resolving = false;
    for (const struct addrinfo *one = list; one; one = one->ai_next) {
        char address[INET6_ADDRSTRLEN] = "";
        if (one->ai_family == AF_INET)
            uv_ip4_name((struct sockaddr_in *)one->ai_addr, address, sizeof address);
        else if (one->ai_family == AF_INET6)
            uv_ip6_name((struct sockaddr_in6 *)one->ai_addr, address, sizeof address);
        if (*address)
            add_resolved(attempt, target, address);
    }
    uv_freeaddrinfo(list);
    if (attempt->ended) {
        uv_close((uv_handle_t *)&attempt->timer, on_timer_closed);
        return;
    }
    if (status < 0)
        rh_fail(&attempt->op->op.error, "connect",
                "pg: the host name %s cannot be resolved: %s. Is it spelt correctly, and does this "
                "machine's resolver know it?",
                target->host, uv_strerror(status));
    attempt->at++;
    resolve_next(attempt);
}

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void on_resolve_timeout(uv_timer_t *timer)
{
    struct attempt *attempt = timer->data;
    rh_fail(&attempt->op->op.error, "timeout", "pg: the host name %s was not resolved in time",
            attempt->targets[attempt->at].host);
    end(attempt);
}

static void resolve_next(struct attempt *attempt)
{
    for (; attempt->at < attempt->count; attempt->at++) {
        const struct target *target = &attempt->targets[attempt->at];
        if (target->address || !target->host || strchr("/@", *target->host)) {
            add_resolved(attempt, target, target->address);
        } else if (is_address(target->host)) {
            add_resolved(attempt, target, target->host);
        } else {
            struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
            attempt->resolver.data = attempt;
            int status = uv_getaddrinfo(rh_loop(), &attempt->resolver, on_resolved, target->host,
                                        NULL, &hints);
            attempt->resolving = status == 0;
            if (status == 0)
                return;
            rh_fail_uv(&attempt->op->op.error, status, "pg: cannot resolve %s", target->host);
        }
    }
    attempt->at = 0;
    if (attempt->resolved_count == 0)
        end(attempt);
    else
        next_target(attempt);
}

/* The n-th of a list with commas; NULL where there is none or it is empty. A list of one stands for all. */
static char *nth(const char *list, size_t n)
{
    if (!list)
        return NULL;
    const char *at = list;
    while (n > 0 && at[strcspn(at, ",")]) {
        at += strcspn(at, ",") + 1;
        n--;
    }
    size_t size = strcspn(at, ",");
    if (n > 0 && at != list)
        return NULL;
    return size > 0 ? rh_strndup(at, size) : NULL;
}

static size_t length_of(const char *list)
{
    size_t count = 1;
    for (; list && *list; list++)
        count += *list == ',';
    return count;
}

static void on_start(uv_timer_t *timer)
{
    struct attempt *attempt = timer->data;
    uv_timer_start(&attempt->timer, on_resolve_timeout, attempt->deadline - uv_now(rh_loop()), 0);
    resolve_next(attempt);
}

bool rh_pg_connect_start(rh_pg_connect *op, rh_pg_config *config, const char *database,
                         int64_t timeout_ms, rh_error *error)
{
    const char *hosts = rh_pg_config_get(config, "host");
    const char *addresses = rh_pg_config_get(config, "hostaddr");
    const char *ports = rh_pg_config_get(config, "port");
    size_t count = length_of(addresses ? addresses : hosts);
    if (count > MOST_TARGETS || (addresses && hosts && length_of(hosts) != count) ||
        (length_of(ports) != 1 && length_of(ports) != count))
        return rh_fail(error, "usage", "pg: as many hosts as ports, and no more than %d",
                       MOST_TARGETS);
    struct attempt *attempt = rh_alloc(sizeof *attempt);
    attempt->op = op;
    attempt->config = rh_pg_config_ref(config);
    if (!database)
        database = rh_pg_config_get(config, "dbname");
    attempt->database = *database ? rh_strdup(database) : NULL;
    attempt->count = count;
    for (size_t i = 0; i < count; i++) {
        attempt->targets[i].host = nth(hosts, i);
        attempt->targets[i].address = nth(addresses, i);
        attempt->targets[i].port = nth(ports, i);
    }
    op->impl = attempt;
    uv_timer_init(rh_loop(), &attempt->timer);
    attempt->timer.data = attempt;
    attempt->deadline =
        uv_now(rh_loop()) + (uint64_t)(timeout_ms > 0 ? timeout_ms : DEFAULT_TIMEOUT_MS);
    /* Not at once: a failure would end the operation before anybody waits for it. */
    uv_timer_start(&attempt->timer, on_start, 0, 0);
    return true;
}

void rh_pg_connect_cancel(rh_op *op)
{
    struct attempt *attempt = ((rh_pg_connect *)op)->impl;
    rh_error_clear(&op->error);
    rh_fail(&op->error, "cancelled", "pg: cancelled while connecting");
    if (attempt->resolving)
        uv_cancel((uv_req_t *)&attempt->resolver); /* in vain if a thread has it already */
    end(attempt);
}

void rh_pg_connect_fini(rh_op *op)
{
    rh_pg_connect *connect = (rh_pg_connect *)op;
    if (connect->connection)
        rh_pg_unref(connect->connection);
}
