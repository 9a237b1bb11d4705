/* Native modules: shared objects `modules/<name>.so`, loaded at `require "rollout.<name>"`.
 *
 * A module exports one symbol, `rh_module`. Its `open` pushes a table of native functions; its sugar, the
 * module's Lua part (<name>.lua, embedded with RH_EMBED), is a chunk called as
 *      local native, rt = ...      -- and returns the public table
 * with rt = { effect, options, duration, size, suggest, raise, …} (docs/design.md, "A module"). Native
 * functions never reach a playbook: the sugar wraps each in an effect, and effects pass the door. */
#ifndef RH_CORE_MODULE_H
#define RH_CORE_MODULE_H

#include <lua5.4/lua.h>
#include <stddef.h>

#define RH_HOST_VERSION "0.1.0"
#define RH_MODULE_ABI 1

typedef struct rh_module_def {
    unsigned abi;              /* RH_MODULE_ABI */
    const char *host_version;  /* RH_HOST_VERSION: one built for another host is refused by name */
    const char *name;          /* "http" */
    int (*open)(lua_State *L); /* pushes the table of native functions */
    const char *sugar;         /* compiled Lua (mk/compile.lua) */
    const char *sugar_end;
    const void *engine; /* a table of functions for modules that build on this one, or NULL */
} rh_module_def;

/* RH_MODULE_LUA: the folder of the module's compiled Lua, given by the Makefile. */
#define RH_MODULE(NAME, OPEN, ENGINE)                                                              \
    RH_EMBED(rh_sugar, RH_MODULE_LUA "/" NAME ".luac")                                             \
    const rh_module_def rh_module = {RH_MODULE_ABI, RH_HOST_VERSION, NAME,  OPEN,                  \
                                     rh_sugar,      rh_sugar_end,    ENGINE}

/* Makes a file's bytes a symbol `NAME` … `NAME_end` of this object, with no generated source. */
#define RH_EMBED(NAME, FILE)                                                                       \
    extern const char NAME[], NAME##_end[];                                                        \
    __asm__(".pushsection .rodata\n"                                                               \
            ".hidden " #NAME "\n.hidden " #NAME "_end\n"                                           \
            ".global " #NAME "\n" #NAME ":\n"                                                      \
            ".incbin \"" FILE "\"\n"                                                               \
            ".global " #NAME "_end\n" #NAME "_end:\n.byte 0\n"                                     \
            ".popsection\n");

/* The other parts of a module's Lua, beside its sugar, listed once:
 *      #define PARTS(X) X(words) X(marker)
 *      RH_PARTS(PARTS)
 * embeds words.lua and marker.lua of the module's folder for rh_push_parts(L, rh_parts). */
typedef struct rh_part {
    const char *name; /* NULL ends a list */
    const char *from, *end;
} rh_part;

#define RH_PART_EMBED(NAME) RH_EMBED(rh_part_##NAME, RH_MODULE_LUA "/" #NAME ".luac")
#define RH_PART_ENTRY(NAME) {#NAME, rh_part_##NAME, rh_part_##NAME##_end},
#define RH_PARTS(LIST)                                                                             \
    LIST(RH_PART_EMBED)                                                                            \
    static const rh_part rh_parts[] = {LIST(RH_PART_ENTRY){NULL, NULL, NULL}};

/* Pushes a table: the chunk of each part by its name. Raises where one does not load. */
void rh_push_parts(lua_State *L, const rh_part *parts);

/* Pushes an object of `size` bytes, all zero, of the type `type`, which luaL_checkudata knows; `gc` frees what it
 * holds, also of one that stayed zero. Returns it; Lua owns it. */
void *rh_new_object(lua_State *L, size_t size, const char *type, lua_CFunction gc);

/* Loads `modules/<name>.so` (searched in $ROLLOUTHOST_MODULES, beside the executable, ../lib/rollouthost)
 * and returns its definition; the object stays loaded for the life of the process. NULL: there is no such
 * module. Raises with a clear message: a missing library, built for another version. */
const rh_module_def *rh_module_load(lua_State *L, const char *name);
/* The path of a module's file ("http.so", "slack.lua") in the same folders, or NULL; free() it. */
char *rh_module_path(const char *file);

#endif
