#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

struct rh_redis_tls {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

void rh_redis_tls_free(rh_redis_tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->ctx);
    free(tls);
}

static const char *said(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "OpenSSL gives no reason";
}

static bool trust(SSL_CTX *ctx, const char *ca, rh_error *error)
{
    if (ca && SSL_CTX_load_verify_file(ctx, ca) != 1)
        return rh_fail(error, "tls", "the authorities in %s cannot be read (%s)", ca, said());
    if (!ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return rh_fail(error, "tls", "the system's authorities cannot be read (%s)", said());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 ||
           rh_fail(error, "tls", "OpenSSL refuses TLS 1.2 (%s)", said());
}

static bool expect_host(SSL *ssl, const char *host, rh_error *error)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool is_address =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    int ok = is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                        : SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
    return ok == 1 || rh_fail(error, "tls", "%s is no name that a certificate can have", host);
}

rh_redis_tls *rh_redis_tls_new(const char *host, const char *ca, rh_error *error)
{
    rh_redis_tls *tls = rh_alloc(sizeof *tls);
    ERR_clear_error();
    tls->ctx = SSL_CTX_new(TLS_client_method());
    if (!tls->ctx)
        rh_fail(error, "tls", "OpenSSL cannot be initialised (%s)", said());
    else if (trust(tls->ctx, ca, error)) {
        tls->ssl = SSL_new(tls->ctx);
        if (!tls->ssl)
            rh_fail(error, "tls", "OpenSSL makes no connection (%s)", said());
    }
    if (!tls->ssl || !expect_host(tls->ssl, host, error)) {
        rh_redis_tls_free(tls);
        return NULL;
    }
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    return tls;
}

void rh_redis_tls_take(rh_redis_tls *tls, const char *bytes, size_t size)
{
    BIO_write(tls->in, bytes, (int)size);
}

int rh_redis_tls_shake(rh_redis_tls *tls, rh_error *error)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1)
        return 1;
    int why = SSL_get_error(tls->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    long verdict = SSL_get_verify_result(tls->ssl);
    if (verdict != X509_V_OK)
        rh_fail(
            error, "tls",
            "its certificate is refused: %s; `ca` names a file of authorities other than the system's",
            X509_verify_cert_error_string(verdict));
    else
        rh_fail(error, "tls", "no TLS came about (%s): is TLS spoken at that port?", said());
    return -1;
}

void rh_redis_tls_say(rh_redis_tls *tls, const char *bytes, size_t size)
{
    SSL_write(tls->ssl, bytes, (int)size); /* into memory: never in part */
}

int rh_redis_tls_hear(rh_redis_tls *tls, char *bytes, size_t room, rh_error *error)
{
    ERR_clear_error();
    int size = SSL_read(tls->ssl, bytes, (int)room);
    if (size > 0)
        return size;
    int why = SSL_get_error(tls->ssl, size);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    if (why == SSL_ERROR_ZERO_RETURN)
        rh_fail(error, "reset", "it closed the connection before it had answered");
    else
        rh_fail(error, "tls", "the connection broke (%s)", said());
    return -1;
}

void rh_redis_tls_give(rh_redis_tls *tls, rh_buffer *out)
{
    char bytes[4096];
    int size;
    while ((size = BIO_read(tls->out, bytes, sizeof bytes)) > 0)
        rh_buffer_add(out, bytes, (size_t)size);
}
