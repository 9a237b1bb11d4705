/* What other tools put into URLs, made harmless. */
#include "config.h"

#include "core/mask.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* A text with a "%" that begins no escape was not encoded at all, and is taken as it stands. NULL: it has %00. */
static char *decoded(const char *from, size_t size)
{
    char *text = rh_alloc(size + 1), *to = text;
    for (size_t i = 0; i < size; i++) {
        int high = from[i] == '%' && size - i > 2 ? hex_digit(from[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(from[i + 2]) : -1;
        if (from[i] != '%') {
            *to++ = from[i];
        } else if (low < 0) {
            memcpy(text, from, size);
            text[size] = '\0';
            return text;
        } else if (high * 16 + low == 0) {
            free(text);
            return NULL;
        } else {
            *to++ = (char)(high * 16 + low);
            i += 2;
        }
    }
    *to = '\0';
    return text;
}

static bool set_decoded(rh_pg_config *config, const char *keyword, const char *from, size_t size,
                        rh_error *error)
{
    char *value = decoded(from, size);
    if (!value)
        return rh_fail(error, "usage", "pg: the %s in the database URL has a NUL byte", keyword);
    rh_pg_config_set(config, keyword, value);
    if (rh_pg_is_secret(keyword)) /* as it stands there, too: it may be encoded in an unusual way */
        rh_mask_add(rh_mask_process(), "database password", from, size);
    explicit_bzero(value, strlen(value));
    free(value);
    return true;
}

/* name=value of the URL. What is not libpq's belongs to another client, and means nothing here. */
static bool parse_parameter(rh_pg_config *config, const char *name, size_t length,
                            const char *value, size_t size, rh_error *error)
{
    if (rh_pg_is(name, length, "ssl")) /* JDBC, asyncpg */
        return size != 4 || strncmp(value, "true", 4) != 0 || rh_pg_config_get(config, "sslmode") ||
               rh_pg_config_set(config, "sslmode", "verify-full");
    if (rh_pg_is(name, length, "pgbouncer")) { /* Prisma */
        config->pooled = rh_pg_is(value, size, "true");
        return true;
    }
    char keyword[64];
    snprintf(keyword, sizeof keyword, "%.*s", length < sizeof keyword ? (int)length : 0, name);
    return set_decoded(config, keyword, value, size, error);
}

static bool parse_query(rh_pg_config *config, const char *at, rh_error *error)
{
    while (*at && *at != '#') {
        size_t size = strcspn(at, "&#");
        const char *equals = memchr(at, '=', size);
        if (equals && !parse_parameter(config, at, (size_t)(equals - at), equals + 1,
                                       size - (size_t)(equals + 1 - at), error))
            return false;
        at += size + (at[size] == '&');
    }
    return true;
}

/* Where the user and the password end: at the last "@" before the path; an unescaped one in a password is common. If that
 * leaves something that is no host, the password has an unescaped "/", "?" or "#", too. */
static const char *end_of_user(const char *at)
{
    size_t size = strcspn(at, "/?#");
    const char *end = memrchr(at, '@', size);
    const char *colon = memchr(at, ':', size);
    if (end || *at == '[' || !colon)
        return end;
    return strspn(colon + 1, "0123456789,") + 1 < size - (size_t)(colon - at) ? strrchr(at, '@')
                                                                              : NULL;
}

static bool parse_hosts(rh_pg_config *config, const char *at, size_t size, rh_error *error)
{
    /* libpq takes the list of hosts apart; nothing of a password is in here. */
    char *plain = rh_format("postgresql://%.*s", (int)size, at), *why = NULL;
    PQconninfoOption *parsed = PQconninfoParse(plain, &why);
    free(plain);
    if (!parsed) {
        size_t length = why ? strcspn(why, "\n") : 0;
        rh_fail(error, "usage", "pg: the database URL: %.*s", (int)length, why ? why : "");
        PQfreemem(why);
        return false;
    }
    for (const PQconninfoOption *option = parsed; option->keyword; option++)
        if (option->val)
            rh_pg_config_set(config, option->keyword, option->val);
    PQconninfoFree(parsed);
    return true;
}

static bool parse(rh_pg_config *config, const char *url, rh_error *error)
{
    const char *at = strncasecmp(url, "jdbc:", 5) == 0 ? url + 5 : url;
    size_t scheme = strcspn(at, ":+");
    if ((scheme != 8 || strncasecmp(at, "postgres", 8) != 0) &&
        (scheme != 10 || strncasecmp(at, "postgresql", 10) != 0))
        scheme = 0;
    at += scheme;
    if (scheme > 0 && *at == '+') /* SQLAlchemy: postgresql+psycopg2:// */
        at += strcspn(at, ":");
    if (scheme == 0 || strncmp(at, "://", 3) != 0)
        return rh_fail(error, "usage", "pg: a database URL begins with postgresql://");
    at += 3;
    const char *end = end_of_user(at);
    if (end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (!set_decoded(config, "user", at, (size_t)((colon ? colon : end) - at), error) ||
            (colon &&
             !set_decoded(config, "password", colon + 1, (size_t)(end - colon) - 1, error)))
            return false;
        at = end + 1;
    }
    size_t size = strcspn(at, "/?#");
    if (!parse_hosts(config, at, size, error))
        return false;
    at += size;
    if (*at == '/') {
        size = strcspn(++at, "?#");
        if (!set_decoded(config, "dbname", at, size, error))
            return false;
        at += size;
    }
    return *at != '?' || parse_query(config, at + 1, error);
}

rh_pg_config *rh_pg_config_parse(const char *url, rh_error *error)
{
    rh_pg_config *config = rh_pg_config_new();
    if (parse(config, url, error) && rh_pg_config_finish(config, error))
        return config;
    rh_pg_config_unref(config);
    return NULL;
}
