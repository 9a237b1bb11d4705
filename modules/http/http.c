#include "http.h"

#include "address.h"
#include "core/loop.h"
#include "core/mask.h"
#include "core/module.h"
#include "multi.h"
#include "transfer.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef rh_http_transfer transfer;

static rh_http_multi *shared; /* of all requests, so that connections are used again */

/* ---- how it ends ---- */

void rh_http_transfer_free(transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    rh_http_certificate_release(t->certificate);
    curl_mime_free(t->form);
    for (size_t i = 0; i < t->part_files_count; i++)
        rh_http_file_close(t->part_files[i].file);
    free(t->part_files);
    rh_http_jar_release(t->jar);
    rh_http_file_close(t->source);
    rh_http_file_close(t->sink);
    rh_buffer_free(&t->upload);
    if (t->has_input) /* which may be secret */
        explicit_bzero(t->input.data, t->input.size);
    rh_buffer_free(&t->input);
    free(t->progress);
    free(t->label);
    free(t);
}

static void leave_multi(transfer *t)
{
    if (t->added)
        rh_http_multi_remove(shared, t->easy);
    t->added = false;
}

static void end_transfer(transfer *t)
{
    rh_http_request *request = t->request;
    leave_multi(t);
    request->transfer = NULL;
    if (t->receive)
        t->receive(t->receive_data, NULL, 0);
    rh_http_transfer_free(t);
    rh_op_done(&request->op);
}

static void sink_finished(void *data)
{
    transfer *t = data;
    rh_http_request *request = t->request;
    if (rh_error_is_set(rh_http_file_error(t->sink)))
        rh_http_fill_error(t, CURLE_OK);
    request->received = rh_http_file_bytes(t->sink);
    rh_http_file_digest(t->sink, request->sha256);
    end_transfer(t);
}

static void finished(CURL *easy, CURLcode curl)
{
    transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    if (rh_http_input_refused(t, curl)) {
        curl = CURLE_OK;
    } else if (t->hung_up) {
        curl = CURLE_GOT_NOTHING;
        t->curl_said[0] = '\0';
    }
    if (curl == CURLE_OK)
        rh_http_fill_result(t);
    else
        rh_http_fill_error(t, curl);
    int status = t->request->status;
    if (t->sink && curl == CURLE_OK && status >= 200 && status < 300) {
        leave_multi(t);
        rh_http_file_finish(t->sink, t->sha256[0] ? t->sha256 : NULL, sink_finished);
    } else {
        end_transfer(t);
    }
}

void rh_http_cancel(rh_op *op)
{
    transfer *t = ((rh_http_request *)op)->transfer;
    rh_fail(&op->error, "cancelled", "%s: cancelled", t->label);
    rh_error_module(&op->error, "http");
    end_transfer(t);
}

void rh_http_go_on(rh_http_request *request)
{
    if (request->transfer)
        rh_http_multi_go_on(request->transfer->easy);
}

void rh_http_fini(rh_op *op)
{
    rh_http_request *request = (rh_http_request *)op;
    rh_buffer_free(&request->headers);
    rh_buffer_free(&request->body);
    free(request->redirect);
    rh_http_certificate_release(request->certificate);
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

static void set_options(transfer *t, const rh_http_spec *spec)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* or a request that ends while its name is being resolved waits for the resolver's thread */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "rollouthost/" RH_HOST_VERSION);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(spec->timeout_ms > 0 ? spec->timeout_ms : 0));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(spec->connect_timeout_ms > 0 ? spec->connect_timeout_ms : 10000));
    if (spec->stall_ms > 0) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((spec->stall_ms + 999) / 1000));
    }
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, spec->once || spec->certificate ? 1L : 0L);
    /* a resumed session is not verified again, and shows no certificate */
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, spec->certificate ? 0L : 1L);
    t->tells_certificate = spec->certificate;
    t->receive = spec->receive;
    t->receive_data = spec->receive_data;
    if (spec->ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, spec->ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (spec->certificate_file) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, spec->certificate_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, spec->key_file);
        /* or OpenSSL asks for it at the terminal, and all else stands still */
        curl_easy_setopt(easy, CURLOPT_KEYPASSWD, "");
    }
    if (!spec->proxy || strcmp(spec->proxy, "environment") != 0) {
        curl_easy_setopt(easy, CURLOPT_PROXY, spec->proxy ? spec->proxy : "");
        /* or no_proxy of the environment leads past it */
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    }
    if (spec->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
}

/* After DNS, and before a byte is sent: what a name leads to is known here, and nowhere else for certain. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    transfer *t = data;
    if (purpose == CURLSOCKTYPE_IPCXN && rh_http_address_is_private(&address->addr)) {
        getnameinfo(&address->addr, address->addrlen, t->refused, sizeof t->refused, NULL, 0,
                    NI_NUMERICHOST);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void set_guard(transfer *t)
{
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L); /* a kept one has not been asked */
}

static void sink_ready(void *data)
{
    transfer *t = data;
    rh_http_multi_go_on(t->easy);
}

static bool open_sink(transfer *t, const rh_http_spec *spec, rh_error *error)
{
    if (!spec->to && !spec->digest)
        return true;
    snprintf(t->sha256, sizeof t->sha256, "%s", spec->sha256 ? spec->sha256 : "");
    t->sink = rh_http_sink(spec->to, spec->to_mark, spec->to_mode, sink_ready, t, error);
    return t->sink != NULL;
}

static void send_now(transfer *t)
{
    t->added = true;
    rh_http_multi_add(shared, t->easy);
}

static void source_hashed(void *data)
{
    transfer *t = data;
    char sha256[RH_SHA256_HEX];
    if (rh_error_is_set(rh_http_file_error(t->source))) {
        rh_http_fill_error(t, CURLE_ABORTED_BY_CALLBACK);
        end_transfer(t);
        return;
    }
    rh_http_file_digest(t->source, sha256);
    rh_http_file_rewind(t->source);
    rh_http_set_headers(t, sha256);
    send_now(t);
}

/* A signature covers the hash of what is sent. */
static void prepare(transfer *t)
{
    char sha256[RH_SHA256_HEX];
    if (t->signs && t->source) {
        rh_http_file_hash(t->source, source_hashed);
        return;
    }
    if (t->signs)
        rh_sha256_hex(t->upload.data, t->upload.size, sha256);
    rh_http_set_headers(t, sha256);
    send_now(t);
}

static bool is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

static bool set_up(transfer *t, const rh_http_spec *spec, rh_error *error)
{
    if (!t->easy)
        return rh_fail(error, "http", "%s: libcurl is out of memory", t->label);
    if (!is_http(spec->url) || curl_easy_setopt(t->easy, CURLOPT_URL, spec->url) != CURLE_OK)
        return rh_fail(error, "url", "%s: this is not an http:// or https:// URL", t->label);
    set_options(t, spec);
    if (spec->public_only)
        set_guard(t);
    if (spec->jar) {
        t->jar = spec->jar;
        rh_http_jar_retain(t->jar);
        rh_http_jar_use(t->jar, t->easy);
    }
    if (!rh_http_set_request(t, spec, error) || !open_sink(t, spec, error))
        return false;
    rh_http_set_answer(t);
    rh_http_set_progress(t, spec);
    return true;
}

rh_http_transfer *rh_http_transfer_new(rh_http_request *request, const rh_http_spec *spec,
                                       rh_error *error)
{
    transfer *t = rh_alloc(sizeof *t);
    t->request = request;
    t->label = make_label(spec->method, spec->url);
    t->max_body = spec->max_body ? spec->max_body : RH_HTTP_MAX_BODY;
    t->certificate = rh_http_certificate_new();
    t->easy = curl_easy_init();
    if (set_up(t, spec, error))
        return t;
    rh_error_module(error, "http");
    rh_http_transfer_free(t);
    return NULL;
}

bool rh_http_start(rh_http_request *request, const rh_http_spec *spec, rh_error *error)
{
    if (!shared && !(shared = rh_http_multi_new(32, finished, error)))
        return false;
    transfer *t = rh_http_transfer_new(request, spec, error);
    if (!t)
        return false;
    request->transfer = t;
    prepare(t);
    return true;
}

void rh_http_close(void)
{
    if (!shared || !rh_http_multi_idle(shared))
        return;
    rh_http_multi_free(shared);
    shared = NULL;
}

const rh_http_engine rh_http = {rh_http_start,  rh_http_cancel, rh_http_fini,
                                rh_http_header, rh_http_escape, rh_http_go_on};
