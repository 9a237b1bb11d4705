#include "core/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const words[] = {"timeout", "retry",      "backoff", "undo",
                                    "when",    "on_failure", "x",       NULL};

static void assert_suggests(const char *word, const char *expected)
{
    const char *found = rh_suggest(word, words);
    if (expected) {
        assert_non_null(found);
        assert_string_equal(found, expected);
    } else if (found) {
        fail_msg("\"%s\" for \"%s\"", found, word);
    }
}

static void slips_of_the_fingers(void **state)
{
    (void)state;
    assert_suggests("timeuot", "timeout");  /* swapped */
    assert_suggests("timout", "timeout");   /* missing */
    assert_suggests("timmeout", "timeout"); /* added */
    assert_suggests("tineout", "timeout");  /* wrong */
    assert_suggests("TimeOut", "timeout");  /* case counts nothing */
    assert_suggests("onfailure", "on_failure");
    assert_suggests("unod", "undo");
}

static void other_words(void **state)
{
    (void)state;
    assert_suggests("destructive", NULL);
    assert_suggests("", NULL);
    assert_suggests("y", NULL);
    assert_suggests("a word that is far longer than any word that somebody would write by mistake",
                    NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(slips_of_the_fingers),
                                       cmocka_unit_test(other_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
