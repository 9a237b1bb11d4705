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

#define RH_MODULE(NAME, OPEN, ENGINE)                                                              \
    RH_EMBED(rh_sugar, RH_SUGAR_FILE)                                                              \
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

/* Loads `modules/<name>.so` (searched in $ROLLOUTHOST_MODULES, beside the executable, ../lib/rollouthost)
 * and returns its definition; the object stays loaded for the life of the process. NULL: there is no such
 * module. Raises with a clear message: a missing library, built for another version. */
const rh_module_def *rh_module_load(lua_State *L, const char *name);
/* The path of a module's file ("http.so", "slack.lua") in the same folders, or NULL; free() it. */
char *rh_module_path(const char *file);

#endif
