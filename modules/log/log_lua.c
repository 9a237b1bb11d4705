/* log: the binding.
 *
 *   native.scanner{ path=, match=, except=, ignore_case=, place=, from=, per=, zone= } → scanner
 *                                  times in ms, the zone in minutes east of UTC
 *   native.advance(scanner) ⏳ → { lines, bytes, matches, stamped, first_at, last_at, changed_at, peak, peak_at, gap, missing,
 *                                  samples = { { at, text }, … }, tail = { … } }
 *   native.busy(scanner) → boolean: a task reads it on just now
 *   native.mark(path) ⏳ → { inode, offset, print, rotated_inode, rotated_ns }
 *   native.longest                        bytes from which on a line may have been cut
 *   native.wait(path | nil, ms) ⏳         until the file's folder changes, or the time is over
 *
 * A scanner is read on by one task at a time. */
#include "log.h"

#include "core/luaerror.h"
#include "core/module.h"
#include "core/task.h"

#include <inttypes.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define SCANNER "rollout.log.scanner"

static rh_log **check_scanner(lua_State *L) { return luaL_checkudata(L, 1, SCANNER); }

static int scanner_gc(lua_State *L)
{
    rh_log **box = check_scanner(L);
    rh_log_release(*box);
    *box = NULL;
    return 0;
}

static void set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, int64_t ms)
{
    if (ms)
        set_integer(L, name, ms);
}

static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void add_line(lua_State *L, const rh_log_line *line)
{
    lua_createtable(L, 0, 2);
    set_time(L, "at", line->ms);
    lua_pushlstring(L, line->text, line->size);
    lua_setfield(L, -2, "text");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* The lines numbered from `first` on, out of a ring. */
static void add_ring(lua_State *L, const rh_log_line *ring, int64_t first, int64_t end)
{
    if (first < end - RH_LOG_SAMPLES)
        first = end - RH_LOG_SAMPLES;
    for (; first < end; first++)
        add_line(L, &ring[first % RH_LOG_SAMPLES]);
}

static int push_found(rh_op *op, lua_State *L)
{
    const rh_log_found *found = ((const rh_log_work *)op)->found;
    lua_createtable(L, 0, 12);
    set_integer(L, "lines", found->lines);
    set_integer(L, "bytes", found->bytes);
    set_integer(L, "matches", found->matches);
    set_integer(L, "stamped", found->stamped);
    set_integer(L, "peak", found->peak);
    set_time(L, "changed_at", found->changed_ms);
    set_time(L, "peak_at", found->peak_ms);
    set_time(L, "first_at", found->first_ms);
    set_time(L, "last_at", found->last_ms);
    set_flag(L, "gap", found->gap);
    set_flag(L, "missing", found->missing);
    lua_createtable(L, 2 * RH_LOG_SAMPLES, 0);
    for (int64_t i = 0; i < found->matches && i < RH_LOG_SAMPLES; i++)
        add_line(L, &found->first[i]);
    add_ring(L, found->last, RH_LOG_SAMPLES, found->matches);
    lua_setfield(L, -2, "samples");
    lua_createtable(L, RH_LOG_SAMPLES, 0);
    add_ring(L, found->tail, 0, found->lines);
    lua_setfield(L, -2, "tail");
    return 1;
}

static int push_place(rh_op *op, lua_State *L)
{
    const rh_log_place *place = &((const rh_log_work *)op)->place;
    char print[17];
    lua_createtable(L, 0, 5);
    set_integer(L, "inode", (int64_t)place->inode);
    set_integer(L, "offset", place->offset);
    snprintf(print, sizeof print, "%016" PRIx64,
             place->print); /* 64 bits are more than JSON's integers */
    lua_pushstring(L, print);
    lua_setfield(L, -2, "print");
    if (place->rotated_inode) {
        set_integer(L, "rotated_inode", (int64_t)place->rotated_inode);
        set_integer(L, "rotated_ns", place->rotated_ns);
    }
    return 1;
}

static const rh_op_class advance_class = {.name = "log.advance",
                                          .size = sizeof(rh_log_work),
                                          .cancel = rh_log_work_cancel,
                                          .push = push_found,
                                          .fini = rh_log_work_fini};
static const rh_op_class mark_class = {.name = "log.mark",
                                       .size = sizeof(rh_log_work),
                                       .cancel = rh_log_work_cancel,
                                       .push = push_place,
                                       .fini = rh_log_work_fini};
static const rh_op_class wait_class = {
    .name = "log.wait", .size = sizeof(rh_log_wait), .cancel = rh_log_wait_cancel};

/* Of the table at 1; the value stays on the stack, so that the pointer stays valid. */
static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL);
}

static int64_t integer_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    const int64_t value = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return value;
}

static bool place_field(lua_State *L, rh_log_place *place)
{
    lua_getfield(L, 1, "place");
    if (lua_isnil(L, -1))
        return false;
    const int table = lua_gettop(L);
    place->inode = (uint64_t)integer_field(L, table, "inode");
    place->offset = integer_field(L, table, "offset");
    place->rotated_inode = (uint64_t)integer_field(L, table, "rotated_inode");
    place->rotated_ns = integer_field(L, table, "rotated_ns");
    lua_getfield(L, table, "print");
    place->print = strtoull(luaL_optstring(L, -1, "0"), NULL, 16);
    return true;
}

static int native_scanner(lua_State *L)
{
    rh_error error = {0};
    rh_log_place place;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    const char *path = text_field(L, "path");
    rh_log_options options = {.match = text_field(L, "match"),
                              .except = text_field(L, "except"),
                              .from_ms = integer_field(L, 1, "from"),
                              .per_ms = integer_field(L, 1, "per")};
    if (!path || !options.match)
        return luaL_error(L, "path or match is missing");
    lua_getfield(L, 1, "zone");
    options.zone = (int)luaL_optinteger(L, -1, RH_LOG_LOCAL);
    lua_getfield(L, 1, "ignore_case");
    options.ignore_case = lua_toboolean(L, -1);
    options.place = place_field(L, &place) ? &place : NULL;
    rh_log **box = rh_new_object(L, sizeof *box, SCANNER, scanner_gc);
    *box = rh_log_new(path, &options, &error);
    if (!*box) {
        rh_error_module(&error, "log");
        rh_raise(L, &error);
    }
    return 1;
}

static int start(lua_State *L, const rh_op_class *class, rh_log *log, const char *path)
{
    rh_error error = {0};
    rh_op *op = rh_op_new(class);
    if (!rh_log_work_start((rh_log_work *)op, log, path, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}

static int native_advance(lua_State *L)
{
    rh_log *log = *check_scanner(L);
    luaL_argcheck(L, !rh_log_is_busy(log), 1, "another task reads it on");
    return start(L, &advance_class, log, "the log");
}

static int native_busy(lua_State *L)
{
    lua_pushboolean(L, rh_log_is_busy(*check_scanner(L)));
    return 1;
}

static int native_mark(lua_State *L) { return start(L, &mark_class, NULL, luaL_checkstring(L, 1)); }

static int native_wait(lua_State *L)
{
    const char *path = luaL_optstring(L, 1, NULL);
    const lua_Integer ms = luaL_checkinteger(L, 2);
    rh_op *op = rh_op_new(&wait_class);
    rh_log_wait_start((rh_log_wait *)op, path, ms);
    return rh_await(L, op, 0);
}

static int open_log(lua_State *L)
{
    static const luaL_Reg functions[] = {{"scanner", native_scanner}, {"advance", native_advance},
                                         {"busy", native_busy},       {"mark", native_mark},
                                         {"wait", native_wait},       {NULL, NULL}};
    luaL_newlib(L, functions);
    set_integer(L, "longest", RH_LOG_LINE - 3);
    return 1;
}

RH_MODULE("log", open_log, NULL);
