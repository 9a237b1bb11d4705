/* One transfer of libcurl's, from rh_http_start() to its end: what the engine's files share.
 *   http.c    begins and ends it     send.c    what is sent     answer.c    what comes back
 *   progress.c  how far it is */
#ifndef RH_MODULES_HTTP_TRANSFER_H
#define RH_MODULES_HTTP_TRANSFER_H

#include "http.h"

#include "file.h"
#include "jar.h"
#include "tls.h"

#include <curl/curl.h>
#include <uv.h>

/* A file that is a part of a form. */
typedef struct rh_http_part_file {
    struct rh_http_transfer *transfer;
    rh_http_file *file;
} rh_http_part_file;

typedef struct rh_http_transfer {
    CURL *easy;
    rh_http_request *request;
    struct curl_slist *headers;
    rh_http_certificate *certificate;
    rh_buffer upload;
    rh_buffer input; /* what follows the body once the answer has begun, if has_input */
    size_t taken;    /* of both */
    bool has_input, hung_up;
    int answered; /* the status that the answer began with, or 0 */
    int socket;
    rh_http_file *source; /* a file that is sent, or NULL */
    curl_mime *form;
    rh_http_part_file *part_files;
    size_t part_files_count;
    rh_http_jar *jar;
    rh_http_file *sink;      /* where the answer goes, or NULL: request->body */
    rh_http_receive receive; /* or there, or NULL */
    void *receive_data;
    char sha256[RH_SHA256_HEX];
    char *progress;                 /* key of the step that hears of it, or NULL */
    int64_t told_us, before, whole; /* before: bytes of the file that other requests send */
    char *label;                    /* "GET https://…", masked, for messages */
    size_t max_body;
    bool too_large, headers_too_large;
    char refused[64]; /* the private address that was not connected to */
    bool tells_certificate;
    bool signs; /* AWS SigV4 */
    bool added; /* to the multi handle */
    char curl_said[CURL_ERROR_SIZE];
} rh_http_transfer;

/* http.c: one that is set up but not begun, or NULL: the spec cannot be sent, *error says why. */
rh_http_transfer *rh_http_transfer_new(rh_http_request *request, const rh_http_spec *spec,
                                       rh_error *error);
void rh_http_transfer_free(rh_http_transfer *t);

/* send.c: method, body, headers, credentials. False: *error says why it cannot be sent. */
bool rh_http_set_request(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error);
/* send.c: the signature's last part, once the hash of what is sent is known (hex). */
void rh_http_set_headers(rh_http_transfer *t, const char *sha256);
/* send.c: the answer has begun, with that status. Called within libcurl's callbacks. */
void rh_http_input_answered(rh_http_transfer *t, int status);
/* send.c: whether a transfer that ended so has answered all the same: the server wanted no more of the input. */
bool rh_http_input_refused(const rh_http_transfer *t, CURLcode curl);

/* progress.c: says how far it is, as an ephemeral event, 4 times a second. */
void rh_http_set_progress(rh_http_transfer *t, const rh_http_spec *spec);

/* answer.c: takes in what the server sends, and says how it ended. */
void rh_http_set_answer(rh_http_transfer *t);
void rh_http_fill_result(rh_http_transfer *t);
void rh_http_fill_error(rh_http_transfer *t, CURLcode curl);
const char *rh_http_code(const rh_http_transfer *t, CURLcode curl); /* "connect", "timeout", … */
/* The same of a connection that did not come about, or NULL: it did. */
const char *rh_http_connection_code(CURL *easy, CURLcode curl);

#endif
