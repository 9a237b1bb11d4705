/* What people see: clean text, widths, the model of a run, and a sink whose reader does not read. */
#include "core/loop.h"
#include "show/checklist.h"
#include "show/sink.h"
#include "show/summary.h"
#include "show/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_clean(const char *dirty, const char *clean)
{
    rh_buffer out = {0};
    rh_text_clean(&out, dirty, strlen(dirty));
    assert_string_equal(out.data ? out.data : "", clean);
    rh_buffer_free(&out);
}

static void foreign_text_cannot_steer_the_terminal(void **state)
{
    (void)state;
    assert_clean("plain", "plain");
    assert_clean("\033[31mred\033[0m", "red");
    assert_clean("a\033]0;title\007b\033]8;;http://x\033\\c", "abc");
    assert_clean("a\033[", "a");
    assert_clean("a\033", "a");
    assert_clean("\033P1$r0m\033\\x", "x");
    assert_clean("a\bb\rc\x7f", "abc");
    assert_clean("one\ntwo\tthree", "one two three");
    assert_clean("\xc2\x9b"
                 "31mC1",
                 "31mC1"); /* CSI as one C1 character */
    assert_clean("abc\xe2\x80\xae"
                 "fed",
                 "abcfed"); /* right-to-left override */
    assert_clean("caf\xc3\xa9 \xe8\xa1\xa8", "café 表");
    assert_clean("bad \xff\xc3(\xc0\xaf", "bad \xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd");
    assert_clean("cut \xe8\xa1", "cut \xef\xbf\xbd\xef\xbf\xbd");
}

static void assert_fit(const char *text, int columns, const char *fitted, int used)
{
    rh_buffer out = {0};
    assert_int_equal(rh_text_fit(&out, text, columns), used);
    assert_string_equal(out.data ? out.data : "", fitted);
    rh_buffer_free(&out);
}

static void columns_are_those_of_the_terminal(void **state)
{
    (void)state;
    assert_int_equal(rh_text_width("abc"), 3);
    assert_int_equal(rh_text_width("é"), 1);
    assert_int_equal(rh_text_width("e\xcc\x81"), 1); /* combining */
    assert_int_equal(rh_text_width("表示"), 4);
    assert_int_equal(rh_text_width("✔ ◷"), 3);
    assert_fit("abcdef", 6, "abcdef", 6);
    assert_fit("abcdef", 5, "abcd…", 5);
    assert_fit("表示表示", 5, "表示…", 5);
    assert_fit("表示表示", 4, "表…", 3);
    assert_fit("abc", 0, "", 0);
    assert_int_equal(rh_text_wrap("one two three", 8), 7);
    assert_int_equal(rh_text_wrap("onetwothree", 5), 5);
    assert_int_equal(rh_text_wrap("表示", 1), 3); /* always goes on */
    assert_int_equal(rh_text_wrap("one", 10), 3);
}

static void assert_duration(int64_t ms, const char *text)
{
    rh_buffer out = {0};
    rh_text_duration(&out, ms);
    assert_string_equal(out.data, text);
    rh_buffer_free(&out);
}

static void durations_sizes_and_words_read_well(void **state)
{
    (void)state;
    assert_duration(0, "0.0s");
    assert_duration(-5, "0.0s");
    assert_duration(41049, "41.0s");
    assert_duration(59999, "59.9s");
    assert_duration(72000, "1m 12s");
    assert_duration(7380000, "2h 03m");
    assert_duration(273600000, "3d 4h");
    rh_buffer out = {0};
    rh_text_size(&out, 812);
    rh_buffer_adds(&out, " ");
    rh_text_size(&out, 1.5 * 1024 * 1024);
    rh_buffer_adds(&out, " ");
    rh_buffer_add_word(&out, "Go");
    rh_buffer_adds(&out, " ");
    rh_buffer_add_word(&out, "it's $HOME");
    rh_buffer_adds(&out, " ");
    rh_buffer_add_word(&out, "");
    assert_string_equal(out.data, "812 B 1.5 MiB Go 'it'\\''s $HOME' ''");
    rh_buffer_free(&out);
}

/* ---- the model ---- */

static rh_model model;
static int64_t now;

static int open_model(void **state)
{
    (void)state;
    rh_model_init(&model, NULL, false);
    now = 1000000;
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    rh_model_free(&model);
    return 0;
}

static void feed(const char *type, const char *key, const char *payload)
{
    now += 500000;
    const rh_event event = {
        .seq = now, .time_us = now, .type = type, .key = key, .payload = payload};
    rh_model_apply(&model, &event, NULL, NULL);
}

static const rh_node *node(const char *key)
{
    const rh_node *found = rh_model_find(&model, key);
    assert_non_null(found);
    return found;
}

static void units_stand_in_their_scopes(void **state)
{
    (void)state;
    feed("run.start", "", "{\"id\":\"shop-1\",\"title\":\"Shop\",\"inputs\":{\"v\":\"1\"}}");
    feed("stage.begin", "A/B", "{\"name\":\"A/B\"}"); /* a name may hold what parts keys */
    feed("step.begin", "A/B/one", "{\"name\":\"one\",\"line\":\"x.lua:3\",\"undo\":true}");
    feed("effect.begin", "A/B/one@1.1",
         "{\"effect\":\"sh.run\",\"describe\":\"true\",\"id\":\"one-1234\"}");
    assert_string_equal(node("A/B/one")->doing, "true");
    feed("output", "one-1234", "{\"text\":\"a\\r10%\\r20%\\r30% of\"}");
    feed("output", "one-1234", "{\"text\":\" it\\nlast\\n\"}");
    assert_string_equal(node("A/B/one")->tail[RH_TAIL - 1], "last");
    assert_string_equal(node("A/B/one")->tail[RH_TAIL - 2], "30% of it");
    assert_null(node("A/B/one")->tail[RH_TAIL - 3]);
    feed("output", "one-1234-2-1", "{\"text\":\"of a command inside\\n\"}");
    assert_string_equal(node("A/B/one")->tail[RH_TAIL - 1], "of a command inside");
    feed("effect.end", "A/B/one@1.1", "{\"status\":\"ok\"}");
    assert_null(node("A/B/one")->doing);
    feed("note", "A/B", "{\"text\":\"well\"}");
    feed("step.end", "A/B/one", "{\"status\":\"ok\",\"ms\":1500}");
    assert_ptr_equal(node("A/B/one")->parent, node("A/B"));
    feed("step.begin", "A/B/one#2", "{\"name\":\"one\"}"); /* the second of that name */
    assert_ptr_equal(node("A/B/one#2")->parent, node("A/B"));
    feed("step.end", "A/B/one#2", "{\"status\":\"ok\"}");
    assert_int_equal(node("A/B/one")->status, RH_NODE_OK);
    bool noted = false;
    for (const rh_node *child = node("A/B")->first; child; child = child->next)
        noted = noted || strcmp(child->name, "well") == 0;
    assert_true(noted);
    assert_int_equal(json_object_size(model.armed), 1);
    feed("rollback.begin", "A/B",
         "{\"cause\":{\"message\":\"no\"}}"); /* of a stage, under its key */
    feed("compensation.begin", "A/B/one!undo", "{\"name\":\"undo one\"}");
    feed("step.begin", "A/B/one!undo/undo one", "{\"name\":\"undo one\"}");
    assert_string_equal(node("A/B/one!undo/undo one")->parent->name, "undo one");
    feed("step.end", "A/B/one!undo/undo one", "{\"status\":\"ok\"}");
    feed("compensation.end", "A/B/one!undo", "{\"status\":\"ok\"}");
    feed("rollback.end", "A/B", "{\"status\":\"ok\"}");
    assert_int_equal(json_object_size(model.armed), 0);
    assert_true(rh_node_is(node("A/B/one!undo")->parent, "rollback"));
    assert_true(rh_node_is(node("A/B"), "stage"));
}

static void a_retried_unit_is_the_same(void **state)
{
    (void)state;
    feed("step.begin", "one", "{\"name\":\"one\"}");
    feed("step.end", "one", "{\"status\":\"failed\",\"error\":{\"message\":\"no:\\n  line\\n\"}}");
    assert_string_equal(node("one")->error, "no:\n  line");
    feed("step.begin", "one", "{\"name\":\"one\"}");
    assert_null(node("one")->error);
    assert_true(rh_node_is_open(node("one")));
    assert_ptr_equal(model.root.first, model.root.last);
}

static void doubts_last_until_they_are_decided(void **state)
{
    (void)state;
    feed("doubt", "one@1.1", "{\"describe\":\"deploy\",\"unit\":\"one\"}");
    feed("doubt", "two@1.1", "{\"describe\":\"tag\"}");
    feed("decision", "one@1.1", "{\"choice\":\"done\"}");
    assert_null(json_object_get(model.doubts, "one@1.1"));
    assert_non_null(json_object_get(model.doubts, "two@1.1"));
    feed("effect.end", "two@1.1", "{\"status\":\"ok\"}");
    assert_int_equal(json_object_size(model.doubts), 0);
}

static void waiting_names_the_command(void **state)
{
    (void)state;
    feed("run.start", "", "{\"id\":\"shop-1\"}");
    feed("approve.begin", "Go on", "{\"name\":\"Go on\",\"roles\":[\"lead\"],\"timeout\":60000}");
    assert_string_equal(node("Go on")->waiting_for, "approval by lead");
    assert_string_equal(node("Go on")->command, "rollouthost approve shop-1 'Go on'");
    assert_int_equal(node("Go on")->until_us, now + 60000000);
    feed("waiting", "Go on",
         "{\"for\":\"approval by lead: rollouthost approve shop-1 Go\",\"until\":5}");
    assert_string_equal(node("Go on")->waiting_for, "approval by lead");
    assert_string_equal(node("Go on")->command, "rollouthost approve shop-1 Go");
    assert_int_equal(node("Go on")->until_us, 5000);
    feed("approve.answer", "Go on",
         "{\"verdict\":\"approved\",\"by\":{\"name\":\"kim\",\"uid\":7},\"comment\":\"ok\"}");
    feed("waiting.end", "Go on", "{}");
    feed("approve.end", "Go on", "{\"status\":\"ok\"}");
    assert_string_equal(node("Go on")->note, "approved by kim: ok");
    assert_null(node("Go on")->command);
}

static void rubbish_is_borne(void **state)
{
    (void)state;
    feed("step.end", "never/begun", "{\"status\":\"ok\",\"ms\":\"soon\"}");
    feed("step.begin", "x", NULL);
    feed("output", "x", "{\"text\":7}");
    feed("progress", "x", "[1,2]");
    feed("waiting", "", "{}");
    feed("check", "x", "{\"expectations\":\"none\"}");
    feed("run.end", "", "not json");
    feed("", "", "{}");
    feed(".end", "", "{}");
    feed("step.begin", "", "{}");
    assert_int_equal(node("never/begun")->status, RH_NODE_OK);
    assert_int_equal(model.exit_code, -1);
    rh_mood mood;
    assert_non_null(rh_summary_title(&model, &mood));
}

/* ---- the checklist ---- */

static void on_change(void *data, const rh_change *change, const rh_event *event)
{
    rh_checklist_change(data, change, event);
}

static void lines_fit_the_width(void **state)
{
    (void)state;
    for (int columns = 20; columns < 120; columns += 7) {
        rh_buffer out = {0};
        const rh_checklist list = {.pen = {.out = &out, .columns = columns}, .model = &model};
        const struct {
            const char *type, *key, *payload;
        } events[] = {
            {"run.start", "",
             "{\"id\":\"shop-20261120-100000-abcd\",\"title\":\"Shop\",\"playbook\":\"shop.lua\"}"},
            {"stage.begin", "Deploy",
             "{\"name\":\"Deploy the whole shop with everything that belongs to it\"}"},
            {"step.begin", "Deploy/s",
             "{\"name\":\"a step with a name that is longer than most terminals\"}"},
            {"check", "Deploy/s", "{\"text\":\"p95 is 312 ms, below 500 ms, and a lot besides\"}"},
            {"step.end", "Deploy/s",
             "{\"status\":\"failed\",\"ms\":123456,\"error\":{\"message\":\"it failed because of a long story\"}}"},
            {"rollback.begin", "",
             "{\"cause\":{\"message\":\"it failed because of a long story\"}}"},
            {"run.end", "", "{\"status\":\"rolled_back\",\"exit\":3}"},
        };
        for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
            const rh_event event = {.seq = 1,
                                    .time_us = 1000000,
                                    .type = events[i].type,
                                    .key = events[i].key,
                                    .payload = events[i].payload};
            rh_model_apply(&model, &event, on_change, (void *)(uintptr_t)&list);
        }
        assert_non_null(strstr(out.data, "✘"));
        for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n"))
            assert_true(rh_text_width(line) < columns);
        rh_buffer_free(&out);
        rh_model_free(&model);
        rh_model_init(&model, NULL, false);
    }
}

/* ---- the sink ---- */

static void on_timer(uv_timer_t *timer) { uv_stop(timer->loop); }

static void a_reader_that_does_not_read_blocks_nobody(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    rh_sink *sink = rh_sink_open(ends[1]);
    uv_timer_t alive; /* the sink alone keeps no loop turning */
    uv_timer_init(rh_loop(), &alive);
    uv_timer_start(&alive, on_timer, 60000, 0);
    char block[4096];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 64; i++) /* four times what a pipe holds */
        rh_sink_write(sink, block, sizeof block);
    assert_true(rh_sink_is_behind(sink));
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0); /* the caller's end is as it was */
    size_t got = 0;
    static char taken[65536];
    while (got < 64 * sizeof block) {
        const ssize_t n = read(ends[0], taken, sizeof taken);
        assert_true(n > 0);
        got += (size_t)n;
        uv_run(rh_loop(), UV_RUN_NOWAIT);
    }
    uv_run(rh_loop(), UV_RUN_NOWAIT);
    assert_false(rh_sink_is_behind(sink));
    close(ends[0]);
    rh_sink_write(sink, block, sizeof block);
    assert_true(rh_sink_is_gone(sink));
    rh_sink_close(sink);
    close(ends[1]);
    uv_close((uv_handle_t *)&alive, NULL);
    assert_int_equal(rh_loop_close(), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_text_cannot_steer_the_terminal),
        cmocka_unit_test(columns_are_those_of_the_terminal),
        cmocka_unit_test(durations_sizes_and_words_read_well),
        cmocka_unit_test_setup_teardown(units_stand_in_their_scopes, open_model, close_model),
        cmocka_unit_test_setup_teardown(a_retried_unit_is_the_same, open_model, close_model),
        cmocka_unit_test_setup_teardown(doubts_last_until_they_are_decided, open_model,
                                        close_model),
        cmocka_unit_test_setup_teardown(waiting_names_the_command, open_model, close_model),
        cmocka_unit_test_setup_teardown(rubbish_is_borne, open_model, close_model),
        cmocka_unit_test_setup_teardown(lines_fit_the_width, open_model, close_model),
        cmocka_unit_test(a_reader_that_does_not_read_blocks_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
