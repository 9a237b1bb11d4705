/* What a server's certificate said, kept aside while OpenSSL verifies it: libcurl's own message names
 * neither the date nor the names, and an operator needs them to act. */
#ifndef RH_MODULES_HTTP_TLS_H
#define RH_MODULES_HTTP_TLS_H

#include "core/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Shared by the request and the connection's SSL_CTX, which may outlive it; the last one frees it. */
typedef struct rh_http_certificate {
    unsigned owners;
    bool seen;
    bool alone;    /* the server sent no certificate but its own */
    int error;     /* X509_V_… of the verification */
    char *subject; /* of the certificate that failed, else of the server's */
    char *issuer;
    char *names;        /* host names the server's certificate is for: "a, b" */
    int64_t not_before; /* seconds since 1970, of the one that failed, else of the server's */
    int64_t not_after;
    rh_buffer
        chain; /* of the verified chain, the server's first: subject NUL issuer NUL not_after NUL … */
} rh_http_certificate;

rh_http_certificate *rh_http_certificate_new(void);
void rh_http_certificate_release(rh_http_certificate *certificate);
/* Hooks it into an SSL_CTX (of libcurl's CURLOPT_SSL_CTX_FUNCTION): it takes an ownership of its own.
 * Verification stays OpenSSL's. False: out of memory. */
bool rh_http_certificate_watch(rh_http_certificate *certificate, void *ssl_ctx);
/* Appends "; …": why it was refused and what to do, as far as the certificate tells. */
void rh_http_certificate_explain(const rh_http_certificate *certificate, rh_buffer *out);

#endif
