/* A message handed to a mail server, by libcurl's SMTP. A rh_mail is an rh_op.
 *
 * Errors: usage · dns · network · connect · tls (also: no STARTTLS where it is wanted) · timeout · reset (whether the message
 * was taken is not known) · access_denied · later (4xx: it may take it another time) · refused (5xx) · protocol · cancelled. */
#ifndef RH_MODULES_HTTP_MAIL_H
#define RH_MODULES_HTTP_MAIL_H

#include "core/buffer.h"
#include "core/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything is copied by rh_mail_start(). */
typedef struct rh_mail_spec {
    const char *
        url; /* "smtp://host:587/name" or "smtps://host:465/name": `name` is whom the client says it is */
    bool clear;                  /* no STARTTLS; else it is demanded */
    const char *user, *password; /* or NULL */
    const char *bearer;          /* an OAuth 2 token instead of the password, or NULL */
    const char *ca;              /* PEM file of authorities instead of the system's, or NULL */
    const char *from;            /* the envelope's: "a@example.com" */
    const char *const *to;       /* NULL-terminated; all are taken, or the message is not sent */
    const char *message;         /* headers and body, lines ended by CRLF */
    size_t size;
    int64_t timeout_ms; /* <= 0: 30 s */
} rh_mail_spec;

typedef struct rh_mail {
    rh_op op;
    char *said; /* the server's last line: "250 2.0.0 Ok: queued as 4D1" */
    struct rh_mail_transfer *transfer;
} rh_mail;

/* Starts. False: the spec cannot be sent, *error says why. */
bool rh_mail_start(rh_mail *mail, const rh_mail_spec *spec, rh_error *error);
void rh_mail_cancel(rh_op *op); /* for the class: at once */
void rh_mail_fini(rh_op *op);   /* for the class */
/* Closes what is kept. Does nothing while a message is under way. */
void rh_mail_close(void);

#endif
