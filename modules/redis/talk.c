/* A conversation, from the name's look-up to the last reply.
 *
 *      resolve -> connect (one address after the other) -> [TLS] -> all commands at once -> replies -> over
 *
 * Over, it lives on until libuv has let go of its timer and of the look-up. */
#include "redis.h"

#include "tls.h"

#include "core/loop.h"

#include <stdlib.h>
#include <string.h>

/* A connection that is tried or used. */
struct peer {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_connect_t connect;
};

typedef struct rh_redis_conversation {
    rh_redis_talk *talk; /* NULL: over */
    rh_redis_config config;
    char *label; /* "redis at host:port" */
    uv_getaddrinfo_t resolve;
    bool resolving, timer_closed, shaken;
    struct addrinfo *addresses, *untried;
    int refused; /* why the last address did not answer */
    struct peer *peer;
    uv_timer_t timer;
    int64_t deadline; /* rh_mono_us() */
    const char *phase;
    rh_redis_tls *tls;
    redisReader *reader;
    rh_buffer commands;
    size_t logins, wanted, taken; /* replies: of the log-in, of all, so far */
    size_t heard;                 /* bytes */
    char bytes[16384];
} conversation;

/* ---- the end ---- */

static void release(conversation *c)
{
    if (c->talk || c->resolving || !c->timer_closed)
        return;
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    rh_redis_tls_free(c->tls);
    if (c->reader)
        redisReaderFree(c->reader);
    rh_buffer_free(&c->commands);
    rh_redis_config_clear(&c->config);
    free(c->label);
    free(c);
}

static void timer_closed(uv_handle_t *handle)
{
    conversation *c = handle->data;
    c->timer_closed = true;
    release(c);
}

static void free_peer(uv_handle_t *handle) { free(handle); }

static void close_peer(conversation *c)
{
    if (c->peer) {
        c->peer->handle.data = NULL;
        uv_close(&c->peer->handle, free_peer);
        c->peer = NULL;
    }
}

static void end(conversation *c)
{
    rh_redis_talk *talk = c->talk;
    c->talk = NULL;
    talk->conversation = NULL;
    close_peer(c);
    if (c->resolving)
        uv_cancel((uv_req_t *)&c->resolve);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
    rh_op_done(&talk->op);
}

/* Ends it with that error. */
__attribute__((format(printf, 3, 4))) static void fail(conversation *c, const char *code,
                                                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *why = rh_vformat(format, args);
    va_end(args);
    rh_fail(&c->talk->op.error, code, "%s: %s", c->label, why);
    free(why);
    rh_error_module(&c->talk->op.error, "redis");
    end(c);
}

static void fail_with(conversation *c, rh_error *error)
{
    fail(c, error->code, "%s", error->message);
    rh_error_clear(error);
}

static void lost(conversation *c, int status)
{
    bool mute = !c->tls && c->heard == 0;
    fail(c, "reset", "the connection %s%s%s",
         status == UV_EOF ? "was closed before it had answered" : "broke: ",
         status == UV_EOF ? "" : uv_strerror(status),
         mute ? "; if it wants TLS, the URL begins with rediss://" : "");
}

/* ---- replies ---- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The answers to AUTH and SELECT. */
static void take_login(conversation *c, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        const char *said = reply->str;
        if (begins(said, "WRONGPASS") || begins(said, "NOAUTH") || strstr(said, "invalid password"))
            fail(c, "access_denied", "the password, or the user, is not right (%s)", said);
        else if (strstr(said, "without any password"))
            fail(c, "access_denied", "it has no password, and one was given (%s)", said);
        else
            fail(c, "refused", "the log-in was refused (%s)", said);
    }
    freeReplyObject(reply);
}

static void hear(conversation *c, const char *bytes, size_t size)
{
    void *reply = NULL;
    c->heard += size;
    if (c->heard > RH_REDIS_MOST)
        return fail(c, "too_large", "it answers more than %d MiB", RH_REDIS_MOST / 1024 / 1024);
    redisReaderFeed(c->reader, bytes, size);
    while (c->talk && c->taken < c->wanted) {
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK)
            return fail(c, "protocol", "what answers there is no Redis (%s)%s", c->reader->errstr,
                        c->tls ? "" : "; if it wants TLS, the URL begins with rediss://");
        if (!reply)
            return;
        size_t n = c->taken++;
        if (n < c->logins)
            take_login(c, reply);
        else
            c->talk->replies[n - c->logins] = reply;
    }
    if (c->talk)
        end(c);
}

/* ---- bytes ---- */

struct sending {
    uv_write_t request;
    rh_buffer bytes;
};

static void sent(uv_write_t *request, int status)
{
    struct sending *sending = (struct sending *)request;
    struct peer *peer = (struct peer *)request->handle;
    conversation *c = peer->handle.data;
    rh_buffer_free(&sending->bytes);
    free(sending);
    if (c && status < 0)
        lost(c, status);
}

/* Takes the bytes. */
static void send_bytes(conversation *c, rh_buffer *bytes)
{
    if (bytes->size == 0) {
        rh_buffer_free(bytes);
        return;
    }
    struct sending *sending = rh_alloc(sizeof *sending);
    sending->bytes = *bytes;
    *bytes = (rh_buffer){0};
    uv_buf_t part = uv_buf_init(sending->bytes.data, (unsigned)sending->bytes.size);
    int status = uv_write(&sending->request, &c->peer->stream, &part, 1, sent);
    if (status < 0) {
        rh_buffer_free(&sending->bytes);
        free(sending);
        lost(c, status);
    }
}

static void say(conversation *c)
{
    rh_buffer out = {0};
    c->phase = "waiting for its answer";
    if (!c->tls)
        return send_bytes(c, &c->commands);
    rh_redis_tls_say(c->tls, c->commands.data, c->commands.size);
    rh_buffer_free(&c->commands);
    rh_redis_tls_give(c->tls, &out);
    send_bytes(c, &out);
}

static void shake(conversation *c)
{
    rh_error error = {0};
    rh_buffer out = {0};
    int result = rh_redis_tls_shake(c->tls, &error);
    rh_redis_tls_give(c->tls, &out);
    send_bytes(c, &out);
    if (!c->talk) {
        rh_error_clear(&error);
    } else if (result < 0) {
        fail_with(c, &error);
    } else if (result > 0) {
        c->shaken = true;
        say(c);
    }
}

static void hear_encrypted(conversation *c, size_t size)
{
    rh_error error = {0};
    int plain = 0;
    rh_redis_tls_take(c->tls, c->bytes, size);
    if (!c->shaken)
        shake(c);
    while (c->talk && c->shaken &&
           (plain = rh_redis_tls_hear(c->tls, c->bytes, sizeof c->bytes, &error)) > 0)
        hear(c, c->bytes, (size_t)plain);
    if (plain < 0 && c->talk)
        fail_with(c, &error);
    rh_error_clear(&error);
}

static void room(uv_handle_t *handle, size_t wish, uv_buf_t *buffer)
{
    (void)wish;
    conversation *c = handle->data;
    *buffer = uv_buf_init(c->bytes, sizeof c->bytes);
}

static void came(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    conversation *c = stream->data;
    if (size < 0)
        lost(c, (int)size);
    else if (size > 0 && c->tls)
        hear_encrypted(c, (size_t)size);
    else if (size > 0)
        hear(c, buffer->base, (size_t)size);
}

/* ---- connecting ---- */

static void try_next(conversation *c);

static void connected(uv_connect_t *request, int status)
{
    conversation *c = request->handle->data;
    if (!c) /* given up meanwhile */
        return;
    if (status < 0) {
        c->refused = status;
        close_peer(c);
        try_next(c);
        return;
    }
    int64_t left = c->deadline - rh_mono_us();
    uv_timer_start(&c->timer, c->timer.timer_cb, left > 0 ? (uint64_t)left / 1000 : 0, 0);
    uv_read_start(&c->peer->stream, room, came);
    c->phase = "shaking hands";
    if (c->tls)
        shake(c);
    else
        say(c);
}

static void nobody(conversation *c)
{
    bool here = c->refused == UV_ENETUNREACH || c->refused == UV_EHOSTUNREACH;
    const char *hint = c->refused == UV_EACCES ? "; this user may not use the socket" : "";
    fail(c, here ? "network" : "connect", "no connection (%s)%s", uv_strerror(c->refused), hint);
}

/* Each address gets its part of the time: one that drops packets leaves some to the next. */
static void try_next(conversation *c)
{
    uint64_t others = 1;
    int64_t left = c->deadline - rh_mono_us();
    struct addrinfo *address = c->untried;
    if (!address)
        return nobody(c);
    for (struct addrinfo *a = address->ai_next; a; a = a->ai_next)
        others++;
    c->untried = address->ai_next;
    c->peer = rh_alloc(sizeof *c->peer);
    uv_tcp_init(rh_loop(), &c->peer->tcp);
    c->peer->handle.data = c;
    uv_timer_start(&c->timer, c->timer.timer_cb, left > 0 ? (uint64_t)left / 1000 / others : 0, 0);
    int status = uv_tcp_connect(&c->peer->connect, &c->peer->tcp, address->ai_addr, connected);
    if (status < 0) {
        c->refused = status;
        close_peer(c);
        try_next(c);
    }
}

static void timed_out(uv_timer_t *timer)
{
    conversation *c = timer->data;
    if (c->untried && rh_mono_us() < c->deadline) {
        c->refused = UV_ETIMEDOUT;
        close_peer(c);
        try_next(c);
    } else {
        fail(c, "timeout", "not done in time, while %s", c->phase);
    }
}

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    conversation *c = request->data;
    c->resolving = false;
    c->addresses = c->untried = addresses;
    if (!c->talk)
        return release(c);
    c->phase = "connecting";
    if (status < 0)
        fail(c, "dns", "the name does not resolve (%s)", uv_strerror(status));
    else
        try_next(c);
}

static void connect_socket(conversation *c)
{
    c->phase = "connecting";
    c->peer = rh_alloc(sizeof *c->peer);
    uv_pipe_init(rh_loop(), &c->peer->pipe, 0);
    c->peer->handle.data = c;
    uv_pipe_connect(&c->peer->connect, &c->peer->pipe, c->config.socket, connected);
}

static bool look_up(conversation *c, rh_error *error)
{
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    snprintf(port, sizeof port, "%u", c->config.port);
    c->phase = "resolving the name";
    c->resolve.data = c;
    int status = uv_getaddrinfo(rh_loop(), &c->resolve, resolved, c->config.host, port, &hints);
    if (status < 0)
        return rh_fail(error, "dns", "%s: the name does not resolve (%s)", c->label,
                       uv_strerror(status));
    c->resolving = true;
    return true;
}

/* ---- the beginning ---- */

void rh_redis_format(rh_buffer *out, size_t count, const char **words, const size_t *sizes)
{
    char *text = NULL;
    int size = redisFormatCommandArgv(&text, (int)count, words, sizes);
    if (size < 0)
        abort(); /* out of memory */
    rh_buffer_add(out, text, (size_t)size);
    explicit_bzero(text, (size_t)size);
    redisFreeCommand(text);
}

static void format_words(conversation *c, rh_buffer *out, size_t count, const char **words)
{
    size_t sizes[3];
    for (size_t i = 0; i < count; i++)
        sizes[i] = strlen(words[i]);
    rh_redis_format(out, count, words, sizes);
    c->logins++;
}

static void put_login(conversation *c, rh_buffer *out)
{
    const rh_redis_config *config = &c->config;
    const char *words[3] = {"AUTH", config->user, config->password};
    char number[16];
    if (config->password && !config->user) {
        words[1] = config->password;
        format_words(c, out, 2, words);
    } else if (config->password) {
        format_words(c, out, 3, words);
    }
    if (config->database) {
        snprintf(number, sizeof number, "%u", config->database);
        words[0] = "SELECT";
        words[1] = number;
        format_words(c, out, 2, words);
    }
}

static char *label_of(const rh_redis_config *config)
{
    rh_buffer label = {0};
    rh_buffer_adds(&label, "redis at ");
    rh_redis_config_display(config, &label);
    return rh_buffer_take(&label);
}

bool rh_redis_start(rh_redis_talk *talk, rh_redis_config *config, rh_buffer *commands, size_t count,
                    rh_error *error)
{
    conversation *c = rh_alloc(sizeof *c);
    c->config = *config;
    *config = (rh_redis_config){0};
    c->label = label_of(&c->config);
    put_login(c, &c->commands);
    rh_buffer_add(&c->commands, commands->data, commands->size);
    rh_buffer_free(commands);
    c->wanted = c->logins + count;
    c->reader = redisReaderCreate();
    if (c->config.tls)
        c->tls = rh_redis_tls_new(c->config.host, c->config.ca, error);
    if ((c->config.tls && !c->tls) || (!c->config.socket && !look_up(c, error))) {
        c->timer_closed = true;
        release(c);
        return false;
    }
    talk->replies = rh_alloc(count * sizeof *talk->replies);
    talk->count = count;
    talk->conversation = c;
    c->talk = talk;
    int64_t timeout = c->config.timeout_ms > 0 ? c->config.timeout_ms : 10000;
    c->deadline = rh_mono_us() + timeout * 1000;
    uv_timer_init(rh_loop(), &c->timer);
    c->timer.data = c;
    uv_timer_start(&c->timer, timed_out, (uint64_t)timeout, 0);
    if (c->config.socket)
        connect_socket(c);
    return true;
}

void rh_redis_cancel(rh_op *op)
{
    conversation *c = ((rh_redis_talk *)op)->conversation;
    fail(c, "cancelled", "cancelled while %s", c->phase);
}

void rh_redis_fini(rh_op *op)
{
    rh_redis_talk *talk = (rh_redis_talk *)op;
    for (size_t i = 0; i < talk->count; i++)
        if (talk->replies[i])
            freeReplyObject(talk->replies[i]);
    free(talk->replies);
}
