#include "http.h"

#include "core/loop.h"
#include "core/mask.h"
#include "core/module.h"
#include "multi.h"
#include "tls.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct rh_http_transfer {
    CURL *easy;
    rh_http_request *request;
    struct curl_slist *headers;
    rh_http_certificate *certificate;
    uv_timer_t *delay; /* while the request waits to be sent */
    rh_buffer upload;
    char *label; /* "GET https://…", masked, for messages */
    size_t max_body;
    bool too_large;
    bool added; /* to the multi handle */
    char curl_said[CURL_ERROR_SIZE];
};
typedef struct rh_http_transfer transfer;

static void free_handle(uv_handle_t *handle) { free(handle); }

/* ---- what a server sends ---- */

static size_t body_received(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    transfer *t = data;
    if (size > t->max_body - t->request->body.size) {
        t->too_large = true;
        return 0;
    }
    rh_buffer_add(&t->request->body, bytes, size);
    return size;
}

static size_t header_received(char *line, size_t one, size_t size, void *data)
{
    (void)one;
    transfer *t = data;
    rh_buffer *headers = &t->request->headers;
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0) { /* a 100 may have come before */
        rh_buffer_clear(headers);
        return size;
    }
    const char *colon = memchr(line, ':', size);
    if (!colon)
        return size;
    if (headers->size + size > RH_HTTP_MAX_HEADERS) {
        t->too_large = true;
        return 0;
    }
    const char *end = line + size, *value = colon + 1;
    while (end > value && strchr(" \t\r\n", end[-1]))
        end--;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    for (const char *c = line; c < colon; c++)
        rh_buffer_add(headers, &(char){(char)tolower((unsigned char)*c)}, 1);
    rh_buffer_add(headers, "", 1);
    rh_buffer_add(headers, value, (size_t)(end - value));
    rh_buffer_add(headers, "", 1);
    return size;
}

static CURLcode tls_begins(CURL *easy, void *ssl_ctx, void *data)
{
    (void)easy;
    transfer *t = data;
    return rh_http_certificate_watch(t->certificate, ssl_ctx) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

bool rh_http_header_next(const rh_http_request *request, size_t *position, const char **name,
                         const char **value)
{
    if (*position >= request->headers.size)
        return false;
    *name = request->headers.data + *position;
    *value = *name + strlen(*name) + 1;
    *position = (size_t)(*value + strlen(*value) + 1 - request->headers.data);
    return true;
}

const char *rh_http_header(const rh_http_request *request, const char *name)
{
    const char *found, *value;
    for (size_t at = 0; rh_http_header_next(request, &at, &found, &value);)
        if (strcmp(found, name) == 0)
            return value;
    return NULL;
}

void rh_http_escape(rh_buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || (c && strchr("-._~", c)))
            rh_buffer_add(out, &text[i], 1);
        else
            rh_buffer_addf(out, "%%%02X", c);
    }
}

/* ---- how it ends ---- */

static const char *code_of(const transfer *t, CURLcode curl)
{
    long err = 0;
    switch (curl) {
    case CURLE_URL_MALFORMAT:
        return "url";
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "dns";
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
        return err == ENETUNREACH || err == ENETDOWN || err == EADDRNOTAVAIL ? "network"
                                                                             : "connect";
    case CURLE_OPERATION_TIMEDOUT:
        return "timeout";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return "tls";
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return "reset";
    case CURLE_WRITE_ERROR:
        return t->too_large ? "body_too_large" : "protocol";
    default:
        return "protocol";
    }
}

static void add_reason(const transfer *t, const char *code, CURLcode curl, rh_buffer *out)
{
    const char *said = t->curl_said[0] ? t->curl_said : curl_easy_strerror(curl);
    long err = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
    if (strcmp(code, "body_too_large") == 0) {
        curl_off_t announced = -1;
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
        rh_buffer_addf(out, "the answer is larger than %zu bytes", t->max_body);
        if (announced > 0)
            rh_buffer_addf(out, " (it announces %lld)", (long long)announced);
        rh_buffer_adds(out, "; if that is right, raise max_body");
        return;
    }
    rh_buffer_adds(out, said);
    if (strcmp(code, "tls") == 0)
        rh_http_certificate_explain(t->certificate, out);
    else if (strcmp(code, "connect") == 0)
        rh_buffer_addf(out, " (%s); is the service running and listening there?",
                       strerror((int)err));
    else if (strcmp(code, "network") == 0)
        rh_buffer_adds(out, "; this machine has no way to that network");
    else if (strcmp(code, "dns") == 0)
        rh_buffer_adds(out, "; is the name right, and does this machine's resolver work?");
    else if (strcmp(code, "reset") == 0)
        rh_buffer_adds(out, "; the connection broke before the answer was whole");
}

static void fill_error(transfer *t, CURLcode curl)
{
    rh_buffer text = {0}, masked = {0};
    const char *code = code_of(t, curl);
    add_reason(t, code, curl, &text);
    rh_mask_text(rh_mask_process(), text.data, text.size, &masked);
    rh_fail(&t->request->op.error, code, "%s: %s", t->label, masked.data);
    rh_error_module(&t->request->op.error, "http");
    rh_error_detail(&t->request->op.error, rh_format("{\"curl\":%d}", (int)curl));
    rh_buffer_free(&text);
    rh_buffer_free(&masked);
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *one = url_part(a, part), *other = url_part(b, part);
    bool same = one && other && strcasecmp(one, other) == 0;
    curl_free(one);
    curl_free(other);
    return same;
}

static rh_http_redirect compare_origins(const char *from, const char *to)
{
    CURLU *a = curl_url(), *b = curl_url();
    rh_http_redirect result = RH_HTTP_OTHER_ORIGIN;
    if (a && b && !curl_url_set(a, CURLUPART_URL, from, 0) &&
        !curl_url_set(b, CURLUPART_URL, to, 0)) {
        bool same = same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
        if (!same_part(a, b, CURLUPART_SCHEME))
            result =
                strncasecmp(to, "https:", 6) == 0 ? RH_HTTP_OTHER_ORIGIN : RH_HTTP_TO_CLEAR_TEXT;
        else if (same)
            result = RH_HTTP_SAME_ORIGIN;
    }
    curl_url_cleanup(a);
    curl_url_cleanup(b);
    return result;
}

static void fill_result(transfer *t)
{
    rh_http_request *request = t->request;
    long status = 0, connects = 0;
    curl_off_t us = 0, retry_after = 0;
    char *redirect = NULL, *url = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &us);
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &redirect);
    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    request->status = (int)status;
    request->reused = connects == 0;
    request->ms = (us + 500) / 1000;
    request->retry_after = retry_after;
    if (redirect) {
        request->redirect = rh_strdup(redirect);
        request->redirect_to = compare_origins(url, redirect);
    }
}

static void close_delay(transfer *t)
{
    if (t->delay)
        uv_close((uv_handle_t *)t->delay, free_handle);
    t->delay = NULL;
}

static void free_transfer(transfer *t)
{
    close_delay(t);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    rh_http_certificate_release(t->certificate);
    rh_buffer_free(&t->upload);
    free(t->label);
    free(t);
}

static void end_transfer(transfer *t)
{
    rh_http_request *request = t->request;
    if (t->added)
        rh_http_multi_remove(t->easy);
    request->transfer = NULL;
    free_transfer(t);
    rh_op_done(&request->op);
}

static void finished(CURL *easy, CURLcode curl)
{
    transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    if (curl == CURLE_OK)
        fill_result(t);
    else
        fill_error(t, curl);
    end_transfer(t);
}

void rh_http_cancel(rh_op *op)
{
    transfer *t = ((rh_http_request *)op)->transfer;
    rh_fail(&op->error, "cancelled", "%s: cancelled", t->label);
    rh_error_module(&op->error, "http");
    end_transfer(t);
}

void rh_http_fini(rh_op *op)
{
    rh_http_request *request = (rh_http_request *)op;
    rh_buffer_free(&request->headers);
    rh_buffer_free(&request->body);
    free(request->redirect);
}

/* ---- how it begins ---- */

/* The URL for messages: no user, no password, and whatever is secret in it masked. */
static char *make_label(const char *method, const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *host = scheme ? scheme + 3 : url;
    size_t authority = strcspn(host, "/?#");
    for (size_t i = authority; i > 0; i--) {
        if (host[i - 1] == '@') {
            host += i;
            break;
        }
    }
    rh_buffer clear = {0}, masked = {0};
    rh_buffer_addf(&clear, "%s %.*s%s", method, scheme ? (int)(scheme + 3 - url) : 0, url, host);
    rh_mask_text(rh_mask_process(), clear.data, clear.size, &masked);
    rh_buffer_free(&clear);
    return rh_buffer_take(&masked);
}

static bool header_is_sound(const char *header)
{
    const char *colon = strchr(header, ':');
    if (!colon || colon == header || strpbrk(header, "\r\n"))
        return false;
    for (const char *c = header; c < colon; c++)
        if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
            return false;
    return true;
}

static bool add_headers(transfer *t, const rh_http_spec *spec, rh_error *error)
{
    bool typed = false;
    for (const char *const *h = spec->headers; h && *h; h++) {
        const char *header = *h;
        if (!header_is_sound(header))
            return rh_fail(error, "header",
                           "%s: header \"%.*s\" has a name or a value that cannot be sent",
                           t->label, (int)strcspn(header, ":\r\n"), header);
        typed |= strncasecmp(header, "content-type:", 13) == 0;
        const char *value = strchr(header, ':') + 1;
        if (value[strspn(value, " \t")] == '\0') { /* libcurl's way to send an empty one */
            char *empty = rh_format("%.*s;", (int)(value - 1 - header), header);
            t->headers = curl_slist_append(t->headers, empty);
            free(empty);
        } else {
            t->headers = curl_slist_append(t->headers, header);
        }
    }
    if (!typed)
        t->headers = curl_slist_append(t->headers, "Content-Type:"); /* none rather than a form's */
    t->headers =
        curl_slist_append(t->headers, "Expect:"); /* costs a second where it is not known */
    return true;
}

static void set_method(transfer *t, const rh_http_spec *spec)
{
    bool sends = strcmp(spec->method, "POST") == 0 || strcmp(spec->method, "PUT") == 0 ||
                 strcmp(spec->method, "PATCH") == 0;
    if (strcmp(spec->method, "HEAD") == 0)
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    if (spec->body || sends) {
        rh_buffer_add(&t->upload, spec->body ? spec->body : "", spec->body ? spec->body_size : 0);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->upload.data);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->upload.size);
    }
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, spec->method);
}

static void set_credentials(transfer *t, const rh_http_spec *spec)
{
    if (spec->bearer) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(t->easy, CURLOPT_XOAUTH2_BEARER, spec->bearer);
    } else if (spec->user) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, spec->user);
        curl_easy_setopt(t->easy, CURLOPT_PASSWORD, spec->password ? spec->password : "");
    }
}

static void set_options(transfer *t, const rh_http_spec *spec)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_said);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* or a request that ends while its name is being resolved waits for the resolver's thread */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "rollouthost/" RH_HOST_VERSION);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(spec->timeout_ms > 0 ? spec->timeout_ms : 0));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(spec->connect_timeout_ms > 0 ? spec->connect_timeout_ms : 10000));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, spec->once ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_received);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_received);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, tls_begins);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    if (spec->ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, spec->ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (!spec->proxy || strcmp(spec->proxy, "environment") != 0)
        curl_easy_setopt(easy, CURLOPT_PROXY, spec->proxy ? spec->proxy : "");
    if (spec->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
}

static void send_now(transfer *t)
{
    t->added = true;
    rh_http_multi_add(t->easy);
}

static void delay_over(uv_timer_t *timer)
{
    transfer *t = timer->data;
    close_delay(t);
    send_now(t);
}

static bool is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

bool rh_http_start(rh_http_request *request, const rh_http_spec *spec, rh_error *error)
{
    if (!rh_http_multi_open(finished, error))
        return false;
    transfer *t = rh_alloc(sizeof *t);
    t->request = request;
    t->label = make_label(spec->method, spec->url);
    t->max_body = spec->max_body ? spec->max_body : RH_HTTP_MAX_BODY;
    t->certificate = rh_http_certificate_new();
    t->easy = curl_easy_init();
    bool ok = t->easy ? add_headers(t, spec, error)
                      : rh_fail(error, "http", "%s: libcurl is out of memory", t->label);
    if (ok &&
        (!is_http(spec->url) || curl_easy_setopt(t->easy, CURLOPT_URL, spec->url) != CURLE_OK))
        ok = rh_fail(error, "url", "%s: this is not an http:// or https:// URL", t->label);
    if (!ok) {
        rh_error_module(error, "http");
        free_transfer(t);
        return false;
    }
    set_options(t, spec);
    set_method(t, spec);
    set_credentials(t, spec);
    request->transfer = t;
    if (spec->delay_ms > 0) {
        t->delay = rh_alloc(sizeof *t->delay);
        uv_timer_init(rh_loop(), t->delay);
        t->delay->data = t;
        uv_timer_start(t->delay, delay_over, (uint64_t)spec->delay_ms, 0);
    } else {
        send_now(t);
    }
    return true;
}

const rh_http_engine rh_http = {rh_http_start, rh_http_cancel, rh_http_fini, rh_http_header,
                                rh_http_escape};
