#include "multi.h"

#include "core/buffer.h"
#include "core/loop.h"

#include <linux/close_range.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_FILES = 65536 };

struct rh_http_multi {
    CURLM *multi;
    uv_timer_t *timer;
    rh_http_finished *finished;
    size_t active;
    bool acting; /* callbacks are being called: it is freed after them */
    bool freed;
};

struct watch {
    uv_poll_t poll;
    rh_http_multi *multi;
    curl_socket_t fd;
};

static unsigned open_count; /* libcurl's own state is there while any of them is */

static void free_handle(uv_handle_t *handle) { free(handle); }

static void destroy(rh_http_multi *multi)
{
    curl_multi_setopt(multi->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(multi->multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(multi->multi);
    free(multi);
    if (--open_count == 0)
        curl_global_cleanup();
}

void rh_http_multi_free(rh_http_multi *multi)
{
    if (multi && multi->acting)
        multi->freed = true;
    else if (multi)
        destroy(multi);
}

bool rh_http_multi_idle(const rh_http_multi *multi) { return multi->active == 0; }

static void act(rh_http_multi *multi, curl_socket_t fd, int events)
{
    int running, left;
    CURLMsg *message;
    multi->acting = true;
    curl_multi_socket_action(multi->multi, fd, events, &running);
    while ((message = curl_multi_info_read(multi->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            multi->finished(message->easy_handle, message->data.result);
    multi->acting = false;
    if (multi->freed)
        destroy(multi);
}

static void timer_fired(uv_timer_t *timer) { act(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = (struct watch *)poll;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(watch->multi, watch->fd, flags);
}

static int timer_wanted(CURLM *curl, long ms, void *data)
{
    (void)curl;
    rh_http_multi *multi = data;
    if (multi->timer && ms < 0)
        uv_timer_stop(multi->timer);
    else if (multi->timer)
        uv_timer_start(multi->timer, timer_fired, (uint64_t)ms, 0);
    return 0;
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    (void)easy;
    rh_http_multi *multi = data;
    struct watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(multi->multi, fd, NULL);
            uv_close((uv_handle_t *)&watch->poll, free_handle);
        }
        return 0;
    }
    if (!watch) {
        /* libcurl's resolver makes sockets that a command started meanwhile would inherit. */
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        watch = rh_alloc(sizeof *watch);
        watch->fd = fd;
        watch->multi = multi;
        if (uv_poll_init(rh_loop(), &watch->poll, fd) != 0) {
            free(watch); /* libcurl's own timeout ends the request */
            return 0;
        }
        curl_multi_assign(multi->multi, fd, watch);
    }
    int events = what == CURL_POLL_IN    ? UV_READABLE
                 : what == CURL_POLL_OUT ? UV_WRITABLE
                                         : UV_READABLE | UV_WRITABLE;
    uv_poll_start(&watch->poll, events, socket_ready);
    return 0;
}

/* The usual limit of 1024 is for programs that use select(), which nothing here does; commands are the
 * guardian's, and keep the limit they had. */
size_t rh_http_open_files(void)
{
    static struct rlimit limit;
    if (limit.rlim_max > 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return (size_t)limit.rlim_cur;
    struct rlimit more = limit;
    more.rlim_cur = limit.rlim_max < MOST_FILES ? limit.rlim_max : MOST_FILES;
    if (more.rlim_cur > limit.rlim_cur && setrlimit(RLIMIT_NOFILE, &more) == 0)
        limit = more;
    return (size_t)limit.rlim_cur;
}

rh_http_multi *rh_http_multi_new(long connections, rh_http_finished *finished, rh_error *error)
{
    bool ready = open_count > 0 || curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
    CURLM *curl = ready ? curl_multi_init() : NULL;
    if (!curl) {
        if (ready && open_count == 0)
            curl_global_cleanup();
        rh_fail(error, "http", "libcurl cannot be initialised: out of memory");
        return NULL;
    }
    rh_http_multi *multi = rh_alloc(sizeof *multi);
    open_count++;
    multi->multi = curl;
    multi->finished = finished;
    rh_http_open_files();
    curl_multi_setopt(curl, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(curl, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(curl, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(curl, CURLMOPT_TIMERDATA, multi);
    curl_multi_setopt(curl, CURLMOPT_MAXCONNECTS, connections);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* its wake-up sockets */
    return multi;
}

void rh_http_multi_add(rh_http_multi *multi, CURL *easy)
{
    if (multi->active++ == 0) {
        multi->timer = rh_alloc(sizeof *multi->timer);
        uv_timer_init(rh_loop(), multi->timer);
        multi->timer->data = multi;
    }
    curl_multi_add_handle(multi->multi, easy);
}

void rh_http_multi_go_on(CURL *easy) { curl_easy_pause(easy, CURLPAUSE_CONT); }

void rh_http_multi_remove(rh_http_multi *multi, CURL *easy)
{
    curl_multi_remove_handle(multi->multi, easy);
    if (--multi->active == 0) {
        uv_close((uv_handle_t *)multi->timer, free_handle);
        multi->timer = NULL;
    }
}
