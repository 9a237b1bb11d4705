#include "run/ask.h"

#include "core/buffer.h"
#include "core/event.h"
#include "core/loop.h"

#include <errno.h>
#include <lua5.4/lua.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { LONGEST = 4096, IN_BACKGROUND_MS = 1000 };

typedef struct ask {
    rh_op op;
    char *key, *payload;
    rh_buffer line;
    bool answered;
    struct ask *next;
} ask;

/* The first is the one whose question stands on the terminal. */
static ask *queue;

/* Lives while anybody is asked, so that the loop ends clean. */
typedef struct watcher {
    uv_poll_t poll;
    uv_timer_t background;
    int open; /* handles */
} watcher;

static watcher *watching;

static void on_readable(uv_poll_t *handle, int status, int events);

static void watch(void)
{
    if (!watching) {
        watching = rh_alloc(sizeof *watching);
        watching->open = 2;
        uv_poll_init(rh_loop(), &watching->poll, STDIN_FILENO);
        uv_timer_init(rh_loop(), &watching->background);
        watching->poll.data = watching->background.data = watching;
    }
    uv_poll_start(&watching->poll, UV_READABLE | UV_DISCONNECT, on_readable);
}

static void on_closed(uv_handle_t *handle)
{
    watcher *closing = handle->data;
    if (--closing->open == 0)
        free(closing);
}

static void unwatch(void)
{
    if (!watching)
        return;
    uv_close((uv_handle_t *)&watching->poll, on_closed);
    uv_close((uv_handle_t *)&watching->background, on_closed);
    watching = NULL;
}

static void put_question(void)
{
    if (!queue) {
        unwatch();
        return;
    }
    /* What was typed before the question is no answer to it. */
    tcflush(STDIN_FILENO, TCIFLUSH);
    rh_event_say("ask", queue->key, queue->payload);
    watch();
}

static void finish(ask *one)
{
    bool front = queue == one;
    ask **place = &queue;
    while (*place && *place != one)
        place = &(*place)->next;
    if (*place)
        *place = one->next;
    if (front) {
        rh_event_say("ask.end", one->key, "{}");
        put_question();
    }
    rh_op_done(&one->op);
}

static void on_foreground(uv_timer_t *timer)
{
    (void)timer;
    if (queue)
        watch();
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)events;
    /* A read in the background would stop the whole run (SIGTTIN). */
    if (tcgetpgrp(STDIN_FILENO) != getpgrp() && isatty(STDIN_FILENO)) {
        uv_poll_stop(handle);
        uv_timer_start(&watching->background, on_foreground, IN_BACKGROUND_MS, 0);
        return;
    }
    ask *one = queue;
    char text[LONGEST];
    ssize_t got = status < 0 ? 0 : read(STDIN_FILENO, text, sizeof text);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got > 0) {
        const char *newline = memchr(text, '\n', (size_t)got);
        size_t size = newline ? (size_t)(newline - text) : (size_t)got;
        if (one->line.size + size <= LONGEST)
            rh_buffer_add(&one->line, text, size);
        if (!newline)
            return;
        one->answered = true;
    }
    finish(one);
}

static void cancel(rh_op *op)
{
    rh_fail(&op->error, "cancelled", "the question was answered elsewhere");
    finish((ask *)op);
}

static int push(rh_op *op, lua_State *L)
{
    ask *one = (ask *)op;
    if (one->answered)
        lua_pushlstring(L, one->line.data ? one->line.data : "", one->line.size);
    else
        lua_pushnil(L);
    return 1;
}

static void fini(rh_op *op)
{
    ask *one = (ask *)op;
    free(one->key);
    free(one->payload);
    rh_buffer_free(&one->line);
}

static const rh_op_class ask_class = {
    .name = "ask", .size = sizeof(ask), .cancel = cancel, .push = push, .fini = fini, .idle = true};

rh_op *rh_ask(const char *key, const char *payload)
{
    ask *one = (ask *)rh_op_new(&ask_class);
    one->key = rh_strdup(key);
    one->payload = rh_strdup(payload);
    ask **place = &queue;
    while (*place)
        place = &(*place)->next;
    *place = one;
    if (queue == one)
        put_question();
    return &one->op;
}
