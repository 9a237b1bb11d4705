#include "run/variables.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void list(void *data, const char *name, const char *value, size_t size)
{
    rh_buffer_addf(data, "%s=<%.*s>", name, (int)size, value);
}

static void assert_parses(const char *text, const char *expected)
{
    rh_buffer found = {0};
    rh_error error = {0};
    rh_buffer_adds(&found, "");
    if (!rh_variables_parse(".env", text, strlen(text), list, &found, &error))
        fail_msg("%s: %s", text, error.message);
    assert_string_equal(found.data, expected);
    rh_buffer_free(&found);
}

static void assert_refused(const char *text, const char *expected)
{
    rh_buffer found = {0};
    rh_error error = {0};
    assert_false(rh_variables_parse(".env", text, strlen(text), list, &found, &error));
    assert_string_equal(error.message, expected);
    rh_error_clear(&error);
    rh_buffer_free(&found);
}

static void plain_lines(void **state)
{
    (void)state;
    assert_parses("", "");
    assert_parses("A=1\nB=two words\n", "A=<1>B=<two words>");
    assert_parses("A=1", "A=<1>");
    assert_parses("\xef\xbb\xbf"
                  "A = 1 \r\n\r\n  export B=2\r\n",
                  "A=<1>B=<2>");
    assert_parses("A=\nB= \n", "A=<>B=<>");
    assert_parses("export A=1\nexport\tB=2\nexported=3\nexport=4\n",
                  "A=<1>B=<2>exported=<3>export=<4>");
    assert_parses("A=b=c==\n", "A=<b=c==>");
    assert_parses("A.B_9=x\n", "A.B_9=<x>");
}

static void comments(void **state)
{
    (void)state;
    assert_parses("# all\n  # of it\nA=1 # not this\nB=a#b\nC=#x\nD='q' # y\n",
                  "A=<1>B=<a#b>C=<>D=<q>");
}

static void quotes(void **state)
{
    (void)state;
    assert_parses("A='a b # $c \\n'\n", "A=<a b # $c \\n>");
    assert_parses("A=\"x\\n\\t\\\"\\\\\\$\\d\"\n", "A=<x\n\t\"\\$\\d>");
    assert_parses("A=\"line 1\nline 2\"\nB=2\n", "A=<line 1\nline 2>B=<2>");
    assert_parses("A='-----BEGIN\r\nKEY-----\r\n'\r\nB=1", "A=<-----BEGIN\nKEY-----\n>B=<1>");
    assert_parses("A=it's\n", "A=<it's>");
    assert_parses("A=\"\"\nB=''\n", "A=<>B=<>");
    assert_parses("A=$HOME ${B}\n", "A=<$HOME ${B}>");
}

static void errors_name_the_line_and_never_the_value(void **state)
{
    (void)state;
    assert_refused("A=1\nhunter2 hunter2\n", ".env:2: a name is followed by no \"=\"");
    assert_refused("\n\n=x\n", ".env:3: this is no NAME=value");
    assert_refused("1A=x\n", ".env:1: this is no NAME=value");
    assert_refused("A=1\nB='hunter2\nmore\n", ".env:2: a quote is opened here and never closed");
    assert_refused("A='1\n2' hunter2\n",
                   ".env:2: there is text after the closing quote: quote the whole value");
}

static char *written(const char *folder, const char *name, const char *text)
{
    char *path = rh_format("%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

static void assert_value(const rh_variables *variables, const char *name, const char *value,
                         const char *from)
{
    rh_buffer found = {0};
    const char *origin = NULL;
    if (value) {
        assert_true(rh_variables_get(variables, name, &found, &origin));
        assert_string_equal(found.data, value);
        assert_string_equal(origin, from);
    } else {
        assert_false(rh_variables_get(variables, name, &found, &origin));
    }
    rh_buffer_free(&found);
}

static void values_come_from_three_places_in_order(void **state)
{
    rh_error error = {0};
    char *file = written(*state, ".env", "RH_A=file\nRH_B=file\nRH_C=first\nRH_C=last\n");
    free(written(*state, "RH_A", "credential\n"));
    free(written(*state, "RH_B", "two\nlines\n\n"));
    setenv("CREDENTIALS_DIRECTORY", *state, 1);
    setenv("RH_A", "environment", 1);
    rh_variables *variables = rh_variables_open(file, &error);
    assert_non_null(variables);
    assert_value(variables, "RH_A", "environment", "the environment");
    unsetenv("RH_A");
    assert_value(variables, "RH_A", "credential", "$CREDENTIALS_DIRECTORY");
    assert_value(variables, "RH_B", "two\nlines\n", "$CREDENTIALS_DIRECTORY");
    assert_value(variables, "RH_C", "last", file);
    assert_value(variables, "RH_D", NULL, NULL);
    assert_value(variables, "../RH_A", NULL, NULL);
    assert_value(variables, ".", NULL, NULL);
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_value(variables, "RH_A", "file", file);
    rh_variables_close(variables);
    rh_buffer value = {0};
    assert_true(rh_variables_in_file(file, "RH_C", &value, &error));
    assert_string_equal(value.data, "last");
    rh_buffer_free(&value);
    assert_false(rh_variables_in_file(file, "RH_D", &value, &error));
    assert_false(rh_error_is_set(&error));
    free(file);
}

static void a_file_that_is_not_there_is_an_error(void **state)
{
    rh_error error = {0};
    char *path = rh_format("%s/none", (char *)*state);
    assert_null(rh_variables_open(path, &error));
    assert_non_null(strstr(error.message, "none: No such file"));
    rh_error_clear(&error);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines),
        cmocka_unit_test(comments),
        cmocka_unit_test(quotes),
        cmocka_unit_test(errors_name_the_line_and_never_the_value),
        cmocka_unit_test_setup_teardown(values_come_from_three_places_in_order, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_an_error, folder_make,
                                        folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
