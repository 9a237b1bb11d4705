/* Where to connect and as whom. */
#include "mysql.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

rh_mysql_config *rh_mysql_config_new(void)
{
    rh_mysql_config *config = rh_alloc(sizeof *config);
    config->refs = 1;
    config->port = 3306;
    return config;
}

rh_mysql_config *rh_mysql_config_ref(rh_mysql_config *config)
{
    config->refs++;
    return config;
}

void rh_mysql_config_unref(rh_mysql_config *config)
{
    if (!config || --config->refs > 0)
        return;
    if (config->password)
        explicit_bzero(config->password, strlen(config->password));
    free(config->host);
    free(config->socket);
    free(config->user);
    free(config->password);
    free(config->database);
    free(config->ca);
    free(config);
}

void rh_mysql_config_display(const rh_mysql_config *config, rh_buffer *out)
{
    if (config->user)
        rh_buffer_addf(out, "%s@", config->user);
    if (config->socket)
        rh_buffer_adds(out, config->socket);
    else
        rh_buffer_addf(out, "%s:%u", config->host ? config->host : "?", config->port);
    if (config->database)
        rh_buffer_addf(out, "/%s", config->database);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL: a broken or forbidden (%00) escape. */
static char *percent_decoded(const char *from, size_t size)
{
    const char *end = from + size;
    char *text = rh_alloc(size + 1), *to = text;
    while (from < end) {
        if (*from != '%') {
            *to++ = *from++;
            continue;
        }
        int high = end - from > 2 ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (low < 0 || high * 16 + low == 0) {
            explicit_bzero(text, size);
            free(text);
            return NULL;
        }
        *to++ = (char)(high * 16 + low);
        from += 3;
    }
    return text;
}

static bool set_part(char **field, const char *from, size_t size, const char *what, rh_error *error)
{
    free(*field);
    *field = percent_decoded(from, size);
    return *field ||
           rh_fail(error, "usage", "the %s in the database URL has a broken %%-escape", what);
}

static bool same(const char *name, size_t size, const char *other)
{
    return size == strlen(other) && strncasecmp(name, other, size) == 0;
}

static bool parse_query(rh_mysql_config *config, const char *at, char **mode, rh_error *error)
{
    while (*at) {
        size_t size = strcspn(at, "&"), name = strcspn(at, "=&");
        const char *value = at + name + (name < size);
        size_t length = size - name - (name < size);
        if (same(at, name, "ssl-mode") || same(at, name, "sslmode") || same(at, name, "ssl_mode")) {
            if (!set_part(mode, value, length, "ssl-mode", error))
                return false;
        } else if (same(at, name, "ssl-ca") || same(at, name, "sslca") ||
                   same(at, name, "ssl_ca")) {
            if (!set_part(&config->ca, value, length, "ssl-ca", error))
                return false;
        } else if (same(at, name, "socket")) {
            if (!set_part(&config->socket, value, length, "socket", error))
                return false;
        }
        at += size + (at[size] == '&');
    }
    return true;
}

static bool parse_port(rh_mysql_config *config, const char *at, size_t size, rh_error *error)
{
    unsigned port = 0;
    for (size_t i = 0; i < size && port <= 65535; i++) {
        if (at[i] < '0' || at[i] > '9')
            return rh_fail(error, "usage", "the port in the database URL is not a number");
        port = port * 10 + (unsigned)(at[i] - '0');
    }
    if (port == 0 || port > 65535)
        return rh_fail(error, "usage", "the port in the database URL is not between 1 and 65535");
    config->port = port;
    return true;
}

static bool parse_host(rh_mysql_config *config, const char *at, size_t size, rh_error *error)
{
    const char *port = memchr(at, ':', size);
    size_t host = port ? (size_t)(port - at) : size;
    if (size > 0 && *at == '[') {
        const char *close = memchr(at, ']', size);
        if (!close)
            return rh_fail(error, "usage", "the database URL has \"[\" without \"]\"");
        port = close + 1 < at + size && close[1] == ':' ? close + 1 : NULL;
        host = (size_t)(close - at) - 1;
        at++;
        if (!set_part(&config->host, at, host, "host", error))
            return false;
    } else if (host > 0 && !set_part(&config->host, at, host, "host", error)) {
        return false;
    }
    const char *end = at + size - (at[-1] == '[');
    return !port || parse_port(config, port + 1, (size_t)(end - port) - 1, error);
}

static bool parse(rh_mysql_config *config, const char *url, char **mode, rh_error *error)
{
    const char *at = NULL;
    static const char *const schemes[] = {"mysql://", "mariadb://", "mysql2://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && !at; i++)
        if (strncasecmp(url, schemes[i], strlen(schemes[i])) == 0)
            at = url + strlen(schemes[i]);
    if (!at)
        return rh_fail(error, "usage", "a database URL begins with mysql:// or mariadb://");
    size_t authority = strcspn(at, "/?#");
    /* An unescaped "@" in a password is common: the last one ends it. */
    const char *host = memrchr(at, '@', authority);
    if (host) {
        size_t user = strcspn(at, ":@");
        if (!set_part(&config->user, at, user, "user", error) ||
            (at[user] == ':' && at + user < host &&
             !set_part(&config->password, at + user + 1, (size_t)(host - at) - user - 1, "password",
                       error)))
            return false;
        authority -= (size_t)(host + 1 - at);
        at = host + 1;
    }
    if (!parse_host(config, at, authority, error))
        return false;
    at += authority;
    if (*at == '/') {
        size_t size = strcspn(++at, "?#");
        if (size > 0 && !set_part(&config->database, at, size, "database", error))
            return false;
        at += size;
    }
    return *at != '?' || parse_query(config, at + 1, mode, error);
}

rh_mysql_config *rh_mysql_config_parse(const char *url, rh_error *error)
{
    rh_mysql_config *config = rh_mysql_config_new();
    char *mode = NULL;
    bool ok = parse(config, url, &mode, error) && rh_mysql_config_finish(config, mode, error);
    free(mode);
    if (ok)
        return config;
    rh_mysql_config_unref(config);
    return NULL;
}

static bool is_here(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

bool rh_mysql_config_finish(rh_mysql_config *config, const char *mode, rh_error *error)
{
    if (!config->host && !config->socket)
        return rh_fail(error, "usage", "the database has no host and no socket");
    bool wanted = config->ca || (config->host && !config->socket && !is_here(config->host));
    if (!mode)
        config->tls = wanted;
    else if (strcasecmp(mode, "disabled") == 0 || strcasecmp(mode, "disable") == 0)
        config->tls = false;
    else if (strcasecmp(mode, "required") == 0 || strcasecmp(mode, "require") == 0 ||
             strncasecmp(mode, "verify", 6) == 0)
        config->tls = true;
    else
        return rh_fail(
            error, "usage",
            "ssl-mode=%s: say \"disabled\" or \"required\" (then the certificate is verified)",
            mode);
    return true;
}

/* A value in double quotes, as the clients' option files want it. */
static void add_option(rh_buffer *out, const char *name, const char *value)
{
    rh_buffer_addf(out, "%s=\"", name);
    for (; *value; value++) {
        const char *special = strchr("\\\"\n\r\t\b", *value);
        char escaped[] = {'\\', special ? "\\\"nrtb"[special - "\\\"\n\r\t\b"] : 0, 0};
        if (special)
            rh_buffer_adds(out, escaped);
        else
            rh_buffer_add(out, value, 1);
    }
    rh_buffer_adds(out, "\"\n");
}

void rh_mysql_config_options(const rh_mysql_config *config, rh_buffer *out)
{
    rh_buffer_adds(out, "[client]\n");
    if (config->socket) {
        add_option(out, "socket", config->socket);
    } else {
        add_option(out, "host", config->host);
        rh_buffer_addf(out, "port=%u\nprotocol=tcp\n", config->port);
    }
    if (config->user)
        add_option(out, "user", config->user);
    if (config->password)
        add_option(out, "password", config->password);
    if (config->tls)
        rh_buffer_adds(out, "ssl\nssl-verify-server-cert\n");
    if (config->ca)
        add_option(out, "ssl-ca", config->ca);
}

static bool same_text(const char *text, const char *other)
{
    return text && other ? strcmp(text, other) == 0 : text == other;
}

bool rh_mysql_config_same(const rh_mysql_config *config, const rh_mysql_config *other)
{
    return config->port == other->port && config->tls == other->tls &&
           same_text(config->host, other->host) && same_text(config->socket, other->socket) &&
           same_text(config->user, other->user) && same_text(config->password, other->password) &&
           same_text(config->database, other->database) && same_text(config->ca, other->ca);
}
