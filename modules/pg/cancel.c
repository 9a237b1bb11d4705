#include "connection.h"

#include "core/loop.h"

#include <stdlib.h>

struct request {
    uv_work_t work;
    PGcancel *cancel;
    bool sent;
    void (*done)(void *data, bool sent);
    void *data;
};

static void cancel_work(uv_work_t *work)
{
    struct request *request = work->data;
    char why[256];
    request->sent = PQcancel(request->cancel, why, sizeof why);
}

static void cancel_done(uv_work_t *work, int status)
{
    struct request *request = work->data;
    request->done(request->data, status == 0 && request->sent);
    PQfreeCancel(request->cancel);
    free(request);
}

bool rh_pg_cancel_send(rh_pg *connection, void (*done)(void *data, bool sent), void *data)
{
    PGcancel *cancel = PQgetCancel(connection->handle);
    if (!cancel)
        return false;
    struct request *request = rh_alloc(sizeof *request);
    request->work.data = request;
    request->cancel = cancel;
    request->done = done;
    request->data = data;
    if (uv_queue_work(rh_loop(), &request->work, cancel_work, cancel_done) == 0)
        return true;
    PQfreeCancel(cancel);
    free(request);
    return false;
}
