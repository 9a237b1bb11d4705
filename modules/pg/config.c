/* Where to connect and as whom: libpq's options, with what other tools put into URLs made harmless. */
#include "config.h"

#include "core/mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <uv.h>

/* The lists of authorities that distributions keep. */
static const char *const authorities[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
    "/etc/ssl/ca-bundle.pem",             /* SUSE */
    "/etc/ssl/cert.pem",
};

rh_pg_config *rh_pg_config_new(void)
{
    rh_pg_config *config = rh_alloc(sizeof *config);
    config->refs = 1;
    config->options = PQconninfoParse("", NULL); /* every keyword, none set */
    if (!config->options)
        abort();
    return config;
}

rh_pg_config *rh_pg_config_ref(rh_pg_config *config)
{
    config->refs++;
    return config;
}

static void forget(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void rh_pg_config_unref(rh_pg_config *config)
{
    if (!config || --config->refs > 0)
        return;
    for (PQconninfoOption *option = config->options; option->keyword; option++)
        forget(&option->val);
    PQconninfoFree(config->options);
    free(config->schema);
    free(config);
}

static PQconninfoOption *find(const rh_pg_config *config, const char *keyword)
{
    for (PQconninfoOption *option = config->options; option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option;
    return NULL;
}

static bool is_secret(const char *keyword)
{
    return strcmp(keyword, "password") == 0 || strcmp(keyword, "sslpassword") == 0;
}

bool rh_pg_config_set(rh_pg_config *config, const char *keyword, const char *value)
{
    bool schema = strcmp(keyword, "schema") == 0;
    PQconninfoOption *option = schema ? NULL : find(config, keyword);
    if (!schema && !option)
        return false;
    char **at = schema ? &config->schema : &option->val;
    forget(at);
    *at = value && *value ? rh_strdup(value) : NULL;
    if (*at && is_secret(keyword))
        rh_mask_add(rh_mask_process(), "database password", value, strlen(value));
    return true;
}

const char *rh_pg_config_get(const rh_pg_config *config, const char *keyword)
{
    if (strcmp(keyword, "schema") == 0)
        return config->schema;
    const PQconninfoOption *option = find(config, keyword);
    return option ? option->val : NULL;
}

/* URLs ---------------------------------------------------------------------------------------------- */

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
    if (is_secret(keyword)) /* as it stands there, too: it may be encoded in an unusual way */
        rh_mask_add(rh_mask_process(), "database password", from, size);
    forget(&value);
    return true;
}

static bool is(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && strncmp(name, other, length) == 0;
}

/* name=value of the URL. What is not libpq's belongs to another client, and means nothing here. */
static bool parse_parameter(rh_pg_config *config, const char *name, size_t length,
                            const char *value, size_t size, rh_error *error)
{
    if (is(name, length, "ssl")) /* JDBC, asyncpg */
        return size != 4 || strncmp(value, "true", 4) != 0 || rh_pg_config_get(config, "sslmode") ||
               rh_pg_config_set(config, "sslmode", "verify-full");
    if (is(name, length, "pgbouncer")) { /* Prisma */
        config->pooled = is(value, size, "true");
        return true;
    }
    char keyword[64];
    snprintf(keyword, sizeof keyword, "%.*s", length < sizeof keyword ? (int)length : 0, name);
    if (strcmp(keyword, "schema") != 0 && !find(config, keyword))
        return true;
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

/* What was not said --------------------------------------------------------------------------------- */

static bool is_here(const char *host, size_t size)
{
    return size == 0 || *host == '/' || *host == '@' || is(host, size, "localhost") ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= size) ||
           is(host, size, "::1");
}

static bool all_here(const rh_pg_config *config)
{
    const char *host = rh_pg_config_get(config, "hostaddr");
    if (!host)
        host = rh_pg_config_get(config, "host");
    while (host && *host) {
        size_t size = strcspn(host, ",");
        if (!is_here(host, size))
            return false;
        host += size + (host[size] == ',');
    }
    return true;
}

/* libpq encrypts without looking whom it talks to unless told otherwise. */
static bool decide_tls(rh_pg_config *config, rh_error *error)
{
    static const char *const modes[] = {"disable", "allow",     "prefer",
                                        "require", "verify-ca", "verify-full"};
    const char *mode = rh_pg_config_get(config, "sslmode");
    bool known = !mode;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        known |= mode && strcmp(mode, modes[i]) == 0;
    if (!known)
        return rh_fail(error, "usage",
                       "pg: sslmode=%s: say \"disable\", or \"require\" (then the certificate is "
                       "verified; sslrootcert=FILE names its authority)",
                       mode);
    if (mode && strcmp(mode, "disable") == 0)
        return true;
    bool asked = mode && strcmp(mode, "allow") != 0 && strcmp(mode, "prefer") != 0;
    if (!asked && all_here(config))
        return rh_pg_config_set(config, "sslmode", "prefer");
    const char *ca = rh_pg_config_get(config, "sslrootcert");
    /* Prisma calls the authority's file so; for libpq it is the client's own, which comes with a key. */
    if (!ca && !rh_pg_config_get(config, "sslkey") && rh_pg_config_get(config, "sslcert")) {
        rh_pg_config_set(config, "sslrootcert", rh_pg_config_get(config, "sslcert"));
        rh_pg_config_set(config, "sslcert", NULL);
        ca = rh_pg_config_get(config, "sslrootcert");
    }
    bool by_authority = ca && mode && strcmp(mode, "verify-ca") == 0;
    rh_pg_config_set(config, "sslmode", by_authority ? "verify-ca" : "verify-full");
    const char *named = getenv("SSL_CERT_FILE");
    if (!ca && named)
        return rh_pg_config_set(config, "sslrootcert", named);
    for (size_t i = 0; i < sizeof authorities / sizeof *authorities && !ca; i++)
        if (access(authorities[i], R_OK) == 0)
            rh_pg_config_set(config, "sslrootcert", ca = authorities[i]);
    return ca || rh_fail(error, "usage",
                         "pg: no list of certificate authorities on this machine: install "
                         "ca-certificates, or name the server's authority with sslrootcert=FILE");
}

static bool check_ports(const rh_pg_config *config, rh_error *error)
{
    const char *at = rh_pg_config_get(config, "port");
    for (; at && *at; at += *at == ',') {
        char *end;
        long port = strtol(at, &end, 10);
        bool empty = *at == ',' || !*at;
        if (!empty && (end == at || (*end && *end != ',') || port < 1 || port > 65535))
            return rh_fail(error, "usage", "pg: the port is not a number between 1 and 65535");
        at = end;
    }
    return true;
}

static bool set_default(rh_pg_config *config, const char *keyword, const char *value)
{
    return rh_pg_config_get(config, keyword) || rh_pg_config_set(config, keyword, value);
}

static bool decide_user(rh_pg_config *config, rh_error *error)
{
    uv_passwd_t me;
    int status = rh_pg_config_get(config, "user") ? 0 : uv_os_get_passwd(&me);
    if (status < 0)
        return rh_fail(error, "usage", "pg: the database URL names no user");
    if (!rh_pg_config_get(config, "user")) {
        rh_pg_config_set(config, "user", me.username);
        uv_os_free_passwd(&me);
    }
    return set_default(config, "dbname", rh_pg_config_get(config, "user"));
}

char *rh_pg_config_search_path(const rh_pg_config *config)
{
    if (!config->schema || config->pooled)
        return NULL;
    rh_buffer path = {0};
    rh_buffer_adds(&path, "\"");
    for (const char *at = config->schema; *at; at++) {
        rh_buffer_add(&path, at, 1);
        if (*at == '"')
            rh_buffer_adds(&path, "\"");
    }
    rh_buffer_adds(&path, "\"");
    return rh_buffer_take(&path);
}

/* -csearch_path="name": white space and backslashes escaped for the server's splitting of options. */
static void add_search_path(rh_pg_config *config)
{
    const char *before = rh_pg_config_get(config, "options");
    char *path = rh_pg_config_search_path(config);
    rh_buffer options = {0};
    rh_buffer_addf(&options, "%s%s-csearch_path=", before ? before : "", before ? " " : "");
    for (const char *at = path; *at; at++) {
        if (isspace((unsigned char)*at) || *at == '\\')
            rh_buffer_adds(&options, "\\");
        rh_buffer_add(&options, at, 1);
    }
    rh_pg_config_set(config, "options", options.data);
    rh_buffer_free(&options);
    free(path);
}

bool rh_pg_config_finish(rh_pg_config *config, rh_error *error)
{
    /* It would bring a host that nobody has looked at here, and no TLS with it. */
    if (rh_pg_config_get(config, "service"))
        return rh_fail(error, "usage",
                       "pg: service= is not for a playbook: name host and database");
    if (!check_ports(config, error) || !decide_user(config, error) || !decide_tls(config, error))
        return false;
    /* A pooler in transaction mode takes no options; its database or role carries the search path. */
    if (config->schema && !config->pooled)
        add_search_path(config);
    else if (config->schema && strcmp(config->schema, "public") != 0)
        return rh_fail(error, "usage",
                       "pg: schema=%s with pgbouncer=true: a pooler takes no search path; set it "
                       "with ALTER ROLE %s SET search_path, and leave schema= out",
                       config->schema, rh_pg_config_get(config, "user"));
    rh_pg_config_set(config, "client_encoding", "UTF8");
    set_default(config, "application_name", "rollouthost");
    set_default(config, "gssencmode", "disable");
    /* A peer that is gone without a word is noticed, also while a statement runs for an hour. */
    set_default(config, "keepalives_idle", "60");
    set_default(config, "keepalives_interval", "10");
    set_default(config, "keepalives_count", "6");
    set_default(config, "tcp_user_timeout", "60000");
    return true;
}

/* What others see ----------------------------------------------------------------------------------- */

void rh_pg_config_display(const rh_pg_config *config, rh_buffer *out)
{
    const char *host = rh_pg_config_get(config, "host");
    const char *port = rh_pg_config_get(config, "port");
    if (!host)
        host = rh_pg_config_get(config, "hostaddr");
    rh_buffer_addf(out, "%s@%s:%s/%s", rh_pg_config_get(config, "user"), host ? host : "local",
                   port ? port : "5432", rh_pg_config_get(config, "dbname"));
}

bool rh_pg_config_same(const rh_pg_config *config, const rh_pg_config *other)
{
    for (const PQconninfoOption *a = config->options, *b = other->options; a->keyword; a++, b++)
        if (a->val && b->val ? strcmp(a->val, b->val) != 0 : a->val != b->val)
            return false;
    return config->numbers == other->numbers; /* the schema is among the options */
}

void rh_pg_config_set_numbers(rh_pg_config *config, bool numbers) { config->numbers = numbers; }

bool rh_pg_config_numbers(const rh_pg_config *config) { return config->numbers; }

bool rh_pg_config_verifies(const rh_pg_config *config)
{
    return strncmp(rh_pg_config_get(config, "sslmode"), "verify", 6) == 0;
}

void rh_pg_config_variables(const rh_pg_config *config, const char *database,
                            void (*fn)(void *data, const char *name, const char *value), void *data)
{
    for (const PQconninfoOption *option = config->options; option->keyword; option++) {
        bool name = strcmp(option->keyword, "dbname") == 0;
        if (option->envvar && strcmp(option->keyword, "password") != 0 &&
            strcmp(option->keyword, "passfile") != 0)
            fn(data, option->envvar, name && database ? database : option->val);
    }
    static const char *const others[] = {"PGPASSWORD", "PGDATESTYLE", "PGTZ", "PGGEQO"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        fn(data, others[i], NULL);
    fn(data, "PGPASSFILE",
       rh_pg_config_get(config, "password") ? "/dev/fd/0" : rh_pg_config_get(config, "passfile"));
}

void rh_pg_config_passfile(const rh_pg_config *config, rh_buffer *out)
{
    const char *password = rh_pg_config_get(config, "password");
    if (!password)
        return;
    rh_buffer_adds(out, "*:*:*:*:");
    for (; *password; password++) {
        if (*password == ':' || *password == '\\')
            rh_buffer_adds(out, "\\");
        rh_buffer_add(out, password, 1);
    }
    rh_buffer_adds(out, "\n");
}
