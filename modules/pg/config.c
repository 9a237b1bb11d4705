/* Where to connect and as whom: libpq's options, and what is decided where nothing was said. */
#include "config.h"

#include "core/mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
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

bool rh_pg_is(const char *text, size_t size, const char *other)
{
    return strlen(other) == size && strncmp(text, other, size) == 0;
}

bool rh_pg_is_secret(const char *keyword)
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
    if (*at && rh_pg_is_secret(keyword))
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

/* What was not said --------------------------------------------------------------------------------- */

static bool is_here(const char *host, size_t size)
{
    return size == 0 || *host == '/' || *host == '@' || rh_pg_is(host, size, "localhost") ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= size) ||
           rh_pg_is(host, size, "::1");
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
