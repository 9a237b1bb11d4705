/* The HTTP engine against a scripted server on the same loop. */
#include "modules/http/http.h"

#include "core/loop.h"
#include "core/mask.h"

#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the server ---- */

typedef enum { KEEP, CLOSE, RESET } ending;

static struct server {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    int port;
    const char *answer; /* NULL: none, ever */
    ending then;
    int connections, requests;
    rh_buffer heard; /* the newest request, as far as it came */
    char url[64];
    char socket_path[64];
} server;

struct peer {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    rh_buffer in;
    struct peer *next;
};

static struct peer *peers;

static void peer_closed(uv_handle_t *handle)
{
    struct peer *peer = (struct peer *)handle;
    for (struct peer **p = &peers; *p; p = &(*p)->next) {
        if (*p == peer) {
            *p = peer->next;
            break;
        }
    }
    rh_buffer_free(&peer->in);
    free(peer);
}

static void close_peer(struct peer *peer)
{
    if (!uv_is_closing(&peer->handle))
        uv_close(&peer->handle, peer_closed);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    (void)handle, (void)wanted;
    static char room[4096];
    *buf = uv_buf_init(room, sizeof room);
}

static void answered(uv_write_t *write, int status)
{
    struct peer *peer = (struct peer *)write->handle;
    free(write);
    if (status == 0 && server.then == CLOSE)
        close_peer(peer);
    else if (status == 0 && server.then == RESET)
        uv_tcp_close_reset(&peer->tcp, peer_closed);
}

static void heard(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct peer *peer = (struct peer *)stream;
    if (size < 0) {
        close_peer(peer);
        return;
    }
    rh_buffer_add(&peer->in, buf->base, (size_t)size);
    const char *end = strstr(peer->in.data, "\r\n\r\n");
    if (!end)
        return;
    const char *length = strcasestr(peer->in.data, "content-length:");
    size_t whole =
        (size_t)(end + 4 - peer->in.data) + (length ? strtoul(length + 15, NULL, 10) : 0);
    if (peer->in.size < whole)
        return;
    server.requests++;
    rh_buffer_clear(&server.heard);
    rh_buffer_add(&server.heard, peer->in.data, peer->in.size);
    rh_buffer_clear(&peer->in);
    if (!server.answer)
        return;
    uv_write_t *write = rh_alloc(sizeof *write);
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)server.answer, (unsigned)strlen(server.answer));
    uv_write(write, stream, &out, 1, answered);
}

static void connected(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    struct peer *peer = rh_alloc(sizeof *peer);
    if (listener->type == UV_TCP)
        uv_tcp_init(rh_loop(), &peer->tcp);
    else
        uv_pipe_init(rh_loop(), &peer->pipe, 0);
    peer->next = peers;
    peers = peer;
    server.connections++;
    uv_accept(listener, &peer->stream);
    uv_read_start(&peer->stream, give_room, heard);
}

static int setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    struct sockaddr_in address;
    int size = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(rh_loop(), &server.tcp);
    uv_tcp_bind(&server.tcp, (const struct sockaddr *)&address, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.tcp, 16, connected), 0);
    uv_tcp_getsockname(&server.tcp, (struct sockaddr *)&address, &size);
    server.port = ntohs(address.sin_port);
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%d/", server.port);
    server.then = KEEP;
    return 0;
}

/* Every test ends with an empty loop. */
static int teardown(void **state)
{
    (void)state;
    rh_http_close();
    uv_close((uv_handle_t *)&server.tcp, NULL);
    if (server.socket_path[0])
        uv_close((uv_handle_t *)&server.pipe, NULL);
    for (struct peer *peer = peers; peer; peer = peer->next)
        close_peer(peer);
    rh_buffer_free(&server.heard);
    while (peers)
        uv_run(rh_loop(), UV_RUN_ONCE);
    return rh_loop_close();
}

/* ---- the client ---- */

static const rh_op_class request_class = {
    .name = "http.request",
    .size = sizeof(rh_http_request),
    .cancel = rh_http_cancel,
    .fini = rh_http_fini,
};

static rh_http_request *start(const rh_http_spec *spec)
{
    rh_error error = {0};
    rh_http_request *request = (rh_http_request *)rh_op_new(&request_class);
    rh_op_retain(&request->op);
    if (!rh_http_start(request, spec, &error))
        fail_msg("not started: %s", error.message);
    return request;
}

static rh_http_request *wait_for(rh_http_request *request)
{
    rh_loop_run(&request->op.done);
    assert_true(request->op.done);
    return request;
}

static rh_http_request *ask(const rh_http_spec *spec) { return wait_for(start(spec)); }

static void expect_error(rh_http_request *request, const char *code, const char *part)
{
    assert_non_null(request->op.error.code);
    assert_string_equal(request->op.error.code, code);
    if (!strstr(request->op.error.message, part))
        fail_msg("\"%s\" does not say \"%s\"", request->op.error.message, part);
    rh_op_release(&request->op);
}

/* ---- answers ---- */

static void gives_status_headers_and_body(void **state)
{
    (void)state;
    server.answer =
        "HTTP/1.1 503 Busy\r\nX-Thing:  a b \r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy";
    rh_http_spec spec = {.method = "GET", .url = server.url};
    rh_http_request *request = ask(&spec);
    assert_null(request->op.error.code);
    assert_int_equal(request->status, 503);
    assert_string_equal(request->body.data, "busy");
    assert_string_equal(rh_http_header(request, "x-thing"), "a b");
    assert_null(rh_http_header(request, "x-other"));
    assert_int_equal(request->retry_after, 7);
    assert_null(request->redirect);
    rh_op_release(&request->op);
}

static void sends_what_was_given(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 204 No Content\r\n\r\n";
    const char *headers[] = {"X-One: 1", "X-Empty:", NULL};
    rh_http_spec spec = {.method = "PUT",
                         .url = server.url,
                         .headers = headers,
                         .body = "a\0b",
                         .body_size = 3,
                         .bearer = "t0ken-t0ken"};
    rh_http_request *request = ask(&spec);
    assert_int_equal(request->status, 204);
    assert_non_null(strstr(server.heard.data, "PUT / HTTP/1.1\r\n"));
    assert_non_null(strstr(server.heard.data, "\r\nX-One: 1\r\n"));
    assert_non_null(strstr(server.heard.data, "\r\nX-Empty:\r\n"));
    assert_non_null(strstr(server.heard.data, "\r\nAuthorization: Bearer t0ken-t0ken\r\n"));
    assert_null(strcasestr(server.heard.data, "content-type"));
    assert_null(strcasestr(server.heard.data, "expect:"));
    assert_memory_equal(server.heard.data + server.heard.size - 3, "a\0b", 3);
    rh_op_release(&request->op);
}

static void keeps_connections_but_not_for_what_must_be_sent_once(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    rh_http_spec get = {.method = "GET", .url = server.url};
    rh_op_release(&ask(&get)->op);
    rh_http_request *second = ask(&get);
    assert_true(second->reused);
    assert_int_equal(server.connections, 1);
    rh_op_release(&second->op);
    rh_http_spec post = {.method = "POST", .url = server.url, .once = true};
    rh_http_request *third = ask(&post);
    assert_false(third->reused);
    assert_int_equal(server.connections, 2);
    rh_op_release(&third->op);
}

/* A server that takes the request and hangs up may have acted upon it. */
static void never_sends_once_twice(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    rh_http_spec get = {.method = "GET", .url = server.url};
    rh_op_release(&ask(&get)->op);
    server.answer = "";
    server.then = CLOSE;
    rh_http_spec post = {.method = "POST", .url = server.url, .once = true};
    expect_error(ask(&post), "reset", "POST http://127.0.0.1");
    assert_int_equal(server.requests, 2);
}

static void goes_over_a_unix_socket(void **state)
{
    (void)state;
    snprintf(server.socket_path, sizeof server.socket_path, "http-test-%d.sock", (int)getpid());
    uv_pipe_init(rh_loop(), &server.pipe, 0);
    assert_int_equal(uv_pipe_bind(&server.pipe, server.socket_path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server.pipe, 4, connected), 0);
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    rh_http_spec spec = {
        .method = "GET", .url = "http://docker/info", .unix_socket = server.socket_path};
    rh_http_request *request = ask(&spec);
    assert_int_equal(request->status, 200);
    assert_non_null(strstr(server.heard.data, "GET /info HTTP/1.1\r\nHost: docker\r\n"));
    rh_op_release(&request->op);
}

static void takes_a_proxy_only_when_told(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    setenv("http_proxy", server.url, 1);
    rh_http_spec spec = {.method = "GET", .url = "http://127.0.0.1:1/"};
    expect_error(ask(&spec), "connect", "Connection refused");
    const char *proxies[] = {server.url, "environment"};
    for (int i = 0; i < 2; i++) {
        spec.proxy = proxies[i];
        rh_http_request *request = ask(&spec);
        assert_int_equal(request->status, 200);
        assert_int_equal(server.requests, i + 1);
        assert_non_null(strstr(server.heard.data, "GET http://127.0.0.1:1/ HTTP/1.1\r\n"));
        rh_op_release(&request->op);
    }
    unsetenv("http_proxy");
}

static void tells_where_a_redirect_goes(void **state)
{
    (void)state;
    static const struct {
        const char *location, *absolute;
        rh_http_redirect kind;
    } cases[] = {
        {"/next?a=1", "/next?a=1", RH_HTTP_SAME_ORIGIN},
        {"http://localhost/", "http://localhost/", RH_HTTP_OTHER_ORIGIN},
        {"https://127.0.0.1/", "https://127.0.0.1/", RH_HTTP_OTHER_ORIGIN},
        {"ftp://127.0.0.1/", "ftp://127.0.0.1/", RH_HTTP_TO_CLEAR_TEXT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *answer = rh_format("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                                 cases[i].location);
        server.answer = answer;
        rh_http_spec spec = {.method = "GET", .url = server.url};
        rh_http_request *request = ask(&spec);
        assert_int_equal(request->status, 302);
        assert_non_null(strstr(request->redirect, cases[i].absolute));
        assert_int_equal(request->redirect_to, cases[i].kind);
        assert_int_equal(server.requests, (int)i + 1);
        rh_op_release(&request->op);
        free(answer);
    }
}

/* ---- bad luck ---- */

static void names_a_refused_connection(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&server.tcp, NULL);
    uv_run(rh_loop(), UV_RUN_NOWAIT);
    rh_http_spec spec = {.method = "GET", .url = server.url};
    expect_error(ask(&spec), "connect", "is the service running");
    setup(state);
}

static void names_a_break_in_the_body(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    server.then = RESET;
    rh_http_spec spec = {.method = "GET", .url = server.url};
    expect_error(ask(&spec), "reset", "before the answer was whole");
}

static void names_what_is_not_http(void **state)
{
    (void)state;
    server.answer = "SSH-2.0-OpenSSH_9.2\r\n";
    server.then = CLOSE;
    rh_http_spec spec = {.method = "GET", .url = server.url};
    expect_error(ask(&spec), "protocol", "HTTP/0.9");
}

static void cuts_a_body_at_the_limit(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n0123456789";
    rh_http_spec spec = {.method = "GET", .url = server.url, .max_body = 9};
    rh_http_request *request = ask(&spec);
    assert_in_range(request->body.size, 0, 9);
    expect_error(request, "body_too_large", "announces 1073741824");
}

static void gives_up_in_time(void **state)
{
    (void)state;
    rh_http_spec spec = {.method = "GET", .url = server.url, .timeout_ms = 40};
    int64_t begun = rh_mono_us();
    expect_error(ask(&spec), "timeout", "timed out");
    assert_in_range(rh_mono_us() - begun, 30000, 2000000);
    assert_int_equal(server.requests, 1);
}

static void can_be_cancelled(void **state)
{
    (void)state;
    rh_http_spec spec = {.method = "GET", .url = server.url};
    rh_http_request *request = start(&spec);
    while (server.requests == 0)
        uv_run(rh_loop(), UV_RUN_ONCE);
    rh_op_cancel(&request->op);
    assert_true(request->op.done);
    expect_error(request, "cancelled", "GET http://");
    request = start(&spec); /* not sent yet */
    rh_op_cancel(&request->op);
    expect_error(request, "cancelled", "GET http://");
    assert_int_equal(server.requests, 1);
}

static int resolver_gate[2] = {-1, -1};

/* Takes libcurl's place of the C library's: a resolver that answers when it is told to. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)node, (void)service, (void)hints, (void)found;
    char byte;
    while (read(resolver_gate[0], &byte, 1) < 0) {
    }
    return EAI_AGAIN;
}

static void does_not_wait_for_a_slow_resolver(void **state)
{
    (void)state;
    assert_int_equal(pipe2(resolver_gate, O_CLOEXEC), 0);
    rh_http_spec spec = {.method = "GET", .url = "http://slow.invalid/", .timeout_ms = 50};
    int64_t begun = rh_mono_us();
    expect_error(ask(&spec), "timeout", "slow.invalid");
    assert_in_range(rh_mono_us() - begun, 40000, 2000000);
    assert_int_equal(write(resolver_gate[1], "x", 1), 1);
    assert_int_equal(write(resolver_gate[1], "x", 1), 1);
    spec.timeout_ms = 0;
    expect_error(ask(&spec), "dns", "resolver");
}

static void leaves_no_socket_to_a_command(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    rh_http_spec spec = {.method = "GET", .url = server.url};
    rh_op_release(&ask(&spec)->op);
    for (int fd = 3; fd < 64; fd++)
        assert_true(fcntl(fd, F_GETFD) < 0 || fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* ---- bad input ---- */

static void refuse(const rh_http_spec *spec, const char *code, const char *part)
{
    rh_error error = {0};
    rh_http_request *request = (rh_http_request *)rh_op_new(&request_class);
    assert_false(rh_http_start(request, spec, &error));
    rh_op_discard(&request->op);
    assert_string_equal(error.code, code);
    assert_string_equal(error.module, "http");
    assert_non_null(strstr(error.message, part));
    rh_error_clear(&error);
}

static void refuses_what_cannot_be_sent(void **state)
{
    (void)state;
    rh_http_spec spec = {.method = "GET", .url = "file:///etc/passwd"};
    refuse(&spec, "url", "file:///etc/passwd");
    const char *split[] = {"X-A: 1\r\nX-B: 2", NULL}, *bad[] = {"a b: 1", NULL};
    spec.url = server.url;
    spec.headers = split;
    refuse(&spec, "header", "X-A");
    spec.headers = bad;
    refuse(&spec, "header", "a b");
}

static void shows_no_secret(void **state)
{
    (void)state;
    rh_mask_add(rh_mask_process(), "HOOK", "s3cret/path", 11);
    rh_http_spec spec = {.method = "POST", .url = "gopher://joe:pa55word@h/s3cret/path"};
    rh_error error = {0};
    rh_http_request *request = (rh_http_request *)rh_op_new(&request_class);
    assert_false(rh_http_start(request, &spec, &error));
    rh_op_discard(&request->op);
    assert_null(strstr(error.message, "pa55word"));
    assert_null(strstr(error.message, "s3cret"));
    assert_non_null(strstr(error.message, "‹secret HOOK›"));
    rh_error_clear(&error);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_status_headers_and_body),
        TEST(sends_what_was_given),
        TEST(keeps_connections_but_not_for_what_must_be_sent_once),
        TEST(never_sends_once_twice),
        TEST(goes_over_a_unix_socket),
        TEST(takes_a_proxy_only_when_told),
        TEST(tells_where_a_redirect_goes),
        TEST(names_a_refused_connection),
        TEST(names_a_break_in_the_body),
        TEST(names_what_is_not_http),
        TEST(cuts_a_body_at_the_limit),
        TEST(gives_up_in_time),
        TEST(can_be_cancelled),
        TEST(does_not_wait_for_a_slow_resolver),
        TEST(leaves_no_socket_to_a_command),
        TEST(refuses_what_cannot_be_sent),
        TEST(shows_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
