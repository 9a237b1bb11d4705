/* pg: the binding.
 *
 *   native.config(url | table, numbers) → config, { user, host, port, socket, database, tls, display, connect_timeout (ms) }
 *          numbers: numeric values become numbers, not text
 *   native.same(config, config) → boolean
 *   native.client(config, database) → { NAME = text, or false: to be unset }, password file's text (secret) or nil
 *          what pg_dump, pg_restore and psql need; the text is to be their standard input
 *   native.connect(config, database, ms) ⏳ → connection      database nil: the config's; "": none, "postgres" or "template1"
 *   native.query(connection, sql, params, opts) ⏳ → rows, { affected, notices, columns, open }
 *          params: a sequence with n; opts: read, plain, must (cannot be cancelled), limit (bytes), timeout (ms)
 *   native.usable(connection)  native.busy(connection)  native.close(connection)
 *   native.server(connection) → version (150018), process id, database
 *   native.parts   the compiled parts of the sugar
 *
 * A config and a connection are userdata; the last reference closes. */
#include "pg.h"

#include "core/json.h"
#include "core/luaerror.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"
#include "value.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>

static const char CONFIG[] = "rollout.pg.config", CONNECTION[] = "rollout.pg.connection";

static _Noreturn void raise(lua_State *L, rh_error *error)
{
    rh_error_module(error, "pg");
    rh_raise(L, error);
}

/* Configs ------------------------------------------------------------------------------------------- */

static rh_pg_config *check_config(lua_State *L, int idx)
{
    return *(rh_pg_config **)luaL_checkudata(L, idx, CONFIG);
}

static int config_gc(lua_State *L)
{
    rh_pg_config **box = lua_touserdata(L, 1);
    rh_pg_config_unref(*box);
    *box = NULL;
    return 0;
}

/* Of the table at 1. */
static void set_from_field(lua_State *L, rh_pg_config *config, const char *name,
                           const char *keyword)
{
    size_t size;
    lua_getfield(L, 1, name);
    if (lua_isinteger(L, -1))
        lua_tostring(L, -1);
    const char *text = lua_isnil(L, -1) ? NULL : rh_check_secret_text(L, -1, &size);
    if (text && strlen(text) != size)
        rh_raisef(L, "usage", "pg: %s has a NUL byte", name);
    if (text)
        rh_pg_config_set(config, keyword, text);
    lua_pop(L, 1);
}

static bool config_from_table(lua_State *L, rh_pg_config *config, rh_error *error)
{
    static const char *const fields[][2] = {
        {"socket", "host"},    {"host", "host"},         {"port", "port"},
        {"user", "user"},      {"password", "password"}, {"database", "dbname"},
        {"ca", "sslrootcert"}, {"cert", "sslcert"},      {"key", "sslkey"},
        {"tls", "sslmode"},    {"schema", "schema"},     {"options", "options"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        set_from_field(L, config, fields[i][0], fields[i][1]);
    return rh_pg_config_finish(config, error);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static int push_facts(lua_State *L, const rh_pg_config *config)
{
    const char *host = rh_pg_config_get(config, "host"), *port = rh_pg_config_get(config, "port");
    bool socket = !host || *host == '/' || *host == '@';
    lua_createtable(L, 0, 7);
    set_text(L, "user", rh_pg_config_get(config, "user"));
    set_text(L, socket ? "socket" : "host", host);
    set_text(L, "database", rh_pg_config_get(config, "dbname"));
    lua_pushinteger(L, port ? strtol(port, NULL, 10) : 5432);
    lua_setfield(L, -2, "port");
    lua_pushboolean(L, rh_pg_config_verifies(config));
    lua_setfield(L, -2, "tls");
    const char *timeout = rh_pg_config_get(config, "connect_timeout");
    if (timeout && strtol(timeout, NULL, 10) > 0) {
        lua_pushinteger(L, strtol(timeout, NULL, 10) * 1000);
        lua_setfield(L, -2, "connect_timeout");
    }
    rh_buffer display = {0};
    rh_pg_config_display(config, &display);
    set_text(L, "display", display.data);
    rh_buffer_free(&display);
    return 1;
}

static int native_config(lua_State *L)
{
    rh_error error = {0};
    bool numbers = lua_toboolean(L, 2);
    lua_settop(L, 1);
    rh_pg_config **box = rh_new_object(L, sizeof *box, CONFIG, config_gc);
    if (lua_istable(L, 1)) {
        *box = rh_pg_config_new();
        rh_pg_config_set_numbers(*box, numbers);
        if (!config_from_table(L, *box, &error))
            raise(L, &error);
    } else {
        size_t size;
        const char *url = rh_check_secret_text(L, 1, &size);
        if (strlen(url) == size)
            *box = rh_pg_config_parse(url, &error);
        else
            rh_fail(&error, "usage", "pg: the database URL has a NUL byte");
        if (*box)
            rh_pg_config_set_numbers(*box, numbers);
        else
            raise(L, &error);
    }
    lua_settop(L, 2);
    return 1 + push_facts(L, *box);
}

static int native_same(lua_State *L)
{
    lua_pushboolean(L, rh_pg_config_same(check_config(L, 1), check_config(L, 2)));
    return 1;
}

static void set_variable(void *data, const char *name, const char *value)
{
    lua_State *L = data;
    if (value)
        lua_pushstring(L, value);
    else
        lua_pushboolean(L, 0);
    lua_setfield(L, -2, name);
}

static int native_client(lua_State *L)
{
    const rh_pg_config *config = check_config(L, 1);
    const char *password = rh_pg_config_get(config, "password");
    rh_buffer file = {0};
    rh_error error = {0};
    if (password && strpbrk(password, "\r\n"))
        rh_raisef(L, "usage",
                  "pg: a password with a line break cannot be given to PostgreSQL's own programs");
    lua_newtable(L);
    rh_pg_config_variables(config, luaL_optstring(L, 2, NULL), set_variable, L);
    rh_pg_config_passfile(config, &file);
    bool ok = !file.data || rh_secret_push(L, "database password", file.data, file.size, &error);
    bool any = file.data != NULL;
    rh_buffer_free(&file);
    if (!ok)
        raise(L, &error);
    return any ? 2 : 1;
}

/* Connections --------------------------------------------------------------------------------------- */

static rh_pg *check_connection(lua_State *L, int idx)
{
    return *(rh_pg **)luaL_checkudata(L, idx, CONNECTION);
}

static int connection_gc(lua_State *L)
{
    rh_pg **box = lua_touserdata(L, 1);
    rh_pg_unref(*box);
    *box = NULL;
    return 0;
}

static int push_connection(rh_op *op, lua_State *L)
{
    rh_pg_connect *connect = (rh_pg_connect *)op;
    rh_pg **box = rh_new_object(L, sizeof *box, CONNECTION, connection_gc);
    *box = connect->connection;
    connect->connection = NULL;
    return 1;
}

static const rh_op_class connect_class = {.name = "pg.connect",
                                          .size = sizeof(rh_pg_connect),
                                          .cancel = rh_pg_connect_cancel,
                                          .push = push_connection,
                                          .fini = rh_pg_connect_fini};

static int native_connect(lua_State *L)
{
    rh_error error = {0};
    rh_pg_config *config = check_config(L, 1);
    const char *database = luaL_optstring(L, 2, NULL);
    lua_Integer timeout = luaL_optinteger(L, 3, 0);
    rh_pg_connect *connect = (rh_pg_connect *)rh_op_new(&connect_class);
    if (!rh_pg_connect_start(connect, config, database, timeout, &error)) {
        rh_op_discard(&connect->op);
        raise(L, &error);
    }
    return rh_await(L, &connect->op, 0);
}

static int native_usable(lua_State *L)
{
    const rh_pg *connection = check_connection(L, 1);
    lua_pushboolean(L, rh_pg_usable(connection) && !rh_pg_busy(connection));
    return 1;
}

static int native_busy(lua_State *L)
{
    lua_pushboolean(L, rh_pg_busy(check_connection(L, 1)));
    return 1;
}

static int native_close(lua_State *L)
{
    rh_pg_close(check_connection(L, 1));
    return 0;
}

static int native_server(lua_State *L)
{
    const rh_pg *connection = check_connection(L, 1);
    lua_pushinteger(L, rh_pg_server_version(connection));
    lua_pushinteger(L, rh_pg_backend(connection));
    lua_pushstring(L, rh_pg_database_of(connection));
    return 3;
}

/* Statements ---------------------------------------------------------------------------------------- */

static void push_columns(lua_State *L, const rh_pg_statement *pg)
{
    lua_createtable(L, (int)pg->column_count, 0);
    for (size_t i = 0; i < pg->column_count; i++) {
        lua_pushstring(L, pg->columns[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Rows are tables by name: two columns of one name would lose a value without a word. */
static void check_names(lua_State *L, const rh_pg_statement *pg)
{
    lua_createtable(L, 0, (int)pg->column_count);
    for (size_t i = 0; i < pg->column_count; i++) {
        if (lua_getfield(L, -1, pg->columns[i].name) != LUA_TNIL)
            rh_raisef(L, "columns",
                      "pg: two columns are called %s: name one of them with AS, in: %.300s",
                      pg->columns[i].name, pg->sql);
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, pg->columns[i].name);
    }
    lua_pop(L, 1);
}

static void push_notices(lua_State *L, const rh_pg_statement *pg)
{
    lua_createtable(L, (int)pg->notice_count, 0);
    rh_json_array(L, -1);
    for (size_t i = 0; i < pg->notice_count; i++) {
        lua_pushstring(L, pg->notices[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int push_statement(rh_op *op, lua_State *L)
{
    const rh_pg_statement *pg = (const rh_pg_statement *)op;
    luaL_checkstack(L, 8, "rows");
    check_names(L, pg);
    push_columns(L, pg);
    int columns = lua_gettop(L);
    lua_createtable(L, (int)pg->row_count, 0);
    size_t at = 0, size;
    for (size_t row = 0; row < pg->row_count; row++) {
        lua_createtable(L, 0, (int)pg->column_count);
        for (size_t i = 0; i < pg->column_count; i++) {
            const char *text = rh_pg_cell(pg, &at, &size);
            lua_rawgeti(L, columns, (lua_Integer)i + 1);
            rh_pg_push_value(L, &pg->columns[i], text, size, pg->numbers);
            lua_rawset(L, -3);
        }
        lua_rawseti(L, -2, (lua_Integer)row + 1);
    }
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, pg->transaction_open);
    lua_setfield(L, -2, "open");
    lua_pushinteger(L, (lua_Integer)pg->affected);
    lua_setfield(L, -2, "affected");
    push_notices(L, pg);
    lua_setfield(L, -2, "notices");
    lua_pushvalue(L, columns);
    lua_setfield(L, -2, "columns");
    return 2;
}

static const rh_op_class statement_class = {.name = "pg.statement",
                                            .size = sizeof(rh_pg_statement),
                                            .cancel = rh_pg_statement_cancel,
                                            .push = push_statement,
                                            .fini = rh_pg_statement_fini};

/* For cleaning up behind a task that is being cancelled. */
static const rh_op_class must_class = {.name = "pg.statement",
                                       .size = sizeof(rh_pg_statement),
                                       .push = push_statement,
                                       .fini = rh_pg_statement_fini};

static bool set_params(lua_State *L, rh_pg_statement *pg, rh_error *error)
{
    if (lua_isnil(L, 3))
        return true;
    lua_getfield(L, 3, "n");
    lua_Integer count = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, 3);
    lua_pop(L, 1);
    pg->params = rh_alloc(((size_t)count + 1) * sizeof *pg->params);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        pg->param_count++;
        if (!rh_pg_set_param(L, &pg->params[i - 1], (size_t)i, error))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

static bool flag(lua_State *L, const char *name)
{
    if (lua_isnil(L, 4))
        return false;
    lua_getfield(L, 4, name);
    bool set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

static lua_Integer number(lua_State *L, const char *name)
{
    if (lua_isnil(L, 4))
        return 0;
    lua_getfield(L, 4, name);
    lua_Integer value = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return value;
}

static int native_query(lua_State *L)
{
    rh_error error = {0};
    size_t size;
    lua_settop(L, 4);
    rh_pg *connection = check_connection(L, 1);
    const char *sql = luaL_checklstring(L, 2, &size);
    if (strlen(sql) != size)
        rh_raisef(L, "usage", "pg: the statement has a NUL byte: pass it as a parameter");
    if (!lua_isnil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_Integer limit = number(L, "limit"), timeout = number(L, "timeout");
    bool must = flag(L, "must"), read = flag(L, "read"), plain = flag(L, "plain");
    rh_pg_statement *pg = (rh_pg_statement *)rh_op_new(must ? &must_class : &statement_class);
    pg->sql = rh_strdup(sql);
    pg->read = read;
    pg->plain = plain;
    pg->limit = (size_t)limit;
    if (!set_params(L, pg, &error) || !rh_pg_statement_start(pg, connection, &error)) {
        rh_op_discard(&pg->op);
        raise(L, &error);
    }
    return rh_await(L, &pg->op, timeout);
}

/* The module ---------------------------------------------------------------------------------------- */

/* clang-format off */
#define PARTS(X) X(words) X(marker) X(catalog) X(normal) X(fingerprint) X(backup) X(clients)       \
    X(databases) X(health) X(inspect) X(in_place) X(preflight) X(snapshot) X(swap) X(written)
/* clang-format on */
RH_PARTS(PARTS)

static int open_pg(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"config", native_config}, {"same", native_same},
        {"client", native_client}, {"connect", native_connect},
        {"query", native_query},   {"usable", native_usable},
        {"busy", native_busy},     {"close", native_close},
        {"server", native_server}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("pg", open_pg, NULL);
