/* Where a Redis is, as a URL says it. */
#include "redis.h"

#include "core/mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void rh_redis_config_clear(rh_redis_config *config)
{
    if (config->password)
        explicit_bzero(config->password, strlen(config->password));
    free(config->host);
    free(config->socket);
    free(config->user);
    free(config->password);
    free(config->ca);
    *config = (rh_redis_config){0};
}

void rh_redis_config_display(const rh_redis_config *config, rh_buffer *out)
{
    if (config->socket)
        rh_buffer_adds(out, config->socket);
    else
        rh_buffer_addf(out, strchr(config->host, ':') ? "[%s]:%u" : "%s:%u", config->host,
                       config->port);
    if (config->database)
        rh_buffer_addf(out, "/%u", config->database);
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10
                                        : -1;
}

/* NULL: a broken or forbidden (%00) escape. */
static char *decoded(const char *from, size_t size)
{
    char *text = rh_alloc(size + 1), *to = text;
    for (const char *end = from + size; from < end; from++) {
        int high = *from == '%' && end - from > 2 ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (*from != '%') {
            *to++ = *from;
        } else if (low < 0 || high + low == 0) {
            explicit_bzero(text, size);
            free(text);
            return NULL;
        } else {
            *to++ = (char)(high * 16 + low);
            from += 2;
        }
    }
    return text;
}

static bool set_text(char **field, const char *from, size_t size, const char *what, rh_error *error)
{
    *field = decoded(from, size);
    return *field ||
           rh_fail(error, "usage", "redis: the %s in the URL has a broken %%-escape", what);
}

static bool set_number(unsigned *field, const char *from, size_t size, unsigned most,
                       const char *what, rh_error *error)
{
    unsigned number = 0;
    for (size_t i = 0; i < size; i++) {
        number = number * 10 + (unsigned)(from[i] - '0');
        if (!isdigit((unsigned char)from[i]) || number > most)
            return rh_fail(error, "usage", "redis: the %s in the URL is no number up to %u", what,
                           most);
    }
    *field = number;
    return true;
}

static bool set_login(rh_redis_config *config, const char *from, size_t size, rh_error *error)
{
    const char *colon = memchr(from, ':', size);
    size_t user = colon ? (size_t)(colon - from) : size;
    if (user > 0 && !set_text(&config->user, from, user, "user", error))
        return false;
    if (!colon || user + 1 == size)
        return true;
    if (!set_text(&config->password, colon + 1, size - user - 1, "password", error))
        return false;
    rh_mask_add(rh_mask_process(), "Redis password", colon + 1, size - user - 1);
    return true;
}

static bool set_place(rh_redis_config *config, const char *from, size_t size, rh_error *error)
{
    const char *close = *from == '[' ? memchr(from, ']', size) : NULL;
    const char *after = close ? close : from;
    const char *colon = memchr(after, ':', size - (size_t)(after - from));
    size_t host = close ? (size_t)(close - from) - 1 : colon ? (size_t)(colon - from) : size;
    if (host == 0)
        return rh_fail(error, "usage", "redis: the URL names no host");
    config->port = 6379;
    return set_text(&config->host, close ? from + 1 : from, host, "host", error) &&
           (!colon || set_number(&config->port, colon + 1, (size_t)(from + size - colon - 1), 65535,
                                 "port", error));
}

static bool parse_socket(rh_redis_config *config, const char *path, rh_error *error)
{
    size_t size = strcspn(path, "?");
    if (*path != '/')
        return rh_fail(error, "usage",
                       "redis: a socket's URL is unix:///run/redis/redis-server.sock");
    if (!set_text(&config->socket, path, size, "path", error))
        return false;
    const char *number = strncmp(path + size, "?db=", 4) == 0 ? path + size + 4 : "";
    return set_number(&config->database, number, strlen(number), 99999, "database", error);
}

bool rh_redis_config_parse(rh_redis_config *config, const char *url, rh_error *error)
{
    if (strncmp(url, "unix://", 7) == 0)
        return parse_socket(config, url + 7, error);
    config->tls = strncmp(url, "rediss://", 9) == 0;
    if (!config->tls && strncmp(url, "redis://", 8) != 0)
        return rh_fail(error, "usage", "redis: the URL begins with redis://, rediss:// or unix://");
    const char *from = strstr(url, "://") + 3;
    const char *end = from + strcspn(from, "/?#");
    for (const char *at = end; at > from; at--) /* a password may hold an unencoded @ */
        if (at[-1] == '@') {
            if (!set_login(config, from, (size_t)(at - 1 - from), error))
                return false;
            from = at;
            break;
        }
    if (!set_place(config, from, (size_t)(end - from), error))
        return false;
    const char *number = *end == '/' ? end + 1 : "";
    return set_number(&config->database, number, strcspn(number, "?#"), 99999, "database", error);
}
