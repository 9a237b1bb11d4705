/* native.mail{ url, clear, user, password, bearer (text or secret), ca, from, to = { "a@example.com", … }, message, timeout
 * (ms) } ⏳ → the server's last line */
#include "binding.h"
#include "mail.h"

#include "core/luaerror.h"
#include "core/secret.h"
#include "core/task.h"

#include <lua5.4/lauxlib.h>
#include <string.h>

enum { MOST_RECIPIENTS = 100 };

/* The field's text, or NULL. It stays on the stack, so that it stays valid. */
static const char *text(lua_State *L, const char *name)
{
    size_t size;
    lua_getfield(L, 1, name);
    if (lua_isnil(L, -1))
        return NULL;
    const char *value = rh_check_secret_text(L, -1, &size);
    if (strlen(value) != size)
        rh_raisef(L, "usage", "%s has a NUL byte, which cannot be sent", name);
    return value;
}

static void recipients(lua_State *L, const char **to)
{
    lua_getfield(L, 1, "to");
    size_t count = lua_rawlen(L, -1);
    if (count == 0 || count > MOST_RECIPIENTS)
        rh_raisef(L, "usage", "a message has 1 to %d recipients", MOST_RECIPIENTS);
    luaL_checkstack(L, (int)count, NULL);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1 - (int)i, (lua_Integer)i + 1);
        to[i] = luaL_checkstring(L, -1);
    }
    to[count] = NULL;
}

static int push_said(rh_op *op, lua_State *L)
{
    const rh_mail *mail = (const rh_mail *)op;
    lua_pushstring(L, mail->said ? mail->said : "");
    return 1;
}

static const rh_op_class mail_class = {
    .name = "http.mail",
    .size = sizeof(rh_mail),
    .cancel = rh_mail_cancel,
    .push = push_said,
    .fini = rh_mail_fini,
};

int rh_http_mail_lua(lua_State *L)
{
    const char *to[MOST_RECIPIENTS + 1];
    rh_error error = {0};
    rh_mail_spec spec = {.to = to};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    spec.url = text(L, "url");
    spec.user = text(L, "user");
    spec.password = text(L, "password");
    spec.bearer = text(L, "bearer");
    spec.ca = text(L, "ca");
    spec.from = text(L, "from");
    lua_getfield(L, 1, "message");
    spec.message = luaL_checklstring(L, -1, &spec.size);
    lua_getfield(L, 1, "clear");
    spec.clear = lua_toboolean(L, -1);
    spec.timeout_ms = rh_http_integer(L, "timeout", 0);
    recipients(L, to);
    if (!spec.url || !spec.from)
        rh_raisef(L, "usage", "a message has a url and a from");
    rh_op *op = rh_op_new(&mail_class);
    if (!rh_mail_start((rh_mail *)op, &spec, &error)) {
        rh_op_discard(op);
        rh_raise(L, &error);
    }
    return rh_await(L, op, 0);
}
