/* Secrets as a type. A secret is an opaque userdata: it joins with `..` into another secret, prints as
 * ‹secret NAME›, and only an effect's native code opens it. Every value that becomes known is added to the
 * mask (core/mask.h), so it is hidden wherever text leaves the process. */
#ifndef RH_CORE_SECRET_H
#define RH_CORE_SECRET_H

#include "core/buffer.h"
#include "core/error.h"

#include <lua5.4/lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Pushes a secret with that name and value (copied, locked in memory where allowed, wiped when freed) and
 * adds the value to the mask. Errors: shorter than 6 bytes. */
bool rh_secret_push(lua_State *L, const char *name, const char *value, size_t size,
                    rh_error *error);
bool rh_secret_is(lua_State *L, int idx);
/* The text of a string, or of an opened secret, at idx; NULL for anything else and for a secret that is
 * absent. Valid while the value at idx lives. For native code that hands it straight to its library; never
 * log it. Raises where a secret is opened for the first time and cannot be. */
const char *rh_secret_text(lua_State *L, int idx, size_t *size);
/* The same, raising an argument error for other types. */
const char *rh_check_secret_text(lua_State *L, int idx, size_t *size);
/* Appends what may be shown of it: ‹secret NAME›, joined parts in clear where they are plain text. */
void rh_secret_display(lua_State *L, int idx, rh_buffer *out);

/* The journal's form, by name and never by value: appends ["Bearer ",{"name":"TOKEN"}]. */
void rh_secret_reference(lua_State *L, int idx, rh_buffer *out);
/* Pushes the secret of that name: the newest one pushed in this process, else the finder's, else one that is
 * absent: it can be shown and joined, and rh_check_secret_text() raises. */
void rh_secret_find(lua_State *L, const char *name);
/* The name of a part of the secret at idx that is absent, from the part *at on, which is moved past it; NULL: there is no
 * more. Valid while the secret lives. */
const char *rh_secret_absent(lua_State *L, int idx, size_t *at);
/* Who looks up a name that no secret of this process has (true: pushed one). One for the process. */
typedef bool (*rh_secret_finder)(lua_State *L, const char *name, void *data);
void rh_secret_found_by(rh_secret_finder finder, void *data);

/* Who makes a secret known that is opened and absent (true: rh_secret_push() has been called for that name; raises where
 * it fails). One for the process. */
typedef bool (*rh_secret_opener)(lua_State *L, const char *name, void *data);
void rh_secret_opened_by(rh_secret_opener opener, void *data);

void rh_secret_open(lua_State *L); /* registers the metatable */
/* For a process that is to hold secrets: no core file, and no other process of the same user may look into it. */
void rh_secret_close_up(void);

#endif
