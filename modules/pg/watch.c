#include "connection.h"

#include "core/loop.h"

#include <stdlib.h>

static void on_closed(uv_handle_t *handle) { free(handle); }

void rh_pg_watch_close(rh_pg_watch *watch)
{
    if (watch->poll)
        uv_close((uv_handle_t *)watch->poll, on_closed);
    watch->poll = NULL;
}

void rh_pg_watch_stop(rh_pg_watch *watch)
{
    /* Stopping takes the socket out of the kernel's set: another one may have its number next. */
    if (watch->poll)
        uv_poll_stop(watch->poll);
}

bool rh_pg_watch_start(rh_pg_watch *watch, PGconn *handle, int events, uv_poll_cb fn, void *data)
{
    int fd = PQsocket(handle);
    if (fd < 0)
        return false;
    if (watch->poll && watch->fd != fd)
        rh_pg_watch_close(watch);
    if (!watch->poll) {
        watch->poll = rh_alloc(sizeof *watch->poll);
        watch->fd = fd;
        if (uv_poll_init(rh_loop(), watch->poll, fd) != 0) {
            free(watch->poll);
            watch->poll = NULL;
            return false;
        }
    }
    watch->poll->data = data;
    return uv_poll_start(watch->poll, events, fn) == 0;
}
