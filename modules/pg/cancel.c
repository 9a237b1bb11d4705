/* PQcancel blocks for as long as the network likes. It has a thread of its own, not one of libuv's, which are waited for at
 * the end of the process: one that hangs is left to itself. */
#include "connection.h"

#include "core/loop.h"

#include <pthread.h>
#include <stdlib.h>

struct rh_pg_cancel {
    pthread_mutex_t lock;
    unsigned owners; /* the thread, and the handle until it is closed */
    bool abandoned;
    PGcancel *cancel;
    bool sent;
    uv_async_t async;
    void (*done)(void *data, bool sent);
    void *data;
};

static void release(rh_pg_cancel *request)
{
    pthread_mutex_lock(&request->lock);
    bool last = --request->owners == 0;
    pthread_mutex_unlock(&request->lock);
    if (!last)
        return;
    PQfreeCancel(request->cancel);
    pthread_mutex_destroy(&request->lock);
    free(request);
}

static void *send_request(void *data)
{
    rh_pg_cancel *request = data;
    char why[256];
    bool sent = PQcancel(request->cancel, why, sizeof why);
    pthread_mutex_lock(&request->lock);
    request->sent = sent;
    if (!request->abandoned)
        uv_async_send(&request->async);
    pthread_mutex_unlock(&request->lock);
    release(request);
    return NULL;
}

static void on_closed(uv_handle_t *handle) { release(handle->data); }

static void on_sent(uv_async_t *async)
{
    rh_pg_cancel *request = async->data;
    uv_close((uv_handle_t *)async, on_closed);
    pthread_mutex_lock(&request->lock);
    bool sent = request->sent;
    pthread_mutex_unlock(&request->lock);
    request->done(request->data, sent);
}

void rh_pg_cancel_abandon(rh_pg_cancel *request)
{
    pthread_mutex_lock(&request->lock);
    request->abandoned = true;
    pthread_mutex_unlock(&request->lock);
    uv_close((uv_handle_t *)&request->async, on_closed);
}

rh_pg_cancel *rh_pg_cancel_send(rh_pg *connection, void (*done)(void *data, bool sent), void *data)
{
    PGcancel *cancel = PQgetCancel(connection->handle);
    if (!cancel)
        return NULL;
    rh_pg_cancel *request = rh_alloc(sizeof *request);
    pthread_mutex_init(&request->lock, NULL);
    request->owners = 2;
    request->cancel = cancel;
    request->done = done;
    request->data = data;
    request->async.data = request;
    uv_async_init(rh_loop(), &request->async, on_sent);
    pthread_t thread;
    if (pthread_create(&thread, NULL, send_request, request) == 0) {
        pthread_detach(thread);
        return request;
    }
    request->owners = 1;
    uv_close((uv_handle_t *)&request->async, on_closed);
    return NULL;
}
