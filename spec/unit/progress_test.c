/* How far an effect is: rate and time left, and what the displays make of it. */
#include "core/event.h"
#include "show/progress.h"
#include "show/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECOND = 1000000 };

static int64_t now = (int64_t)1700000000 * SECOND;

static void take(rh_progress *progress, double done, double total, const char *unit)
{
    json_t *payload = json_pack("{sf sf ss}", "done", done, "total", total, "unit", unit);
    assert_non_null(payload);
    rh_progress_take(progress, payload, now);
    json_decref(payload);
}

static void assert_shown(const rh_progress *progress, const char *text)
{
    rh_buffer out = {0};
    rh_progress_show(&out, progress);
    assert_string_equal(out.data ? out.data : "", text);
    rh_buffer_free(&out);
}

static void steady_work_has_its_rate_and_end(void **state)
{
    (void)state;
    rh_progress progress = {0};
    assert_false(rh_progress_is_known(&progress));
    take(&progress, 0, 100 << 20, "bytes");
    assert_shown(&progress, "  0%  0 B of 100.0 MiB");
    for (int i = 1; i <= 40; i++) {
        now += SECOND / 4;
        take(&progress, i * (512 << 10), 100 << 20, "bytes");
    }
    assert_true(rh_progress_is_known(&progress));
    assert_shown(&progress, " 20%  20.0 MiB of 100.0 MiB  2.0 MiB/s  40s left");
    now += SECOND;
    take(&progress, 100 << 20, 100 << 20, "bytes");
    rh_buffer out = {0};
    rh_progress_show(&out, &progress);
    assert_non_null(strstr(out.data, "100%"));
    assert_null(strstr(out.data, "left"));
    rh_buffer_free(&out);
    rh_progress_clear(&progress);
}

static void a_stall_slows_it_and_bursts_are_measured_together(void **state)
{
    (void)state;
    rh_progress progress = {0};
    for (int i = 0; i <= 20; i++, now += SECOND)
        take(&progress, i * 100, 10000, "rows");
    assert_shown(&progress, " 20%  2000 of 10000 rows  100/s  1m 20s left");
    for (int i = 0; i < 30; i++, now += SECOND)
        take(&progress, 2000, 10000, "rows");
    assert_true(progress.rate > 0 && progress.rate < 20);
    const double before = progress.rate;
    for (int i = 0; i < 100; i++, now += 1000) /* 100 events in a tenth of a second */
        take(&progress, 2000 + i, 10000, "rows");
    assert_true(progress.rate < before * 3);
    rh_progress_clear(&progress);
}

static void another_piece_of_work_begins_anew(void **state)
{
    (void)state;
    rh_progress progress = {0};
    take(&progress, 0, 10, "tables");
    now += SECOND;
    take(&progress, 5, 10, "tables");
    assert_shown(&progress, " 50%  5 of 10 tables  5.0/s  1s left");
    take(&progress, 1, 10, "tables");
    assert_shown(&progress, " 10%  1 of 10 tables");
    take(&progress, 3, 0, "files");
    assert_shown(&progress, "3 files");
    now -= 3600 * (int64_t)SECOND; /* the clock was set back */
    take(&progress, 4, 0, "files");
    assert_shown(&progress, "4 files");
    now += SECOND;
    take(&progress, 6, 0, "files");
    assert_shown(&progress, "6 files  2.0/s");
    rh_progress_clear(&progress);
}

static void other_units_stand_beside(void **state)
{
    (void)state;
    rh_progress progress = {0};
    for (int i = 0; i <= 4; i++, now += SECOND) {
        json_t *payload =
            json_pack("{si si ss s{si si ss}}", "done", i << 20, "total", 8 << 20, "unit", "bytes",
                      "beside", "done", i * 5, "total", 40, "unit", "tables");
        rh_progress_take(&progress, payload, now);
        json_decref(payload);
    }
    assert_shown(&progress, " 50%  4.0 MiB of 8.0 MiB, 20 of 40 tables  1.0 MiB/s  4s left");
    take(&progress, 5 << 20, 8 << 20, "bytes");
    assert_shown(&progress, " 62%  5.0 MiB of 8.0 MiB  1.0 MiB/s  3s left");
    rh_progress_clear(&progress);
}

static void rubbish_is_borne(void **state)
{
    (void)state;
    static const char *const texts[] = {"[1]",
                                        "{}",
                                        "{\"done\":\"x\",\"total\":-5,\"unit\":7}",
                                        "{\"done\":1e300,\"total\":1e-300}",
                                        "{\"done\":-1}",
                                        "{\"done\":1,\"beside\":{\"done\":\"x\",\"unit\":[]}}"};
    rh_progress progress = {0};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *payload = json_loads(texts[i], 0, NULL);
        now += SECOND;
        rh_progress_take(&progress, payload, now);
        rh_buffer out = {0};
        rh_progress_show(&out, &progress);
        rh_buffer_free(&out);
        json_decref(payload);
    }
    rh_progress_clear(&progress);
}

static void on_change(void *view, const rh_change *change, const rh_event *event)
{
    ((rh_view *)view)->class->change(view, change, event);
}

static void apply(rh_view *view, const char *type, const char *key, const char *payload)
{
    const rh_event event = {.seq = 1, .time_us = now, .type = type, .key = key, .payload = payload};
    rh_model_apply(&view->model, &event, on_change, view);
}

static size_t count(const char *text, const char *word)
{
    size_t found = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        found++;
    return found;
}

static void plain_lines_tell_it_now_and_then(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    rh_view *view = rh_plain_open();
    view->sink = rh_sink_open(fileno(file));
    rh_model_init(&view->model, NULL, false);
    apply(view, "step.begin", "back up", "{\"name\":\"back up\"}");
    for (int effect = 0; effect < 2; effect++) {
        apply(view, "effect.begin", "back up@1.1",
              "{\"effect\":\"pg.dump\",\"describe\":\"dump\"}");
        for (int i = 0; i <= 120; i++, now += SECOND / 4) { /* 30 s */
            char payload[80];
            snprintf(payload, sizeof payload, "{\"done\":%d,\"total\":200,\"unit\":\"rows\"}", i);
            apply(view, "progress", "back up", payload);
        }
        apply(view, "effect.end", "back up@1.1", "{}");
        assert_false(rh_progress_is_known(&rh_model_find(&view->model, "back up")->progress));
    }
    view->class->close(view);
    char text[8192] = {0};
    rewind(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    assert_int_equal(count(text, " PART "), 6);
    assert_non_null(strstr(text, "PART  back up:  20%  40 of 200 rows  4.0/s  40s left\n"));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_work_has_its_rate_and_end),
        cmocka_unit_test(a_stall_slows_it_and_bursts_are_measured_together),
        cmocka_unit_test(another_piece_of_work_begins_anew),
        cmocka_unit_test(other_units_stand_beside),
        cmocka_unit_test(rubbish_is_borne),
        cmocka_unit_test(plain_lines_tell_it_now_and_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
