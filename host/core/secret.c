#include "core/secret.h"

#include "core/buffer.h"
#include "core/json.h"
#include "core/mask.h"

#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* A part is plain text (no name) or one named secret. Every secret keeps its parts, so that it can be shown
 * and journaled without its value. */
struct part {
    char *name;
    char *text; /* plain text; NULL for a secret */
    size_t size;
};

struct secret {
    struct part *parts;
    size_t count;
    char *value; /* the whole, in pages of its own; NULL: not found (any more) */
    size_t size;
};

static const char metatable[] = "secret";
static const char known[] = "rh.secrets"; /* registry: name -> secret */
static rh_secret_finder finder;
static rh_secret_opener opener;
static void *finder_data, *opener_data;

static char *lock_pages(size_t size)
{
    char *pages = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        abort();
    (void)mlock(pages,
                size + 1); /* refused beyond RLIMIT_MEMLOCK: then it may be swapped, no more */
    (void)madvise(pages, size + 1, MADV_DONTDUMP);
    return pages;
}

static int collect(lua_State *L)
{
    struct secret *secret = lua_touserdata(L, 1);
    for (size_t i = 0; i < secret->count; i++) {
        free(secret->parts[i].name);
        free(secret->parts[i].text);
    }
    free(secret->parts);
    if (secret->value) {
        explicit_bzero(secret->value, secret->size);
        munmap(secret->value, secret->size + 1);
    }
    *secret = (struct secret){0};
    return 0;
}

static struct secret *get(lua_State *L, int idx) { return luaL_testudata(L, idx, metatable); }

static struct secret *push_new(lua_State *L, size_t count)
{
    struct secret *secret = lua_newuserdatauv(L, sizeof *secret, 0);
    *secret = (struct secret){0};
    luaL_setmetatable(L, metatable);
    secret->parts = rh_alloc(count * sizeof *secret->parts);
    return secret;
}

static struct part copy_part(const struct part *part)
{
    struct part copy = {.size = part->size};
    if (part->name)
        copy.name = rh_strdup(part->name);
    if (part->text) {
        copy.text = rh_alloc(part->size + 1);
        memcpy(copy.text, part->text, part->size);
    }
    return copy;
}

/* Leaves the new secret on the stack and makes it the known one of its name. */
static void push_named(lua_State *L, const char *name, const char *value, size_t size)
{
    struct secret *secret = push_new(L, 1);
    secret->parts[secret->count++] = (struct part){.name = rh_strdup(name)};
    if (value) {
        secret->value = lock_pages(size);
        secret->size = size;
        memcpy(secret->value, value, size);
        luaL_getsubtable(L, LUA_REGISTRYINDEX, known);
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, name);
        lua_pop(L, 1);
    }
}

bool rh_secret_push(lua_State *L, const char *name, const char *value, size_t size, rh_error *error)
{
    if (!rh_mask_add(rh_mask_process(), name, value, size))
        return rh_fail(
            error, "refused",
            "the secret %s is shorter than 6 bytes: it could not be kept out of the logs", name);
    push_named(L, name, value, size);
    return true;
}

bool rh_secret_is(lua_State *L, int idx) { return get(L, idx) != NULL; }

/* Pushes what is known under that name, if need be after it was opened; false and nothing pushed: it is absent. */
static bool push_known(lua_State *L, const char *name)
{
    for (int tries = 0; tries < 2; tries++) {
        luaL_getsubtable(L, LUA_REGISTRYINDEX, known);
        const bool found = lua_getfield(L, -1, name) != LUA_TNIL;
        lua_remove(L, -2);
        if (found)
            return true;
        lua_pop(L, 1);
        if (tries > 0 || !opener || !opener(L, name, opener_data))
            return false;
    }
    return false;
}

const char *rh_secret_absent(lua_State *L, int idx, size_t *at)
{
    const struct secret *secret = get(L, idx);
    if (!secret || secret->value)
        return NULL;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, known);
    const char *name = NULL;
    while (!name && *at < secret->count) {
        const char *part = secret->parts[(*at)++].name;
        if (!part)
            continue;
        if (lua_getfield(L, -1, part) == LUA_TNIL)
            name = part;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return name;
}

/* The value of one that was absent, made of its parts now that somebody needs it. */
static void open_parts(lua_State *L, struct secret *secret)
{
    const int top = lua_gettop(L);
    luaL_checkstack(L, (int)secret->count + 4, "secret");
    size_t size = 0, at = 0;
    for (size_t i = 0; i < secret->count; i++) { /* each stays on the stack */
        if (!secret->parts[i].name) {
            lua_pushnil(L);
            size += secret->parts[i].size;
        } else if (push_known(L, secret->parts[i].name)) {
            size += get(L, -1)->size;
        } else {
            lua_settop(L, top);
            return;
        }
    }
    secret->value = lock_pages(size);
    secret->size = size;
    for (size_t i = 0; i < secret->count; i++) {
        const struct secret *part = get(L, top + 1 + (int)i);
        const size_t length = part ? part->size : secret->parts[i].size;
        memcpy(secret->value + at, part ? part->value : secret->parts[i].text, length);
        at += length;
    }
    lua_settop(L, top);
}

const char *rh_secret_text(lua_State *L, int idx, size_t *size)
{
    if (lua_type(L, idx) == LUA_TSTRING)
        return lua_tolstring(L, idx, size);
    struct secret *secret = get(L, idx);
    if (secret && !secret->value)
        open_parts(L, secret);
    if (!secret || !secret->value)
        return NULL;
    if (size)
        *size = secret->size;
    return secret->value;
}

const char *rh_check_secret_text(lua_State *L, int idx, size_t *size)
{
    const char *text = rh_secret_text(L, idx, size);
    if (text)
        return text;
    if (rh_secret_is(L, idx)) {
        rh_buffer shown = {0};
        rh_secret_display(L, idx, &shown);
        lua_pushlstring(L, shown.data, shown.size);
        rh_buffer_free(&shown);
        luaL_error(L,
                   "%s is not found any more: set its variable again; a token that an earlier step "
                   "asked for is kept nowhere, so ask for it in the step that uses it",
                   lua_tostring(L, -1));
    }
    luaL_typeerror(L, idx, "string or secret");
    return NULL;
}

void rh_secret_display(lua_State *L, int idx, rh_buffer *out)
{
    const struct secret *secret = get(L, idx);
    for (size_t i = 0; secret && i < secret->count; i++) {
        const struct part *part = &secret->parts[i];
        if (part->name)
            rh_buffer_addf(out, "‹secret %s›", part->name);
        else
            rh_buffer_add(out, part->text, part->size);
    }
}

static int to_string(lua_State *L)
{
    rh_buffer shown = {0};
    rh_secret_display(L, 1, &shown);
    lua_pushlstring(L, shown.data ? shown.data : "", shown.size);
    rh_buffer_free(&shown);
    return 1;
}

static void add_operand(lua_State *L, int idx, struct secret *joined)
{
    const struct secret *secret = get(L, idx);
    if (secret) {
        for (size_t i = 0; i < secret->count; i++)
            joined->parts[joined->count++] = copy_part(&secret->parts[i]);
    } else {
        struct part plain = {0};
        plain.text = (char *)(uintptr_t)lua_tolstring(L, idx, &plain.size);
        joined->parts[joined->count++] = copy_part(&plain);
    }
}

/* The value of what is joined, where both are open; else it is made when it is needed. */
static void join_value(lua_State *L, struct secret *joined, int left, int right)
{
    const struct secret *first = get(L, left), *second = get(L, right);
    if ((first && !first->value) || (second && !second->value))
        return;
    size_t left_size, right_size;
    const char *left_text = rh_secret_text(L, left, &left_size);
    const char *right_text = rh_secret_text(L, right, &right_size);
    joined->size = left_size + right_size;
    joined->value = lock_pages(joined->size);
    memcpy(joined->value, left_text, left_size);
    memcpy(joined->value + left_size, right_text, right_size);
}

static int concat(lua_State *L)
{
    for (int idx = 1; idx <= 2; idx++) {
        if (lua_isstring(L, idx)) {
            lua_tostring(L, idx); /* a number becomes its text */
        } else if (!rh_secret_is(L, idx)) {
            if (luaL_getmetafield(L, idx, "__concat") == LUA_TNIL)
                return luaL_error(L, "attempt to concatenate a secret and a %s value",
                                  luaL_typename(L, idx));
            lua_insert(L, 1);
            lua_call(L, 2, 1);
            return 1;
        }
    }
    const struct secret *left = get(L, 1), *right = get(L, 2);
    struct secret *joined = push_new(L, (left ? left->count : 1) + (right ? right->count : 1));
    add_operand(L, 1, joined);
    add_operand(L, 2, joined);
    join_value(L, joined, 1, 2);
    return 1;
}

void rh_secret_reference(lua_State *L, int idx, rh_buffer *out)
{
    const struct secret *secret = get(L, idx);
    rh_buffer_adds(out, "[");
    for (size_t i = 0; i < secret->count; i++) {
        const struct part *part = &secret->parts[i];
        rh_buffer_adds(out, i ? "," : "");
        if (part->name) {
            rh_buffer_adds(out, "{\"name\":");
            rh_json_quote(out, part->name, strlen(part->name));
            rh_buffer_adds(out, "}");
        } else {
            rh_buffer masked = {0};
            rh_mask_text(rh_mask_process(), part->text, part->size, &masked);
            rh_json_quote(out, masked.data ? masked.data : "", masked.size);
            rh_buffer_free(&masked);
        }
    }
    rh_buffer_adds(out, "]");
}

void rh_secret_find(lua_State *L, const char *name)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, known);
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pop(L, 1);
        if (!finder || !finder(L, name, finder_data))
            push_named(L, name, NULL, 0);
    }
    lua_remove(L, -2);
}

void rh_secret_found_by(rh_secret_finder fn, void *data)
{
    finder = fn;
    finder_data = data;
}

void rh_secret_opened_by(rh_secret_opener fn, void *data)
{
    opener = fn;
    opener_data = data;
}

void rh_secret_close_up(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

void rh_secret_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__concat", concat}, {"__gc", collect}, {"__tostring", to_string}, {NULL, NULL}};
    if (luaL_newmetatable(L, metatable)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}
