#include "mail.h"

#include "multi.h"
#include "tls.h"
#include "transfer.h"

#include "core/loop.h"
#include "core/mask.h"

#include <stdlib.h>
#include <string.h>

typedef struct rh_mail_transfer {
    CURL *easy;
    rh_mail *mail;
    struct curl_slist *to;
    rh_http_certificate *certificate;
    rh_buffer message;
    size_t sent; /* of the message */
    bool added;  /* to the multi handle */
    char *label; /* "mail by host:port" */
    char curl_said[CURL_ERROR_SIZE];
} transfer;

static rh_http_multi *mailing;

static void free_transfer(transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->to);
    rh_http_certificate_release(t->certificate);
    rh_buffer_free(&t->message);
    free(t->label);
    free(t);
}

static void end(transfer *t)
{
    rh_mail *mail = t->mail;
    if (t->added)
        rh_http_multi_remove(mailing, t->easy);
    mail->transfer = NULL;
    free_transfer(t);
    rh_op_done(&mail->op);
}

/* ---- how it ends ---- */

static const char *code_of(const transfer *t, CURLcode curl, long status)
{
    const char *code = rh_http_connection_code(t->easy, curl);
    if (code)
        return code;
    if (curl == CURLE_USE_SSL_FAILED)
        return "tls";
    if (curl == CURLE_LOGIN_DENIED)
        return "access_denied";
    if (status >= 400 && status < 600)
        return status < 500 ? "later" : "refused";
    return curl == CURLE_SEND_ERROR || curl == CURLE_RECV_ERROR || curl == CURLE_GOT_NOTHING
               ? "reset"
               : "protocol";
}

static const char *hint_of(const char *code, CURLcode curl)
{
    if (curl == CURLE_USE_SSL_FAILED)
        return "; it offers no TLS: another port, or tls = \"none\" where the way there is trusted";
    if (strcmp(code, "access_denied") == 0)
        return "; are user and password right, and does it let them in this way?";
    if (strcmp(code, "connect") == 0)
        return "; is a mail server listening there?";
    if (strcmp(code, "reset") == 0)
        return "; whether the message was taken is not known";
    return "";
}

static void fill_error(transfer *t, CURLcode curl)
{
    long status = 0;
    rh_buffer text = {0}, masked = {0};
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    const char *code = code_of(t, curl, status);
    rh_buffer_adds(&text, t->curl_said[0] ? t->curl_said : curl_easy_strerror(curl));
    if (t->mail->said && status >= 400)
        rh_buffer_addf(&text, " (%s)", t->mail->said);
    if (strcmp(code, "tls") == 0)
        rh_http_certificate_explain(t->certificate, &text);
    rh_buffer_adds(&text, hint_of(code, curl));
    rh_mask_text(rh_mask_process(), text.data, text.size, &masked);
    rh_fail(&t->mail->op.error, code, "%s: %s", t->label, masked.data);
    rh_error_module(&t->mail->op.error, "email");
    rh_buffer_free(&text);
    rh_buffer_free(&masked);
}

static void finished(CURL *easy, CURLcode curl)
{
    transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    if (curl != CURLE_OK)
        fill_error(t, curl);
    end(t);
}

void rh_mail_cancel(rh_op *op)
{
    transfer *t = ((rh_mail *)op)->transfer;
    rh_fail(&op->error, "cancelled", "%s: cancelled", t->label);
    rh_error_module(&op->error, "email");
    end(t);
}

void rh_mail_fini(rh_op *op) { free(((rh_mail *)op)->said); }

/* ---- what goes and comes ---- */

static size_t take(char *bytes, size_t one, size_t room, void *data)
{
    transfer *t = data;
    size_t left = t->message.size - t->sent, size = one * room < left ? one * room : left;
    memcpy(bytes, t->message.data + t->sent, size);
    t->sent += size;
    return size;
}

/* libcurl gives each line that the server says as if it were a header; the last is its goodbye. */
static size_t line_came(char *line, size_t one, size_t count, void *data)
{
    rh_mail *mail = ((transfer *)data)->mail;
    size_t size = one * count;
    if (size >= 3 && memcmp(line, "221", 3) == 0)
        return size;
    while (size > 0 && strchr("\r\n", line[size - 1]))
        size--;
    free(mail->said);
    mail->said = rh_strndup(line, size);
    return one * count;
}

static CURLcode tls_begins(CURL *easy, void *ssl_ctx, void *data)
{
    (void)easy;
    transfer *t = data;
    return rh_http_certificate_watch(t->certificate, ssl_ctx) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

/* ---- how it begins ---- */

static void set_login(transfer *t, const rh_mail_spec *spec)
{
    if (spec->user)
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, spec->user);
    if (spec->bearer)
        curl_easy_setopt(t->easy, CURLOPT_XOAUTH2_BEARER, spec->bearer);
    else if (spec->password)
        curl_easy_setopt(t->easy, CURLOPT_PASSWORD, spec->password);
}

static void set_tls(transfer *t, const rh_mail_spec *spec)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_USE_SSL, (long)(spec->clear ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, tls_begins);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    if (spec->ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, spec->ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
}

static void set_message(transfer *t, const rh_mail_spec *spec)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_MAIL_FROM, spec->from);
    for (const char *const *to = spec->to; *to; to++)
        t->to = curl_slist_append(t->to, *to);
    curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, t->to);
    rh_buffer_add(&t->message, spec->message, spec->size);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_READDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, line_came);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
}

static bool set_up(transfer *t, const rh_mail_spec *spec, rh_error *error)
{
    CURL *easy = t->easy;
    if (!easy)
        return rh_fail(error, "http", "%s: libcurl is out of memory", t->label);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    if (curl_easy_setopt(easy, CURLOPT_URL, spec->url) != CURLE_OK)
        return rh_fail(error, "usage", "%s: this is not an smtp:// or smtps:// URL", t->label);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_said);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     (long)(spec->timeout_ms > 0 ? spec->timeout_ms : 30000));
    set_login(t, spec);
    set_tls(t, spec);
    set_message(t, spec);
    return true;
}

static char *label_of(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *host = scheme ? scheme + 3 : url;
    const char *end = host + strcspn(host, "/?#"), *at = host;
    for (; at < end; at++)
        if (*at == '@')
            host = at + 1;
    return rh_format("mail by %.*s", (int)(end - host), host);
}

static void send_now(transfer *t)
{
    t->added = true;
    rh_http_multi_add(mailing, t->easy);
}

bool rh_mail_start(rh_mail *mail, const rh_mail_spec *spec, rh_error *error)
{
    if (!mailing && !(mailing = rh_http_multi_new(1, finished, error)))
        return false;
    transfer *t = rh_alloc(sizeof *t);
    t->mail = mail;
    t->label = label_of(spec->url);
    t->certificate = rh_http_certificate_new();
    t->easy = curl_easy_init();
    if (!set_up(t, spec, error)) {
        rh_error_module(error, "email");
        free_transfer(t);
        return false;
    }
    mail->transfer = t;
    send_now(t);
    return true;
}

void rh_mail_close(void)
{
    if (!mailing || !rh_http_multi_idle(mailing))
        return;
    rh_http_multi_free(mailing);
    mailing = NULL;
}
