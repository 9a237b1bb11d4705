#include "multi.h"

#include "http.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <linux/close_range.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    CURLM *multi;
    uv_timer_t *timer;
    rh_http_finished *finished;
    size_t active;
} engine;

struct watch {
    uv_poll_t poll;
    curl_socket_t fd;
};

static void free_handle(uv_handle_t *handle) { free(handle); }

static void report_finished(void)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(engine.multi, &left))) {
        if (message->msg == CURLMSG_DONE)
            engine.finished(message->easy_handle, message->data.result);
    }
}

static void act(curl_socket_t fd, int events)
{
    int running;
    curl_multi_socket_action(engine.multi, fd, events, &running);
    report_finished();
}

static void timer_fired(uv_timer_t *timer)
{
    (void)timer;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = (struct watch *)poll;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(watch->fd, flags);
}

static int timer_wanted(CURLM *multi, long ms, void *data)
{
    (void)multi, (void)data;
    if (engine.timer && ms < 0)
        uv_timer_stop(engine.timer);
    else if (engine.timer)
        uv_timer_start(engine.timer, timer_fired, (uint64_t)ms, 0);
    return 0;
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    (void)easy, (void)data;
    struct watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(engine.multi, fd, NULL);
            uv_close((uv_handle_t *)&watch->poll, free_handle);
        }
        return 0;
    }
    if (!watch) {
        /* libcurl's resolver makes sockets that a command started meanwhile would inherit. */
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        watch = rh_alloc(sizeof *watch);
        watch->fd = fd;
        if (uv_poll_init(rh_loop(), &watch->poll, fd) != 0) {
            free(watch); /* libcurl's own timeout ends the request */
            return 0;
        }
        curl_multi_assign(engine.multi, fd, watch);
    }
    int events = what == CURL_POLL_IN    ? UV_READABLE
                 : what == CURL_POLL_OUT ? UV_WRITABLE
                                         : UV_READABLE | UV_WRITABLE;
    uv_poll_start(&watch->poll, events, socket_ready);
    return 0;
}

bool rh_http_multi_open(rh_http_finished *finished, rh_error *error)
{
    engine.finished = finished;
    if (engine.multi)
        return true;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(engine.multi = curl_multi_init()))
        return rh_fail(error, "http", "libcurl cannot be initialised: out of memory");
    curl_multi_setopt(engine.multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(engine.multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(engine.multi, CURLMOPT_MAXCONNECTS, 32L); /* kept, when nothing uses them */
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);                   /* its wake-up sockets */
    return true;
}

void rh_http_multi_add(CURL *easy)
{
    if (engine.active++ == 0) {
        engine.timer = rh_alloc(sizeof *engine.timer);
        uv_timer_init(rh_loop(), engine.timer);
    }
    curl_multi_add_handle(engine.multi, easy);
}

void rh_http_multi_go_on(CURL *easy) { curl_easy_pause(easy, CURLPAUSE_CONT); }

void rh_http_multi_remove(CURL *easy)
{
    curl_multi_remove_handle(engine.multi, easy);
    if (--engine.active == 0) {
        uv_close((uv_handle_t *)engine.timer, free_handle);
        engine.timer = NULL;
    }
}

void rh_http_close(void)
{
    if (!engine.multi || engine.active)
        return;
    curl_multi_setopt(engine.multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(engine.multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(engine.multi);
    engine.multi = NULL;
    curl_global_cleanup();
}
