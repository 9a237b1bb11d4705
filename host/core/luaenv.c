#include "core/luaenv.h"

#include "core/buffer.h"
#include "core/cpu.h"
#include "core/luaerror.h"
#include "core/pool.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>
#include <stdlib.h>
#include <string.h>

typedef struct allocator {
    size_t used, limit;
    rh_pool *pool;
} allocator;

static void *limited(void *data, void *memory, size_t old, size_t new)
{
    allocator *a = data;
    size_t had = memory ? old : 0;
    if (new > had && a->used + (new - had) > a->limit)
        return NULL;
    void *moved = rh_pool_resize(a->pool, memory, old, new);
    if (moved || new == 0)
        a->used = a->used - had + new;
    return moved;
}

static int safe_format(lua_State *L);

static int panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    fprintf(stderr, "rollouthost: an error outside of any task: %s\n", text ? text : "?");
    return 0;
}

lua_State *rh_luaenv_new(size_t memory, int cpu_ms)
{
    allocator *a = rh_alloc(sizeof *a);
    a->limit = memory;
    a->pool = rh_pool_new();
    lua_State *L = lua_newstate(limited, a);
    if (!L)
        abort();
    lua_atpanic(L, panic);
    rh_luaenv_reserve(L, L);
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_DBLIBNAME, luaopen_debug},  {NULL, NULL}};
    for (const luaL_Reg *library = libraries; library->func; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
    lua_pushcfunction(L, rh_pairs);
    lua_setglobal(L, "pairs");
    /* ("").x reaches the string functions, the playbook's too; nobody may reach their table through the metatable. */
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, safe_format, 1);
    lua_setfield(L, -2, "format");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
#ifdef RH_GC_STRESS /* make gcstress: what is not anchored is gone at once */
    lua_gc(L, LUA_GCINC, 1, 1000, 1);
#endif
    rh_cpu_budget(cpu_ms);
    return L;
}

void rh_luaenv_close(lua_State *L)
{
    void *data;
    lua_getallocf(L, &data);
    lua_close(L);
    rh_pool_free(((allocator *)data)->pool);
    free(data);
}

size_t rh_luaenv_memory(lua_State *L)
{
    void *data;
    lua_getallocf(L, &data);
    return ((allocator *)data)->used;
}

void rh_luaenv_limit(lua_State *L, size_t memory)
{
    void *data;
    lua_getallocf(L, &data);
    ((allocator *)data)->limit = memory;
}

enum { RESERVED_SLOTS = 2000 }; /* 32 KiB: calls some 250 deep */

void rh_luaenv_reserve(lua_State *L, lua_State *co)
{
    if (!lua_checkstack(co, RESERVED_SLOTS))
        luaL_error(L, "not enough memory");
}

int rh_load_text(lua_State *L, const char *text, size_t size, const char *chunkname)
{
    return luaL_loadbufferx(L, text, size, chunkname, "t");
}

/* ---- errors that nothing swallows ---- */

static bool is_control(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx))
        return false;
    lua_pushliteral(L, "control");
    lua_rawget(L, idx);
    lua_pushliteral(L, "code");
    lua_rawget(L, idx);
    const char *code = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    bool control =
        lua_toboolean(L, -2) || strcmp(code, "cpu") == 0 || strcmp(code, "deadline") == 0;
    lua_pop(L, 2);
    return control;
}

static int pcall_done(lua_State *L, int status, lua_KContext extra)
{
    if (status != LUA_OK && status != LUA_YIELD) {
        if (is_control(L, -1))
            return lua_error(L);
        lua_pushboolean(L, 0);
        lua_pushvalue(L, -2);
        return 2;
    }
    return lua_gettop(L) - (int)extra;
}

static int safe_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, pcall_done);
    return pcall_done(L, status, 0);
}

/* A handler sees no error that must pass: it might replace it. Upvalue: the playbook's handler. */
static int filter_handler(lua_State *L)
{
    if (is_control(L, 1))
        return 1;
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int safe_xpcall(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, filter_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* fn handler true fn args… */
    int status = lua_pcallk(L, count - 2, LUA_MULTRET, 2, 2, pcall_done);
    return pcall_done(L, status, 2);
}

/* ---- coroutines of the playbook's own ---- */

static int safe_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    rh_luaenv_reserve(L, co);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    rh_cpu_adopt(co);
    return 1;
}

/* Upvalue 1: the library's coroutine.resume. */
static int safe_resume(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (!lua_toboolean(L, 1) && is_control(L, 2)) {
        lua_settop(L, 2);
        return lua_error(L);
    }
    return lua_gettop(L);
}

/* Upvalues: resume, the coroutine. */
static int wrap_call(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_rotate(L, 1, 2);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (!lua_toboolean(L, 1)) {
        lua_settop(L, 2);
        return lua_error(L);
    }
    return lua_gettop(L) - 1;
}

static int safe_wrap(lua_State *L)
{
    safe_create(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, -2);
    lua_pushcclosure(L, wrap_call, 2);
    return 1;
}

static int safe_yield(lua_State *L)
{
    if (rh_task_current(L))
        return luaL_error(L, "coroutine.yield outside of a coroutine of your own");
    return lua_yield(L, lua_gettop(L));
}

/* ---- deterministic basics ---- */

/* Rank of a key: numbers, strings bytewise, booleans; anything else has no order. */
static int rank(lua_State *L, int idx)
{
    switch (lua_type(L, idx)) {
    case LUA_TNUMBER:
        return 0;
    case LUA_TSTRING:
        return 1;
    case LUA_TBOOLEAN:
        return 2;
    default:
        return 3;
    }
}

static int compare_keys(lua_State *L, int a, int b)
{
    int ra = rank(L, a), rb = rank(L, b);
    if (ra != rb)
        return ra - rb;
    if (ra == 0)
        return lua_compare(L, a, b, LUA_OPLT) ? -1 : lua_compare(L, a, b, LUA_OPEQ) ? 0 : 1;
    if (ra == 1) {
        size_t la, lb;
        const char *ta = lua_tolstring(L, a, &la), *tb = lua_tolstring(L, b, &lb);
        int order = memcmp(ta, tb, la < lb ? la : lb);
        return order ? order : (la > lb) - (la < lb);
    }
    if (ra == 2)
        return lua_toboolean(L, a) - lua_toboolean(L, b);
    return 0;
}

typedef struct sort_key {
    int rank;
    lua_Number number;
    const char *text; /* alive: the keys' table holds it */
    size_t size;
    int index; /* in the keys' table */
} sort_key;

static int compare(const void *a, const void *b)
{
    const sort_key *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank - y->rank;
    if (x->rank == 1) {
        int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
        return order ? order : (x->size > y->size) - (x->size < y->size);
    }
    return (x->number > y->number) - (x->number < y->number);
}

static int pairs_step(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
    for (;;) {
        i++;
        if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL)
            return 1;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(3)) != LUA_TNIL)
            break;
        lua_pop(L, 2); /* removed while going through */
    }
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(2));
    return 2;
}

static int refuse_unordered(lua_State *L, int count)
{
    return luaL_error(L,
                      "this table has %d keys that have no order (tables, functions): "
                      "use a list, or keys that are strings or numbers",
                      count);
}

int rh_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_callk(L, 1, 3, 0, NULL);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushnil(L);
    if (!lua_next(L, 1)) { /* nothing to sort, and many tables of options are empty */
        lua_pushcfunction(L, rh_next);
        lua_pushvalue(L, 1);
        return 2;
    }
    lua_settop(L, 1);
    lua_newtable(L); /* 2: keys, unsorted */
    int count = 0, unordered = 0;
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pop(L, 1);
        unordered += rank(L, -1) == 3;
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, ++count);
    }
    if (unordered > 1)
        return refuse_unordered(L, unordered);
    /* A userdata, so that an error on the way cannot leak it. */
    sort_key *keys =
        lua_newuserdatauv(L, sizeof(sort_key) * (size_t)(count ? count : 1), 0); /* 3 */
    for (int i = 0; i < count; i++) {
        sort_key *key = &keys[i];
        memset(key, 0, sizeof *key);
        lua_rawgeti(L, 2, i + 1);
        key->index = i + 1;
        key->rank = rank(L, -1);
        if (key->rank == 0)
            key->number = lua_tonumber(L, -1);
        else if (key->rank == 1)
            key->text = lua_tolstring(L, -1, &key->size);
        else
            key->number = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    qsort(keys, (size_t)count, sizeof *keys, compare);
    lua_createtable(L, count, 0); /* 4: sorted */
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 2, keys[i].index);
        lua_rawseti(L, 4, i + 1);
    }
    lua_pushvalue(L, 4);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, pairs_step, 3);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* The least key greater than the given one: one pass a call, for `next(t) == nil` and short loops. */
int rh_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushnil(L); /* 3: best key */
    int unordered = 0;
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pop(L, 1); /* 4: key */
        unordered += rank(L, 4) == 3;
        bool after = lua_isnil(L, 2) || compare_keys(L, 4, 2) > 0;
        if (after && (lua_isnil(L, 3) || compare_keys(L, 4, 3) < 0)) {
            lua_pushvalue(L, 4);
            lua_replace(L, 3);
        }
    }
    if (unordered > 1)
        return refuse_unordered(L, unordered);
    if (lua_isnil(L, 3))
        return 1;
    lua_pushvalue(L, 3);
    lua_rawget(L, 1);
    return 2;
}

/* tostring without addresses: they differ from run to run. */
static int safe_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    int type = lua_type(L, 1);
    bool addressed = type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA ||
                     type == LUA_TTHREAD || type == LUA_TLIGHTUSERDATA;
    if (addressed && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
        if (luaL_getmetafield(L, 1, "__name") != LUA_TSTRING)
            lua_pushstring(L, lua_typename(L, type));
        return 1;
    }
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Upvalue: string.format. */
static int safe_format(lua_State *L)
{
    const char *format = luaL_checkstring(L, 1);
    int arg = 1;
    for (const char *c = format; (c = strchr(c, '%')); c++) {
        if (*++c == '%')
            continue;
        c += strspn(c, "-+ #0123456789.");
        arg++;
        if (*c == 'p')
            return luaL_error(L, "string.format has no %%p here: addresses differ from run to run");
        if (*c == 's' && lua_istable(L, arg)) {
            lua_pushcfunction(L, safe_tostring);
            lua_pushvalue(L, arg);
            lua_call(L, 1, 1);
            lua_replace(L, arg);
        }
        if (!*c)
            break;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* What is read-only stays so. */
static int safe_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "rawset: this table is read-only");
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 1;
}

static void copy_library(lua_State *L, const char *name, const char *const *left_out)
{
    lua_newtable(L);
    lua_getglobal(L, name);
    for (lua_pushnil(L); lua_next(L, -2);) {
        const char *key = lua_tostring(L, -2);
        bool out = false;
        for (const char *const *each = left_out; *each; each++)
            out |= strcmp(*each, key) == 0;
        if (out) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
}

void rh_luaenv_push_basics(lua_State *L)
{
    static const char *const plain[] = {
        "assert",   "error",        "ipairs",       "rawequal", "rawget",   "rawlen", "select",
        "tonumber", "setmetatable", "getmetatable", "type",     "_VERSION", NULL};
    static const luaL_Reg own[] = {{"pairs", rh_pairs},
                                   {"next", rh_next},
                                   {"pcall", safe_pcall},
                                   {"xpcall", safe_xpcall},
                                   {"tostring", safe_tostring},
                                   {"rawset", safe_rawset},
                                   {NULL, NULL}};
    lua_newtable(L);
    for (const char *const *name = plain; *name; name++) {
        lua_getglobal(L, *name);
        lua_setfield(L, -2, *name);
    }
    luaL_setfuncs(L, own, 0);

    copy_library(L, "string", (const char *const[]){NULL});
    lua_setfield(L, -2, "string");
    copy_library(L, "table", (const char *const[]){NULL});
    lua_setfield(L, -2, "table");
    copy_library(L, "math", (const char *const[]){"random", "randomseed", NULL});
    lua_setfield(L, -2, "math");
    copy_library(L, "utf8", (const char *const[]){NULL});
    lua_setfield(L, -2, "utf8");

    copy_library(L, "coroutine", (const char *const[]){"create", "resume", "wrap", "yield", NULL});
    lua_pushcfunction(L, safe_create);
    lua_setfield(L, -2, "create");
    lua_pushcfunction(L, safe_yield);
    lua_setfield(L, -2, "yield");
    lua_getglobal(L, "coroutine");
    lua_getfield(L, -1, "resume");
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, safe_resume, 1);
    lua_setfield(L, -3, "resume");
    lua_pushcclosure(L, safe_wrap, 1);
    lua_setfield(L, -2, "wrap");
    lua_setfield(L, -2, "coroutine");
}
