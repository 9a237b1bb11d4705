/* mysql: the binding.
 *
 *   native.config(url | table) → config, { user, host, port, socket, database, tls, display }
 *   native.same(config, config) → boolean
 *   native.options(config) → text                                 what mariadb-dump and mariadb read as --defaults-file
 *   native.connect(config, database, ms) ⏳ → connection          database nil: the config's; "": none
 *   native.query(connection, sql, params, opts) ⏳ → rows, { affected, insert_id, warnings, columns, open }
 *          params: a sequence with n; opts: read, plain, must (cannot be cancelled), limit (bytes), timeout (ms)
 *   native.usable(connection)  native.busy(connection)  native.close(connection)
 *   native.parts   the compiled parts of the sugar
 *
 * A config and a connection are userdata; the last reference closes. */
#include "mysql.h"

#include "core/json.h"
#include "core/luaerror.h"
#include "core/mask.h"
#include "core/module.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char CONFIG[] = "rollout.mysql.config", CONNECTION[] = "rollout.mysql.connection";

static _Noreturn void raise(lua_State *L, rh_error *error)
{
    rh_error_module(error, "mysql");
    rh_raise(L, error);
}

/* Configs ------------------------------------------------------------------------------------------- */

static rh_mysql_config *check_config(lua_State *L, int idx)
{
    return *(rh_mysql_config **)luaL_checkudata(L, idx, CONFIG);
}

static int config_gc(lua_State *L)
{
    rh_mysql_config **box = lua_touserdata(L, 1);
    rh_mysql_config_unref(*box);
    *box = NULL;
    return 0;
}

/* Of the table at 1: a copy of the text in that field, or NULL. */
static char *text_field(lua_State *L, const char *name)
{
    size_t size;
    lua_getfield(L, 1, name);
    const char *text = lua_isnil(L, -1) ? NULL : rh_check_secret_text(L, -1, &size);
    if (text && strlen(text) != size)
        rh_raisef(L, "usage", "mysql: %s has a NUL byte", name);
    char *copy = text ? rh_strdup(text) : NULL;
    lua_pop(L, 1);
    return copy;
}

static bool config_from_table(lua_State *L, rh_mysql_config *config, rh_error *error)
{
    config->host = text_field(L, "host");
    config->socket = text_field(L, "socket");
    config->user = text_field(L, "user");
    config->password = text_field(L, "password");
    config->database = text_field(L, "database");
    config->ca = text_field(L, "ca");
    lua_getfield(L, 1, "port");
    lua_Integer port = luaL_optinteger(L, -1, 3306);
    if (port < 1 || port > 65535)
        return rh_fail(error, "usage", "mysql: the port is not between 1 and 65535");
    config->port = (unsigned)port;
    lua_getfield(L, 1, "tls");
    return rh_mysql_config_finish(config, luaL_optstring(L, -1, NULL), error);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static int push_facts(lua_State *L, const rh_mysql_config *config)
{
    lua_createtable(L, 0, 7);
    set_text(L, "user", config->user);
    set_text(L, "host", config->socket ? NULL : config->host);
    set_text(L, "socket", config->socket);
    set_text(L, "database", config->database);
    if (!config->socket) {
        lua_pushinteger(L, config->port);
        lua_setfield(L, -2, "port");
    }
    lua_pushboolean(L, config->tls);
    lua_setfield(L, -2, "tls");
    rh_buffer display = {0};
    rh_mysql_config_display(config, &display);
    set_text(L, "display", display.data);
    rh_buffer_free(&display);
    return 1;
}

static int native_config(lua_State *L)
{
    rh_error error = {0};
    lua_settop(L, 1);
    rh_mysql_config **box = rh_new_object(L, sizeof *box, CONFIG, config_gc);
    if (lua_istable(L, 1)) {
        *box = rh_mysql_config_new();
        if (!config_from_table(L, *box, &error))
            raise(L, &error);
    } else {
        size_t size;
        const char *url = rh_check_secret_text(L, 1, &size);
        if (strlen(url) == size)
            *box = rh_mysql_config_parse(url, &error);
        else
            rh_fail(&error, "usage", "mysql: the database URL has a NUL byte");
        if (!*box)
            raise(L, &error);
    }
    /* The URL may hold it percent-encoded, and the playbook in clear. */
    const char *password = (*box)->password;
    if (password)
        rh_mask_add(rh_mask_process(), "database password", password, strlen(password));
    lua_settop(L, 2);
    return 1 + push_facts(L, *box);
}

static int native_same(lua_State *L)
{
    lua_pushboolean(L, rh_mysql_config_same(check_config(L, 1), check_config(L, 2)));
    return 1;
}

/* The server's own clients read it from their standard input; it is never kept. */
static int native_options(lua_State *L)
{
    rh_buffer options = {0};
    rh_mysql_config_options(check_config(L, 1), &options);
    lua_pushlstring(L, options.data, options.size);
    rh_buffer_free(&options);
    return 1;
}

/* Connections --------------------------------------------------------------------------------------- */

static rh_mysql *check_connection(lua_State *L, int idx)
{
    return *(rh_mysql **)luaL_checkudata(L, idx, CONNECTION);
}

static int connection_gc(lua_State *L)
{
    rh_mysql **box = lua_touserdata(L, 1);
    rh_mysql_unref(*box);
    *box = NULL;
    return 0;
}

static int push_connection(rh_op *op, lua_State *L)
{
    rh_mysql_connect *connect = (rh_mysql_connect *)op;
    rh_mysql **box = rh_new_object(L, sizeof *box, CONNECTION, connection_gc);
    *box = connect->connection;
    connect->connection = NULL;
    return 1;
}

/* Not to be cut short: the handshake runs on a thread and is bounded by its own timeout. */
static const rh_op_class connect_class = {.name = "mysql.connect",
                                          .size = sizeof(rh_mysql_connect),
                                          .push = push_connection,
                                          .fini = rh_mysql_connect_fini};

static int native_connect(lua_State *L)
{
    rh_error error = {0};
    rh_mysql_config *config = check_config(L, 1);
    const char *database = luaL_optstring(L, 2, NULL);
    lua_Integer timeout = luaL_optinteger(L, 3, 0);
    rh_mysql_connect *connect = (rh_mysql_connect *)rh_op_new(&connect_class);
    if (!rh_mysql_connect_start(connect, config, database, timeout, &error)) {
        rh_op_discard(&connect->op);
        raise(L, &error);
    }
    return rh_await(L, &connect->op, 0);
}

static int native_usable(lua_State *L)
{
    const rh_mysql *connection = check_connection(L, 1);
    lua_pushboolean(L, rh_mysql_usable(connection) && !rh_mysql_busy(connection));
    return 1;
}

static int native_close(lua_State *L)
{
    rh_mysql_close(check_connection(L, 1));
    return 0;
}

/* Statements ---------------------------------------------------------------------------------------- */

static void push_value(lua_State *L, const rh_mysql_value *value)
{
    switch (value->kind) {
    case RH_MYSQL_NULL:
        rh_json_null(L);
        break;
    case RH_MYSQL_INTEGER:
        lua_pushinteger(L, value->integer);
        break;
    case RH_MYSQL_NUMBER:
        lua_pushnumber(L, value->number);
        break;
    case RH_MYSQL_TEXT:
        lua_pushlstring(L, value->text, value->size);
        break;
    }
}

static void push_columns(lua_State *L, const rh_mysql_statement *statement)
{
    lua_createtable(L, (int)statement->column_count, 0);
    for (size_t i = 0; i < statement->column_count; i++) {
        lua_pushstring(L, statement->columns[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Rows are tables by name: two columns of one name would lose a value without a word. */
static void check_names(lua_State *L, const rh_mysql_statement *statement)
{
    lua_createtable(L, 0, (int)statement->column_count);
    for (size_t i = 0; i < statement->column_count; i++) {
        if (lua_getfield(L, -1, statement->columns[i]) != LUA_TNIL)
            rh_raisef(L, "columns",
                      "mysql: two columns are called %s: name one of them with AS, in: %.300s",
                      statement->columns[i], statement->sql);
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, statement->columns[i]);
    }
    lua_pop(L, 1);
}

static int push_statement(rh_op *op, lua_State *L)
{
    const rh_mysql_statement *statement = (const rh_mysql_statement *)op;
    luaL_checkstack(L, 8, "rows");
    check_names(L, statement);
    push_columns(L, statement);
    int columns = lua_gettop(L);
    lua_createtable(L, (int)statement->row_count, 0);
    size_t at = 0;
    for (size_t row = 0; row < statement->row_count; row++) {
        lua_createtable(L, 0, (int)statement->column_count);
        for (size_t i = 0; i < statement->column_count; i++) {
            rh_mysql_value value = rh_mysql_cell(statement, &at);
            lua_rawgeti(L, columns, (lua_Integer)i + 1);
            push_value(L, &value);
            lua_rawset(L, -3);
        }
        lua_rawseti(L, -2, (lua_Integer)row + 1);
    }
    lua_createtable(L, 0, 5);
    lua_pushboolean(L, statement->transaction_open);
    lua_setfield(L, -2, "open");
    lua_pushinteger(L, (lua_Integer)statement->affected);
    lua_setfield(L, -2, "affected");
    lua_pushinteger(L, (lua_Integer)statement->insert_id);
    lua_setfield(L, -2, "insert_id");
    lua_pushinteger(L, statement->warnings);
    lua_setfield(L, -2, "warnings");
    lua_pushvalue(L, columns);
    lua_setfield(L, -2, "columns");
    return 2;
}

static const rh_op_class statement_class = {.name = "mysql.statement",
                                            .size = sizeof(rh_mysql_statement),
                                            .cancel = rh_mysql_statement_cancel,
                                            .push = push_statement,
                                            .fini = rh_mysql_statement_fini};

/* For cleaning up behind a task that is being cancelled. */
static const rh_op_class must_class = {.name = "mysql.statement",
                                       .size = sizeof(rh_mysql_statement),
                                       .push = push_statement,
                                       .fini = rh_mysql_statement_fini};

static bool set_param(lua_State *L, rh_mysql_value *value, size_t number, rh_error *error)
{
    size_t size;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        value->kind = RH_MYSQL_INTEGER;
        value->integer = lua_toboolean(L, -1);
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1)) {
            value->kind = RH_MYSQL_INTEGER;
            value->integer = lua_tointeger(L, -1);
            return true;
        }
        value->kind = RH_MYSQL_NUMBER;
        value->number = lua_tonumber(L, -1);
        return isfinite(value->number) ||
               rh_fail(error, "usage", "mysql: parameter %zu is not a finite number", number);
    case LUA_TLIGHTUSERDATA:
        value->kind = RH_MYSQL_NULL;
        return true;
    case LUA_TNIL:
        return rh_fail(error, "usage", "mysql: parameter %zu is nil: mysql.null is SQL's NULL",
                       number);
    default:
        break;
    }
    const char *text = rh_secret_text(L, -1, &size);
    if (!text)
        return rh_fail(error, "usage",
                       "mysql: parameter %zu is a %s: give a string, number, boolean or mysql.null",
                       number, luaL_typename(L, -1));
    value->kind = RH_MYSQL_TEXT;
    value->text = rh_alloc(size + 1);
    memcpy(value->text, text, size);
    value->size = size;
    return true;
}

static bool set_params(lua_State *L, rh_mysql_statement *statement, rh_error *error)
{
    if (lua_isnil(L, 3))
        return true;
    lua_getfield(L, 3, "n");
    lua_Integer count = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, 3);
    lua_pop(L, 1);
    statement->params = rh_alloc(((size_t)count + 1) * sizeof *statement->params);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        statement->param_count++;
        if (!set_param(L, &statement->params[i - 1], (size_t)i, error))
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
    rh_mysql *connection = check_connection(L, 1);
    const char *sql = luaL_checklstring(L, 2, &size);
    if (strlen(sql) != size)
        rh_raisef(L, "usage", "mysql: the statement has a NUL byte: pass it as a parameter");
    if (!lua_isnil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_Integer limit = number(L, "limit"), timeout = number(L, "timeout");
    bool must = flag(L, "must"), read = flag(L, "read"), plain = flag(L, "plain");
    rh_mysql_statement *statement =
        (rh_mysql_statement *)rh_op_new(must ? &must_class : &statement_class);
    statement->sql = rh_strdup(sql);
    statement->columns_required = read;
    statement->plain = plain;
    statement->limit = (size_t)limit;
    if (!set_params(L, statement, &error) ||
        !rh_mysql_statement_start(statement, connection, &error)) {
        rh_op_discard(&statement->op);
        raise(L, &error);
    }
    return rh_await(L, &statement->op, timeout);
}

/* The module ---------------------------------------------------------------------------------------- */

/* clang-format off */
#define PARTS(X) X(schema) X(client) X(marker) X(position) X(backup) X(gate) X(swap) X(inspect)    \
    X(health) X(rights)
/* clang-format on */
RH_PARTS(PARTS)

static int open_mysql(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"config", native_config},   {"same", native_same},
        {"options", native_options}, {"connect", native_connect},
        {"query", native_query},     {"usable", native_usable},
        {"close", native_close},     {NULL, NULL},
    };
    luaL_newlib(L, functions);
    rh_push_parts(L, rh_parts);
    lua_setfield(L, -2, "parts");
    return 1;
}

RH_MODULE("mysql", open_mysql, NULL);
