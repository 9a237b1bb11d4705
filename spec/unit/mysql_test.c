/* mysql: where to connect, and the option file for the server's own clients. */
#include "modules/mysql/mysql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static rh_mysql_config *parsed(const char *url)
{
    rh_error error = {0};
    rh_mysql_config *config = rh_mysql_config_parse(url, &error);
    if (!config)
        fail_msg("%s: %s", url, error.message);
    return config;
}

static void takes_a_url_apart(void **state)
{
    (void)state;
    rh_mysql_config *config =
        parsed("mysql://us%40er:p%3Aa%2Fss%25@db.example.com:3307/my%20db?connection_limit=5");
    assert_string_equal(config->user, "us@er");
    assert_string_equal(config->password, "p:a/ss%");
    assert_string_equal(config->host, "db.example.com");
    assert_int_equal(config->port, 3307);
    assert_string_equal(config->database, "my db");
    assert_true(config->tls);
    rh_buffer display = {0};
    rh_mysql_config_display(config, &display);
    assert_string_equal(display.data, "us@er@db.example.com:3307/my db");
    rh_buffer_free(&display);
    rh_mysql_config_unref(config);
}

static void bears_what_people_write(void **state)
{
    (void)state;
    rh_mysql_config *config = parsed("mariadb://user:p@ss:w@[::1]");
    assert_string_equal(config->password, "p@ss:w");
    assert_string_equal(config->host, "::1");
    assert_int_equal(config->port, 3306);
    assert_null(config->database);
    assert_false(config->tls);
    rh_mysql_config_unref(config);
    config = parsed("mysql://u@/shop?socket=%2Frun%2Fmysqld.sock");
    assert_string_equal(config->socket, "/run/mysqld.sock");
    assert_string_equal(config->database, "shop");
    assert_null(config->password);
    rh_mysql_config_unref(config);
}

static void turns_tls_on_and_off(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool tls;
    } cases[] = {
        {"mysql://u@10.0.0.5/x", true},
        {"mysql://u@10.0.0.5/x?ssl-mode=DISABLED", false},
        {"mysql://u@localhost/x", false},
        {"mysql://u@localhost/x?sslmode=require", true},
        {"mysql://u@localhost/x?ssl-mode=VERIFY_IDENTITY", true},
        {"mysql://u@127.0.0.1/x?ssl-ca=/etc/ca.pem", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_mysql_config *config = parsed(cases[i].url);
        assert_int_equal(config->tls, cases[i].tls);
        rh_mysql_config_unref(config);
    }
}

static void refuses_without_telling_the_password(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "postgresql://u:secret@h/x",
        "mysql://",
        "mysql://u:secret@/x",
        "mysql://u:secret%@h/x",
        "mysql://u:secret%4@h/x",
        "mysql://u:secret%00@h/x",
        "mysql://u:secret@h:0/x",
        "mysql://u:secret@h:65536/x",
        "mysql://u:secret@h:99999999999999999999/x",
        "mysql://u:secret@h:33o6/x",
        "mysql://u:secret@h:/x",
        "mysql://u:secret@[::1/x",
        "mysql://u:secret@h/x?ssl-mode=preferred",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        rh_error error = {0};
        if (rh_mysql_config_parse(urls[i], &error))
            fail_msg("accepted: %s", urls[i]);
        assert_string_equal(error.code, "usage");
        assert_null(strstr(error.message, "secret"));
        rh_error_clear(&error);
    }
}

static void quotes_the_option_file(void **state)
{
    (void)state;
    rh_mysql_config *config = rh_mysql_config_new();
    rh_error error = {0};
    config->host = rh_strdup("h");
    config->user = rh_strdup("u");
    config->password = rh_strdup("a\"b\\c#d;e 'f\n");
    assert_true(rh_mysql_config_finish(config, "disabled", &error));
    rh_buffer text = {0};
    rh_mysql_config_options(config, &text);
    assert_string_equal(text.data, "[client]\nhost=\"h\"\nport=3306\nprotocol=tcp\nuser=\"u\"\n"
                                   "password=\"a\\\"b\\\\c#d;e 'f\\n\"\n");
    rh_buffer_free(&text);
    rh_mysql_config_unref(config);
}

static void knows_the_same_from_another(void **state)
{
    (void)state;
    rh_mysql_config *one = parsed("mysql://u:p1@h/x"), *two = parsed("mysql://u:p1@h:3306/x");
    rh_mysql_config *other = parsed("mysql://u:p2@h/x");
    assert_true(rh_mysql_config_same(one, two));
    assert_false(rh_mysql_config_same(one, other));
    rh_mysql_config_unref(one);
    rh_mysql_config_unref(two);
    rh_mysql_config_unref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_url_apart),
        cmocka_unit_test(bears_what_people_write),
        cmocka_unit_test(turns_tls_on_and_off),
        cmocka_unit_test(refuses_without_telling_the_password),
        cmocka_unit_test(quotes_the_option_file),
        cmocka_unit_test(knows_the_same_from_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
