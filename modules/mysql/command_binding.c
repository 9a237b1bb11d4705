/* The database's own clients, run while the task does something else: a dump is started, the lock it needs
 * is let go as soon as its output says so, and its end is awaited last.
 *
 *   native.command{ id=, argv=, config=, output=, log= } → command       started, not awaited; the config's
 *                                             option file is its standard input: no password on a disk or in argv
 *   native.watch(command, ms, path, text) ⏳ → "ended" | "found" | "tick" until the command has ended, the
 *                                             file holds the text (both optional), or the time is over
 *   native.result(command) → { code, signal, err, ms, timed_out }        of an ended one; raises its error
 *   native.stop_command(command)                                         asks it to end; not awaited
 *   native.command_state(id) → "never" | "alive" | "ended" | "lost" */
#include "binding.h"

#include "core/command.h"
#include "core/loop.h"
#include "core/luaerror.h"
#include "core/task.h"
#include "mysql.h"

#include <fcntl.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 32, POLL_MS = 5, WINDOW = 1 << 16 };

static const char COMMAND[] = "rollout.mysql.command";

static void cancel_command(rh_op *op) { rh_commands()->cancel(op); }
static void free_command(rh_op *op) { rh_commands()->fini(op); }

static const rh_op_class command_class = {.name = "mysql.command",
                                          .size = sizeof(rh_command),
                                          .cancel = cancel_command,
                                          .fini = free_command};

static rh_command *check_command(lua_State *L, int idx)
{
    rh_command **box = luaL_checkudata(L, idx, COMMAND);
    return *box;
}

static int command_gc(lua_State *L)
{
    rh_command **box = lua_touserdata(L, 1);
    if (*box) {
        rh_op_cancel(&(*box)->op);
        rh_op_release(&(*box)->op);
    }
    *box = NULL;
    return 0;
}

static const char *field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL);
}

static int native_command(lua_State *L)
{
    const char *argv[MAX_ARGUMENTS + 1] = {0};
    rh_error error = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, MAX_ARGUMENTS + 12, "command");
    if (!rh_commands())
        rh_raisef(L, "no_commands", "there is no run that could own a command");
    rh_command_spec spec = {.id = field(L, "id"),
                            .output_path = field(L, "output"),
                            .log_path = field(L, "log"),
                            .argv = argv,
                            .capture = 64 << 10};
    rh_buffer options = {0};
    lua_getfield(L, 1, "argv");
    size_t count = lua_rawlen(L, -1);
    luaL_argcheck(L, count > 0 && count <= MAX_ARGUMENTS, 1, "argv");
    int list = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        argv[i] = luaL_checkstring(L, -1);
    }
    lua_getfield(L, 1, "config");
    if (!lua_isnil(L, -1))
        rh_mysql_config_options(*(rh_mysql_config **)luaL_checkudata(L, -1, RH_MYSQL_CONFIG),
                                &options);
    spec.input = options.data;
    spec.input_size = options.size;
    rh_command **box = lua_newuserdatauv(L, sizeof(rh_command *), 0);
    *box = NULL;
    luaL_setmetatable(L, COMMAND);
    rh_command *command = (rh_command *)rh_op_new(&command_class);
    bool started = rh_commands()->start(command, &spec, &error);
    rh_buffer_free(&options);
    if (!started) {
        rh_op_discard(&command->op);
        rh_error_module(&error, "mysql");
        rh_raise(L, &error);
    }
    rh_op_retain(&command->op);
    *box = command;
    return 1;
}

struct watch {
    rh_op op;
    rh_command *command;
    uv_timer_t *timer;
    int64_t until_us;
    int fd;
    off_t at;
    char *path, *text, *window;
    const char *found;
};

static void on_timer_closed(uv_handle_t *timer) { free(timer); }

static void watch_end(struct watch *watch, const char *found)
{
    watch->found = found;
    uv_close((uv_handle_t *)watch->timer, on_timer_closed);
    rh_op_done(&watch->op);
}

/* Reads on from where the last look ended, less the text's length: it may lie across. */
static bool holds_text(struct watch *watch)
{
    size_t length = strlen(watch->text);
    if (watch->fd < 0)
        watch->fd = open(watch->path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n;
         watch->fd >= 0 && (n = pread(watch->fd, watch->window, WINDOW, watch->at)) > 0;) {
        if (memmem(watch->window, (size_t)n, watch->text, length))
            return true;
        if (n < WINDOW)
            break;
        watch->at += n - (ssize_t)length;
    }
    return false;
}

static void on_tick(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    if (watch->text && holds_text(watch))
        watch_end(watch, "found");
    else if (watch->command->op.done)
        watch_end(watch, "ended");
    else if (rh_mono_us() >= watch->until_us)
        watch_end(watch, "tick");
}

static void watch_cancel(rh_op *op)
{
    rh_fail(&op->error, "cancelled", "mysql: cancelled");
    watch_end((struct watch *)op, NULL);
}

static int watch_push(rh_op *op, lua_State *L)
{
    lua_pushstring(L, ((struct watch *)op)->found);
    return 1;
}

static void watch_fini(rh_op *op)
{
    struct watch *watch = (struct watch *)op;
    if (watch->fd >= 0)
        close(watch->fd);
    rh_op_release(&watch->command->op);
    free(watch->path);
    free(watch->text);
    free(watch->window);
}

static const rh_op_class watch_class = {.name = "mysql.watch",
                                        .size = sizeof(struct watch),
                                        .cancel = watch_cancel,
                                        .push = watch_push,
                                        .fini = watch_fini};

static int native_watch(lua_State *L)
{
    rh_command *command = check_command(L, 1);
    lua_Integer ms = luaL_checkinteger(L, 2);
    const char *path = luaL_optstring(L, 3, NULL), *text = path ? luaL_checkstring(L, 4) : NULL;
    struct watch *watch = (struct watch *)rh_op_new(&watch_class);
    watch->command = command;
    rh_op_retain(&command->op);
    watch->fd = -1;
    watch->until_us = rh_mono_us() + ms * 1000;
    if (path) {
        watch->path = rh_strdup(path);
        watch->text = rh_strdup(text);
        watch->window = rh_alloc(WINDOW);
    }
    watch->timer = rh_alloc(sizeof *watch->timer);
    uv_timer_init(rh_loop(), watch->timer);
    watch->timer->data = watch;
    uv_timer_start(watch->timer, on_tick, 0, POLL_MS);
    return rh_await(L, &watch->op, 0);
}

static int native_result(lua_State *L)
{
    rh_command *command = check_command(L, 1);
    rh_error error = {0};
    luaL_argcheck(L, command->op.done, 1, "the command is running");
    rh_error_move(&error, &command->op.error);
    if (rh_error_is_set(&error))
        rh_raise(L, &error);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, command->code);
    lua_setfield(L, -2, "code");
    lua_pushinteger(L, command->signal);
    lua_setfield(L, -2, "signal");
    lua_pushinteger(L, command->ms);
    lua_setfield(L, -2, "ms");
    lua_pushboolean(L, command->timed_out);
    lua_setfield(L, -2, "timed_out");
    lua_pushlstring(L, command->err.data ? command->err.data : "", command->err.size);
    lua_setfield(L, -2, "err");
    lua_pushlstring(L, command->out.data ? command->out.data : "", command->out.size);
    lua_setfield(L, -2, "out");
    return 1;
}

static int native_stop_command(lua_State *L)
{
    rh_op_cancel(&check_command(L, 1)->op);
    return 0;
}

static int native_command_state(lua_State *L)
{
    static const char *const names[] = {"never", "alive", "ended", "lost"};
    const char *id = luaL_checkstring(L, 1);
    lua_pushstring(L, rh_commands() ? names[rh_commands()->state(id)] : "never");
    return 1;
}

void rh_mysql_bind_commands(lua_State *L)
{
    static const luaL_Reg functions[] = {{"command", native_command},
                                         {"watch", native_watch},
                                         {"result", native_result},
                                         {"stop_command", native_stop_command},
                                         {"command_state", native_command_state},
                                         {NULL, NULL}};
    if (luaL_newmetatable(L, COMMAND)) {
        lua_pushcfunction(L, command_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
