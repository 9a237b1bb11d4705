/* native.sample{ …a request…, count | duration (ms), concurrency, rate, expect = { statuses } } ⏳ →
 *   { count, errors, bytes, elapsed, kinds = { name = count }, histogram = { { le, count }, … } } and, where
 *   something answered, min mean max p50 p90 p95 p99 p999: times in ms. */
#include "binding.h"
#include "sample.h"

#include "core/luaerror.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>

static void set_ms(lua_State *L, const char *name, double us)
{
    lua_pushnumber(L, us / 1000);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_kinds(lua_State *L, const rh_http_sample *sample)
{
    lua_newtable(L);
    for (size_t i = 0; i < RH_HTTP_KINDS && sample->kinds[i].name[0]; i++)
        set_integer(L, sample->kinds[i].name, sample->kinds[i].count);
}

/* Coarser than it was measured, 8 steps to each doubling: it is kept in the journal. */
static void push_histogram(lua_State *L, const rh_http_histogram *histogram)
{
    enum { STEP = 16 };
    lua_newtable(L);
    lua_Integer n = 0;
    for (unsigned i = 0; i < RH_HTTP_BUCKETS; i += STEP) {
        uint64_t count = 0;
        for (unsigned at = i; at < i + STEP; at++)
            count += histogram->counts[at];
        if (count == 0)
            continue;
        lua_createtable(L, 0, 2);
        set_ms(L, "le", (double)rh_http_histogram_upper(i + STEP - 1));
        set_integer(L, "count", (int64_t)count);
        lua_seti(L, -2, ++n);
    }
}

static void set_times(lua_State *L, const rh_http_histogram *histogram)
{
    static const struct {
        const char *name;
        double share;
    } percentiles[] = {{"p50", .5}, {"p90", .9}, {"p95", .95}, {"p99", .99}, {"p999", .999}};
    if (histogram->count == 0)
        return;
    set_ms(L, "min", (double)histogram->min);
    set_ms(L, "max", (double)histogram->max);
    set_ms(L, "mean", histogram->sum / (double)histogram->count);
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        set_ms(L, percentiles[i].name,
               (double)rh_http_histogram_at(histogram, percentiles[i].share));
}

static int push_sample(rh_op *op, lua_State *L)
{
    const rh_http_sample *sample = (const rh_http_sample *)op;
    lua_createtable(L, 0, 16);
    set_integer(L, "count", sample->count);
    set_integer(L, "errors", sample->errors);
    set_integer(L, "bytes", sample->bytes);
    set_ms(L, "elapsed", (double)sample->elapsed_us);
    set_times(L, &sample->histogram);
    push_kinds(L, sample);
    lua_setfield(L, -2, "kinds");
    push_histogram(L, &sample->histogram);
    lua_setfield(L, -2, "histogram");
    return 1;
}

static const rh_op_class sample_class = {
    .name = "http.sample",
    .size = sizeof(rh_http_sample),
    .cancel = rh_http_sample_cancel,
    .push = push_sample,
};

/* The statuses of the field `expect`, in a userdata that stays on the stack. */
static const int *read_statuses(lua_State *L, size_t *size)
{
    *size = 0;
    if (lua_getfield(L, 1, "expect") != LUA_TTABLE)
        return NULL;
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list);
    int *statuses = lua_newuserdatauv(L, (count + 1) * sizeof *statuses, 0);
    for (size_t i = 0; i < count; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        statuses[i] = (int)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    *size = count;
    return statuses;
}

int rh_http_sample_lua(lua_State *L)
{
    rh_http_spec request;
    rh_error error = {0};
    rh_http_parts *parts = rh_http_read_spec(L, &request);
    rh_http_sample_spec spec = {
        .request = &request,
        .count = rh_http_integer(L, "count", 0),
        .duration_us = rh_http_integer(L, "duration", 0) * 1000,
        .concurrency = (unsigned)rh_http_integer(L, "concurrency", 1),
    };
    lua_getfield(L, 1, "rate");
    spec.rate = luaL_optnumber(L, -1, 0);
    spec.expect = read_statuses(L, &spec.expect_size);
    rh_op *op = rh_op_new(&sample_class);
    if (!rh_http_sample_start((rh_http_sample *)op, &spec, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    rh_http_free_parts(parts);
    return rh_await(L, op, 0);
}
