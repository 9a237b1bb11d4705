#include "tls.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static int ctx_index = -1;
static pthread_once_t ctx_index_once = PTHREAD_ONCE_INIT;

rh_http_certificate *rh_http_certificate_new(void)
{
    rh_http_certificate *certificate = rh_alloc(sizeof *certificate);
    certificate->owners = 1;
    return certificate;
}

static void forget(rh_http_certificate *certificate)
{
    free(certificate->subject);
    free(certificate->issuer);
    free(certificate->names);
    certificate->subject = certificate->issuer = certificate->names = NULL;
    rh_buffer_free(&certificate->chain);
}

void rh_http_certificate_release(rh_http_certificate *certificate)
{
    if (!certificate || --certificate->owners > 0)
        return;
    forget(certificate);
    free(certificate);
}

static void ctx_freed(void *parent, void *data, CRYPTO_EX_DATA *ex, int index, long argl,
                      void *argp)
{
    (void)parent, (void)ex, (void)index, (void)argl, (void)argp;
    rh_http_certificate_release(data);
}

static void make_index(void)
{
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, ctx_freed);
}

static char *name_text(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return NULL;
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ & ~ASN1_STRFLGS_ESC_MSB);
    char *bytes = NULL;
    long size = BIO_get_mem_data(bio, &bytes);
    char *text = size > 0 ? rh_strndup(bytes, (size_t)size) : NULL;
    BIO_free(bio);
    return text;
}

static void add_name(rh_buffer *list, const GENERAL_NAME *name)
{
    const ASN1_STRING *text = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;
    const unsigned char *bytes = ASN1_STRING_get0_data(text);
    size_t size = (size_t)ASN1_STRING_length(text);
    char address[INET6_ADDRSTRLEN];
    if (list->size)
        rh_buffer_adds(list, ", ");
    if (name->type == GEN_DNS)
        rh_buffer_add(list, bytes, size);
    else if (inet_ntop(size == 4 ? AF_INET : AF_INET6, bytes, address, sizeof address))
        rh_buffer_adds(list, address);
}

static char *host_names(X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    rh_buffer list = {0};
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        bool address = name->type == GEN_IPADD && (ASN1_STRING_length(name->d.iPAddress) == 4 ||
                                                   ASN1_STRING_length(name->d.iPAddress) == 16);
        if (name->type == GEN_DNS || address)
            add_name(&list, name);
    }
    GENERAL_NAMES_free(names);
    return rh_buffer_take(&list);
}

static int64_t seconds(const ASN1_TIME *when)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(when, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void add_link(rh_buffer *chain, const X509 *link)
{
    char *subject = name_text(X509_get_subject_name(link)),
         *issuer = name_text(X509_get_issuer_name(link));
    rh_buffer_addf(chain, "%s%c%s%c%lld%c", subject ? subject : "", 0, issuer ? issuer : "", 0,
                   (long long)seconds(X509_get0_notAfter(link)), 0);
    free(subject);
    free(issuer);
}

static int verify(X509_STORE_CTX *store, void *data)
{
    rh_http_certificate *certificate = data;
    int ok = X509_verify_cert(store);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    X509 *blamed = ok == 1 ? NULL : X509_STORE_CTX_get_current_cert(store);
    if (!blamed)
        blamed = leaf;
    if (!blamed || !leaf)
        return ok;
    forget(certificate);
    certificate->seen = true;
    certificate->alone = sk_X509_num(X509_STORE_CTX_get0_untrusted(store)) <= 1;
    certificate->error = X509_STORE_CTX_get_error(store);
    certificate->subject = name_text(X509_get_subject_name(blamed));
    certificate->issuer = name_text(X509_get_issuer_name(blamed));
    certificate->names = host_names(leaf);
    certificate->not_before = seconds(X509_get0_notBefore(blamed));
    certificate->not_after = seconds(X509_get0_notAfter(blamed));
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
    for (int i = 0; i < sk_X509_num(chain); i++)
        add_link(&certificate->chain, sk_X509_value(chain, i));
    return ok;
}

bool rh_http_certificate_watch(rh_http_certificate *certificate, void *ssl_ctx)
{
    pthread_once(&ctx_index_once, make_index);
    if (ctx_index < 0 || !SSL_CTX_set_ex_data(ssl_ctx, ctx_index, certificate))
        return false;
    certificate->owners++;
    SSL_CTX_set_cert_verify_callback(ssl_ctx, verify, certificate);
    return true;
}

static void add_date(rh_buffer *out, int64_t when)
{
    time_t t = (time_t)when;
    struct tm tm;
    char text[40];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
    rh_buffer_adds(out, text);
}

void rh_http_certificate_explain(const rh_http_certificate *certificate, rh_buffer *out)
{
    if (!certificate || !certificate->seen)
        return;
    const char *subject = certificate->subject ? certificate->subject : "(no name)";
    switch (certificate->error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        rh_buffer_addf(out, "; the certificate of %s expired on ", subject);
        add_date(out, certificate->not_after);
        rh_buffer_adds(out, ": renew it");
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        rh_buffer_addf(out, "; the certificate of %s is valid from ", subject);
        add_date(out, certificate->not_before);
        rh_buffer_adds(out, ": is a clock wrong?");
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        rh_buffer_addf(
            out,
            "; this machine does not know the authority (%s) that signed the certificate of "
            "%s: give its certificate with ca = \"file.pem\"",
            certificate->issuer ? certificate->issuer : "(no name)", subject);
        if (certificate->alone && certificate->error != X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
            rh_buffer_adds(out, ", or, if it is an intermediate one, let the server send it: it "
                                "sent its own certificate alone");
        break;
    case X509_V_OK:
        if (certificate->names)
            rh_buffer_addf(out, "; the certificate is for %s", certificate->names);
        break;
    default:
        rh_buffer_addf(out, "; the certificate of %s was refused", subject);
    }
}
