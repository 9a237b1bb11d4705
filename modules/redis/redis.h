/* Redis (and Valkey, KeyDB): one conversation, that is connect, log in, send some commands, take their replies, close. On
 * libuv; what is said is formatted and parsed by hiredis, and TLS is OpenSSL's, always verified (Debian's hiredis has none).
 *
 * Errors: usage · dns · network (this machine has no route) · connect · tls · timeout · reset · protocol (no Redis answers
 * there) · access_denied · refused (the log-in, for another reason) · too_large · cancelled. Messages name the host and never
 * the password. */
#ifndef RH_MODULES_REDIS_H
#define RH_MODULES_REDIS_H

#include "core/buffer.h"
#include "core/op.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RH_REDIS_MOST = 8 * 1024 * 1024 }; /* bytes of all replies */

/* Where to connect and as whom; zero is empty. The texts are owned, the password is wiped. */
typedef struct rh_redis_config {
    char *host;
    unsigned port;
    char *socket; /* instead of both */
    char *user;   /* or NULL: "default" */
    char *password;
    unsigned database;
    bool tls;
    char *ca;           /* PEM file of authorities instead of the system's, or NULL */
    int64_t timeout_ms; /* for all of it; <= 0: 10 s */
} rh_redis_config;

/* Fills an empty config from "redis[s]://[user][:password]@host[:port][/database]" or "unix:///path[?db=N]". False: *error
 * says why, without the text; clear the config all the same. */
bool rh_redis_config_parse(rh_redis_config *config, const char *url, rh_error *error);
void rh_redis_config_clear(rh_redis_config *config);
/* Appends "host:port/database". */
void rh_redis_config_display(const rh_redis_config *config, rh_buffer *out);

/* Appends a command as it is sent. */
void rh_redis_format(rh_buffer *out, size_t count, const char **words, const size_t *sizes);

typedef struct rh_redis_talk {
    rh_op op;
    redisReply **replies; /* one for each command; of type ERROR where the server says so */
    size_t count;
    struct rh_redis_conversation *conversation; /* while it is under way */
} rh_redis_talk;

/* Starts one. Takes the contents of *config and of *commands, which are `count` formatted ones, also where it returns
 * false: then *error says why it cannot be begun. */
bool rh_redis_start(rh_redis_talk *talk, rh_redis_config *config, rh_buffer *commands, size_t count,
                    rh_error *error);
void rh_redis_cancel(rh_op *op); /* for the class: at once */
void rh_redis_fini(rh_op *op);   /* for the class */

#endif
