/* What a server sends, and what is made of it: a result, or an error that says what to do. */
#include "address.h"
#include "transfer.h"

#include "core/mask.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- as it comes ---- */

/* Only what was asked for goes into a file: an error's text is for a person. */
static bool is_wanted(const rh_http_transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
}

static size_t body_received(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    rh_http_transfer *t = data;
    if (t->sink && is_wanted(t)) {
        int64_t given = rh_http_file_give(t->sink, bytes, size);
        return given == RH_HTTP_LATER ? CURL_WRITEFUNC_PAUSE : given < 0 ? 0 : (size_t)given;
    }
    if (t->receive && is_wanted(t))
        return t->receive(t->receive_data, bytes, size) ? size : CURL_WRITEFUNC_PAUSE;
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
    rh_http_transfer *t = data;
    rh_buffer *headers = &t->request->headers;
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0) { /* a 100 may have come before */
        rh_buffer_clear(headers);
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        if (t->has_input && status >= 200)
            rh_http_input_answered(t, (int)status);
        return size;
    }
    const char *colon = memchr(line, ':', size);
    if (!colon)
        return size;
    if (t->jar && size > 11 && strncasecmp(line, "set-cookie:", 11) == 0)
        rh_http_jar_mask(line + 11, size - 11);
    if (headers->size + size > RH_HTTP_MAX_HEADERS) {
        t->too_large = t->headers_too_large = true;
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

/* ---- how it ends ---- */

const char *rh_http_connection_code(CURL *easy, CURLcode curl)
{
    long err = 0;
    switch (curl) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "dns";
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &err);
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
    default:
        return NULL;
    }
}

/* What the proxy answered instead of leading to the server, which has heard nothing then; 0: it is not its fault. */
static long refused_by_proxy(const rh_http_transfer *t, CURLcode curl)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    return curl != CURLE_RECV_ERROR || (status >= 200 && status < 300) ? 0 : status;
}

const char *rh_http_code(const rh_http_transfer *t, CURLcode curl)
{
    if (curl == CURLE_COULDNT_CONNECT && t->refused[0])
        return "private_address";
    if (refused_by_proxy(t, curl))
        return "network";
    const char *code = rh_http_connection_code(t->easy, curl);
    if (code)
        return code;
    switch (curl) {
    case CURLE_URL_MALFORMAT:
        return "url";
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

static void add_reason(const rh_http_transfer *t, const char *code, CURLcode curl, rh_buffer *out)
{
    const char *said = t->curl_said[0] ? t->curl_said : curl_easy_strerror(curl);
    long err = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
    if (t->headers_too_large) {
        rh_buffer_addf(out, "the answer's headers are larger than %d bytes", RH_HTTP_MAX_HEADERS);
        return;
    }
    if (strcmp(code, "body_too_large") == 0) {
        curl_off_t announced = -1;
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
        rh_buffer_addf(out, "the answer is larger than %zu bytes", t->max_body);
        if (announced > 0)
            rh_buffer_addf(out, " (it announces %lld)", (long long)announced);
        rh_buffer_adds(out, "; if that is right, raise max_body");
        return;
    }
    if (strcmp(code, "private_address") == 0) {
        rh_buffer_addf(out, "it is at %s, which is no public address; not connected", t->refused);
        return;
    }
    long refused = refused_by_proxy(t, curl);
    if (refused) {
        rh_buffer_addf(out, "the proxy answered %ld and did not lead there%s", refused,
                       refused == 407 ? ": it wants a user and a password that it knows" : "");
        return;
    }
    if (curl == CURLE_OUT_OF_MEMORY) { /* what libcurl calls both */
        rh_buffer_adds(
            out, "a line of the answer's headers is longer than 100 KiB, or memory is used up");
        return;
    }
    rh_buffer_adds(out, said);
    if (curl == CURLE_SSL_CERTPROBLEM)
        rh_buffer_adds(out,
                       "; it has to be a PEM file, readable here, and a key without a pass phrase");
    else if (strcmp(code, "tls") == 0)
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

/* The one of those that are sent that could not be read. */
static rh_http_file *broken_source(const rh_http_transfer *t)
{
    for (size_t i = 0; i < t->part_files_count; i++)
        if (rh_error_is_set(rh_http_file_error(t->part_files[i].file)))
            return t->part_files[i].file;
    return t->source;
}

static void fill_file_error(rh_http_transfer *t, rh_http_file *file)
{
    rh_error *why = rh_http_file_error(file);
    rh_fail(&t->request->op.error, why->code, "%s: %s", t->label, why->message);
    rh_error_module(&t->request->op.error, "http");
}

void rh_http_fill_error(rh_http_transfer *t, CURLcode curl)
{
    rh_http_file *broken = curl == CURLE_ABORTED_BY_CALLBACK ? broken_source(t) : t->sink;
    if (broken && rh_error_is_set(rh_http_file_error(broken))) {
        fill_file_error(t, broken);
        return;
    }
    rh_buffer text = {0}, masked = {0};
    const char *code = rh_http_code(t, curl);
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

void rh_http_fill_result(rh_http_transfer *t)
{
    rh_http_request *request = t->request;
    long status = 0, connects = 0;
    curl_off_t us = 0, retry_after = 0;
    char *redirect = NULL, *url = NULL, *peer = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &us);
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &redirect);
    curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
    curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &peer);
    request->private_peer = !peer || rh_http_text_is_private(peer);
    request->status = (int)status;
    request->reused = connects == 0;
    request->ms = (us + 500) / 1000;
    request->retry_after = retry_after;
    if (t->source && rh_http_source_is_sent(t->source)) {
        request->sent = rh_http_file_bytes(t->source);
        rh_http_file_digest(t->source, request->sent_sha256);
    }
    if (t->tells_certificate && t->certificate->seen) {
        t->certificate->owners++;
        request->certificate = t->certificate;
    }
    if (redirect) {
        request->redirect = rh_strdup(redirect);
        request->redirect_to = compare_origins(url, redirect);
    }
}

/* ---- the handle's options ---- */

static CURLcode tls_begins(CURL *easy, void *ssl_ctx, void *data)
{
    (void)easy;
    rh_http_transfer *t = data;
    return rh_http_certificate_watch(t->certificate, ssl_ctx) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

void rh_http_set_answer(rh_http_transfer *t)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_said);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_received);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_received);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, tls_begins);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    /* A file is kept and hashed byte for byte, as it lies there. */
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, t->sink ? NULL : "");
}
