/* The HTTP engine: requests on libcurl's multi interface, driven by the host's loop. Nothing in here
 * blocks (names are resolved in threads) and no callback touches Lua.
 *
 * One request is one rh_http_request, an rh_op. It owns what it received; rh_http_fini() frees it. An
 * answer of any status is a result; op.error is set where there is no (whole) answer:
 *   url · dns · network (this machine has no route) · connect · tls · timeout · reset (the connection
 *   broke before the answer was whole) · body_too_large · protocol (not HTTP, or an encoding that does
 *   not decode) · header · cancelled · io, changed (a file that is sent or received) · checksum ·
 *   private_address
 * Messages name method and URL; both they and the URL are masked. */
#ifndef RH_MODULES_HTTP_H
#define RH_MODULES_HTTP_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RH_HTTP_MAX_BODY = 8 * 1024 * 1024, RH_HTTP_MAX_HEADERS = 256 * 1024 };

/* AWS Signature Version 4, of the payload's SHA-256 too. The URL's path and query must be encoded as S3 has
 * it, the query sorted: libcurl signs them as they are. */
typedef struct rh_http_aws {
    const char *access_key;
    const char *secret_key;
    const char *session_token; /* or NULL */
    const char *region;
    const char *service; /* "s3" */
} rh_http_aws;

/* A part of a multipart form: a text, or a file. */
typedef struct rh_http_part {
    const char *name;
    const char *text; /* NULL: `file` is sent */
    size_t size;
    const char *file, *filename; /* filename: what the server is told */
    const char *type;            /* or NULL */
} rh_http_part;

/* Takes the next bytes of an answer's body; false: not now, they come again after rh_http_go_on(). `bytes` is
 * NULL at the end, however it came about, once the request says what became of it. */
typedef bool (*rh_http_receive)(void *data, const char *bytes, size_t size);

/* What to send. Everything is copied by rh_http_start(). */
typedef struct rh_http_spec {
    const char *method;         /* "GET"; upper case */
    const char *url;            /* http or https */
    const char *unix_socket;    /* connect there instead of to the URL's host; NULL: no */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */

    /* At most one of these three is sent. */
    const void *body; /* NULL: none */
    size_t body_size;
    const char *file;               /* never all of it in memory; NULL: none */
    int64_t file_offset, file_size; /* the part of it that is sent; size < 0: to its end */
    const rh_http_part *parts;      /* multipart/form-data */
    size_t parts_count;

    /* Where the body of a 2xx goes instead of to request->body. */
    const char *to;          /* into this file, whole or not at all; or NULL */
    const char *to_mark;     /* in the name of what becomes that file (file.h), or NULL */
    int to_mode;             /* of that file; < 0: of the one it replaces, else 0644 */
    bool digest;             /* without `to`: it is hashed and dropped */
    const char *sha256;      /* what its digest must be (hex), or NULL: code "checksum" */
    rh_http_receive receive; /* it is handed there, as it comes; or NULL */
    void *receive_data;

    /* After `body`, once the answer has begun, and then the sending half of the connection is closed: for a server that takes
     * the connection over. Takes a new connection. A server that wants no more of it, and closes, has answered. NULL: none. */
    const void *input;
    size_t input_size;

    const char *bearer;      /* a token, or NULL */
    const char *user;        /* HTTP basic, or NULL */
    const char *password;    /* with user */
    const rh_http_aws *aws;  /* or NULL */
    struct rh_http_jar *jar; /* cookies (jar.h), which is retained; or NULL: none */

    const char *ca; /* PEM file of authorities instead of the system's, or NULL */
    const char *certificate_file, *key_file; /* PEM files: who we are; or NULL */
    const char *proxy;                       /* URL, "environment", or NULL: none */
    bool public_only;           /* connect to no private address: code "private_address" */
    bool certificate;           /* tell of the server's certificate: takes a new connection */
    const char *progress;       /* key of a step that is told how many bytes have gone; or NULL */
    int64_t timeout_ms;         /* for the whole request; <= 0: none but the task's */
    int64_t connect_timeout_ms; /* <= 0: 10 s */
    int64_t stall_ms;           /* not one byte for so long ends it with "timeout"; <= 0: it may */
    size_t max_body;            /* bytes, after decompression; 0: RH_HTTP_MAX_BODY */
    bool once; /* must not be sent twice: takes a new connection, since libcurl repeats a request by
                  itself when a kept connection turns out to be dead */
} rh_http_spec;

/* Whether a redirect may get what the first request carried. */
typedef enum { RH_HTTP_SAME_ORIGIN, RH_HTTP_OTHER_ORIGIN, RH_HTTP_TO_CLEAR_TEXT } rh_http_redirect;

/* A request under way; embed or use it as the op. */
typedef struct rh_http_request {
    rh_op op;
    int status;
    rh_buffer headers; /* name NUL value NUL …, names in lower case; see rh_http_header() */
    rh_buffer body;
    char *redirect; /* where a 3xx points to, absolute; or NULL */
    rh_http_redirect redirect_to;
    int64_t retry_after; /* seconds, from Retry-After; 0: none */
    int64_t ms;          /* from sending to the end of the body */
    int64_t sent,
        received; /* bytes of `file`, if all of it was sent; of what went to `to` or was hashed */
    char sent_sha256[65], sha256[65];        /* their SHA-256 in hex, or "" */
    struct rh_http_certificate *certificate; /* tls.h; NULL: not asked for, or no TLS */
    bool private_peer;                       /* the address that answered is no public one */
    bool reused;                             /* went over a kept connection */
    struct rh_http_transfer *transfer;
} rh_http_request;

/* Starts. False: the spec cannot be sent (codes "url", "header"), *error says why and the request is
 * untouched: rh_op_discard() it. */
bool rh_http_start(rh_http_request *request, const rh_http_spec *spec, rh_error *error);
void rh_http_cancel(rh_op *op); /* for the class: at once, with code "cancelled" */
void rh_http_fini(rh_op *op);   /* for the class */
/* `receive` has room again. Does nothing after the end. */
void rh_http_go_on(rh_http_request *request);

/* The value of a header (name in lower case), valid while the request lives, or NULL. */
const char *rh_http_header(const rh_http_request *request, const char *name);
/* Iterates over the headers in the order received: *position starts at 0. False at the end. */
bool rh_http_header_next(const rh_http_request *request, size_t *position, const char **name,
                         const char **value);
/* Appends the bytes percent-encoded for a query or a form. */
void rh_http_escape(rh_buffer *out, const char *text, size_t size);
/* Closes the kept connections. Does nothing while a request is under way. */
void rh_http_close(void);

/* What a module that builds on this one gets as its `engine` (core/module.h). */
typedef struct rh_http_engine {
    bool (*start)(rh_http_request *request, const rh_http_spec *spec, rh_error *error);
    void (*cancel)(rh_op *op);
    void (*fini)(rh_op *op);
    const char *(*header)(const rh_http_request *request, const char *name);
    void (*escape)(rh_buffer *out, const char *text, size_t size);
    void (*go_on)(rh_http_request *request);
} rh_http_engine;

extern const rh_http_engine rh_http;

#endif
