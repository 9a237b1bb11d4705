/* The least that many requests at once cost: libcurl's multi interface on libuv, handles and connections kept.
 *      http_multi_floor COUNT CONCURRENCY URL      prints the requests a second */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static CURLM *multi;
static uv_timer_t timer;
static long left;

struct watch {
    uv_poll_t poll;
    curl_socket_t fd;
};

static void act(curl_socket_t fd, int events)
{
    int running, messages;
    CURLMsg *message;
    curl_multi_socket_action(multi, fd, events, &running);
    while ((message = curl_multi_info_read(multi, &messages))) {
        CURL *easy = message->easy_handle;
        if (message->data.result != CURLE_OK)
            exit(1);
        curl_multi_remove_handle(multi, easy);
        if (left-- > 0)
            curl_multi_add_handle(multi, easy);
        else
            curl_easy_cleanup(easy);
    }
}

static void fired(uv_timer_t *handle)
{
    (void)handle;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static int timer_wanted(CURLM *curl, long ms, void *data)
{
    (void)curl, (void)data;
    if (ms < 0)
        uv_timer_stop(&timer);
    else
        uv_timer_start(&timer, fired, (uint64_t)ms, 0);
    return 0;
}

static void ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    act(((struct watch *)poll)->fd, (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                                        (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0));
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    (void)easy, (void)data;
    struct watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            uv_close((uv_handle_t *)&watch->poll, (uv_close_cb)free);
        return 0;
    }
    if (!watch) {
        watch = calloc(1, sizeof *watch);
        watch->fd = fd;
        uv_poll_init(uv_default_loop(), &watch->poll, fd);
        curl_multi_assign(multi, fd, watch);
    }
    uv_poll_start(&watch->poll,
                  what == CURL_POLL_IN    ? UV_READABLE
                  : what == CURL_POLL_OUT ? UV_WRITABLE
                                          : 3,
                  ready);
    return 0;
}

static size_t swallow(char *bytes, size_t size, size_t count, void *data)
{
    (void)bytes, (void)data;
    return size * count;
}

int main(int argc, char **argv)
{
    if (argc != 4 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return 2;
    long count = atol(argv[1]), concurrency = atol(argv[2]);
    multi = curl_multi_init();
    uv_timer_init(uv_default_loop(), &timer);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency);
    left = count - concurrency;
    for (long i = 0; i < concurrency; i++) {
        CURL *easy = curl_easy_init();
        curl_easy_setopt(easy, CURLOPT_URL, argv[3]);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
        curl_multi_add_handle(multi, easy);
    }
    uint64_t begun = uv_hrtime();
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("%.0f\n", (double)count / (double)(uv_hrtime() - begun) * 1e9);
    return 0;
}
