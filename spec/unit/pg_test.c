/* pg: where to connect, what PostgreSQL's own programs are told, and points in time. */
#include "modules/pg/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static rh_pg_config *parsed(const char *url)
{
    rh_error error = {0};
    rh_pg_config *config = rh_pg_config_parse(url, &error);
    if (!config)
        fail_msg("%s: %s", url, error.message);
    return config;
}

static void is_set(const char *url, const char *keyword, const char *value)
{
    rh_pg_config *config = parsed(url);
    const char *found = rh_pg_config_get(config, keyword);
    if (value ? !found || strcmp(found, value) != 0 : found != NULL)
        fail_msg("%s: %s is %s", url, keyword, found ? found : "not set");
    rh_pg_config_unref(config);
}

static void takes_a_url_apart(void **state)
{
    (void)state;
    const char *url =
        "postgresql://us%40er:p%3Aa%2Fss%25@db.example.com:5433/my%20db?connect_timeout=5";
    is_set(url, "user", "us@er");
    is_set(url, "password", "p:a/ss%");
    is_set(url, "host", "db.example.com");
    is_set(url, "port", "5433");
    is_set(url, "dbname", "my db");
    is_set(url, "connect_timeout", "5");
    is_set("postgres://u:p@h1:1,h2:2/x", "host", "h1,h2");
    is_set("postgres://u:p@h1:1,h2:2/x", "port", "1,2");
    is_set("postgres://u:p@[::1]:5432/x", "host", "::1");
    is_set("postgres://u@%2Frun%2Fpg/x", "host", "/run/pg");
    is_set("postgres://u@/x?host=/run/pg", "host", "/run/pg");
    is_set("postgres://u:p@h", "dbname", "u");
    rh_pg_config *config = parsed(url);
    rh_buffer display = {0};
    rh_pg_config_display(config, &display);
    assert_string_equal(display.data, "us@er@db.example.com:5433/my db");
    rh_buffer_free(&display);
    rh_pg_config_unref(config);
}

static void bears_what_people_write(void **state)
{
    (void)state;
    is_set("postgres://user:p@ss:w@[::1]", "password", "p@ss:w");
    is_set("postgres://user:p/a?s#s@h/x", "password", "p/a?s#s");
    is_set("postgres://user:p/a?s#s@h/x", "dbname", "x");
    is_set("postgres://user:50%@h/x", "password", "50%");
    is_set("postgres://user:a%zz@h/x", "password", "a%zz");
    is_set("postgres://user:!*'();:&=+$,[]~`^|<>{}\"\\@h/x", "password",
           "!*'();:&=+$,[]~`^|<>{}\"\\");
    is_set("postgresql+psycopg2://u:p@h/x", "dbname", "x");
    is_set("jdbc:postgresql://h:5432/x?user=u&password=p%26q", "password", "p&q");
    is_set("jdbc:postgresql://h/x?user=u&ssl=true", "sslmode", "verify-full");
    is_set("POSTGRES://u:p@h/x", "host", "h");
    const char *prisma =
        "postgresql://u:p@h/x?schema=shop&connection_limit=5&pool_timeout=2&sslmode=disable";
    is_set(prisma, "dbname", "x");
    is_set(prisma, "sslmode", "disable");
    is_set(prisma, "options", "-csearch_path=\"shop\"");
    is_set("postgresql://u:p@h/x?schema=a%20b%22c%5C", "options",
           "-csearch_path=\"a\\ b\"\"c\\\\\"");
    is_set("postgresql://u:p@h/x?options=-cgeqo%3Doff&schema=s", "options",
           "-cgeqo=off -csearch_path=\"s\"");
    is_set("postgresql://u:p@h/x?schema=public&pgbouncer=true", "options", NULL);
    is_set("postgresql://u:p@h/x?nonsense=1&=&a&b==", "dbname", "x");
}

static void verifies_whom_it_talks_to(void **state)
{
    (void)state;
    static const struct {
        const char *url, *mode;
        bool verifies;
    } cases[] = {
        {"postgresql://u@10.0.0.5/x", "verify-full", true},
        {"postgresql://u@10.0.0.5/x?sslmode=prefer", "verify-full", true},
        {"postgresql://u@10.0.0.5/x?sslmode=disable", "disable", false},
        {"postgresql://u@localhost/x", "prefer", false},
        {"postgresql://u@localhost,10.0.0.5/x", "verify-full", true},
        {"postgresql://u@localhost/x?hostaddr=10.0.0.5", "verify-full", true},
        {"postgresql://u@127.0.0.1.example.com/x", "verify-full", true},
        {"postgresql://u@/x?host=/run/pg", "prefer", false},
        {"postgresql://u@localhost/x?sslmode=require", "verify-full", true},
        {"postgresql://u@h/x?sslmode=verify-ca", "verify-full", true},
        {"postgresql://u@h/x?sslmode=verify-ca&sslrootcert=/ca.pem", "verify-ca", true},
        {"postgresql://u@h/x?sslmode=require&sslcert=/ca.pem", "verify-full", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_pg_config *config = parsed(cases[i].url);
        assert_string_equal(rh_pg_config_get(config, "sslmode"), cases[i].mode);
        assert_int_equal(rh_pg_config_verifies(config), cases[i].verifies);
        if (cases[i].verifies)
            assert_non_null(rh_pg_config_get(config, "sslrootcert"));
        rh_pg_config_unref(config);
    }
    is_set("postgresql://u@h/x?sslmode=require&sslcert=/ca.pem", "sslrootcert", "/ca.pem");
    is_set("postgresql://u@h/x?sslcert=/c.pem&sslkey=/k.pem", "sslcert", "/c.pem");
}

static void refuses_without_telling_the_password(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "mysql://u:secret@h/x",
        "postgresql:secret",
        "postgresqlx://u:secret@h/x",
        "postgresql://u:secret%00@h/x",
        "postgresql://u:secret@h:0/x",
        "postgresql://u:secret@h:65536/x",
        "postgresql://u:secret@h:99999999999999999999/x",
        "postgresql://u:secret@h:33o6/x",
        "postgresql://u:secret@[::1/x",
        "postgresql://u:secret@h/x?sslmode=no-verify",
        "postgresql://u:secret@h/x?schema=shop&pgbouncer=true",
        "postgresql://u:secret@/?service=production",
        "host=h user=u password=secret",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        rh_error error = {0};
        if (rh_pg_config_parse(urls[i], &error))
            fail_msg("accepted: %s", urls[i]);
        assert_string_equal(error.code, "usage");
        if (strstr(error.message, "secret"))
            fail_msg("%s", error.message);
        rh_error_clear(&error);
    }
}

struct variables {
    char text[2048];
};

static void add_variable(void *data, const char *name, const char *value)
{
    struct variables *all = data;
    if (value)
        snprintf(all->text + strlen(all->text), sizeof all->text - strlen(all->text), "%s=%s\n",
                 name, value);
}

static void tells_the_programs_all_but_the_password(void **state)
{
    (void)state;
    setenv("PGHOST", "elsewhere", 1);
    setenv("PGPASSWORD", "not-this", 1);
    rh_pg_config *config = parsed("postgresql://u:a%3Ab%5Cc-secret@h:1/x?sslmode=disable");
    struct variables all = {""};
    rh_pg_config_variables(config, "other", add_variable, &all);
    assert_non_null(strstr(all.text, "PGHOST=h\n"));
    assert_non_null(strstr(all.text, "PGPORT=1\n"));
    assert_non_null(strstr(all.text, "PGDATABASE=other\n"));
    assert_non_null(strstr(all.text, "PGSSLMODE=disable\n"));
    assert_non_null(strstr(all.text, "PGPASSFILE=/dev/fd/0\n"));
    assert_null(strstr(all.text, "secret"));
    assert_null(strstr(all.text, "PGPASSWORD"));
    rh_buffer file = {0};
    rh_pg_config_passfile(config, &file);
    assert_string_equal(file.data, "*:*:*:*:a\\:b\\\\c-secret\n");
    rh_buffer_free(&file);
    rh_pg_config_unref(config);
}

static void knows_the_same_from_another(void **state)
{
    (void)state;
    rh_pg_config *one = parsed("postgresql://u:p1@h/x"),
                 *two = parsed("postgres://u:p1@h/x?junk=1");
    rh_pg_config *other = parsed("postgresql://u:p2@h/x");
    assert_true(rh_pg_config_same(one, two));
    assert_false(rh_pg_config_same(one, other));
    rh_pg_config_unref(one);
    rh_pg_config_unref(two);
    rh_pg_config_unref(other);
}

static void writes_time_as_iso(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"2026-01-02 03:04:05+00", "2026-01-02T03:04:05Z"},
        {"2026-01-01 00:30:00.25+02", "2025-12-31T22:30:00.25Z"},
        {"2026-12-31 23:30:00-05:30", "2027-01-01T05:00:00Z"},
        {"2024-02-28 23:59:59.999999-00:00:01", "2024-02-29T00:00:00.999999Z"},
        {"1900-03-01 00:00:00+01:12:12", "1900-02-28T22:47:48Z"},
        {"0001-01-01 00:00:00", "0001-01-01T00:00:00"},
        {"2026-01-02 03:04:05.5", "2026-01-02T03:04:05.5"},
        {"infinity", "infinity"},
        {"-infinity", "-infinity"},
        {"0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_buffer out = {0};
        rh_pg_add_time(&out, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(out.data, cases[i][1]);
        rh_buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_url_apart),
        cmocka_unit_test(bears_what_people_write),
        cmocka_unit_test(verifies_whom_it_talks_to),
        cmocka_unit_test(refuses_without_telling_the_password),
        cmocka_unit_test(tells_the_programs_all_but_the_password),
        cmocka_unit_test(knows_the_same_from_another),
        cmocka_unit_test(writes_time_as_iso),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
