#include "show/progress.h"

#include "show/payload.h"
#include "show/text.h"

#include <stdlib.h>
#include <string.h>

/* Events that come faster are measured together; older speed fades with this time. */
static const double SHORTEST = 0.2, MEMORY = 10;

static bool same(const char *left, const char *right)
{
    return left == right || (left && right && strcmp(left, right) == 0);
}

static void measure(rh_progress *progress, int64_t time_us)
{
    const double seconds = (double)(time_us - progress->measured_us) / 1e6;
    if (seconds < 0) { /* the clock was set */
        progress->measured_us = time_us;
        progress->measured = progress->done;
    }
    if (seconds < SHORTEST)
        return;
    const double now = (progress->done - progress->measured) / seconds;
    const double weight = progress->rate > 0 ? seconds / (seconds + MEMORY) : 1;
    progress->rate += weight * (now - progress->rate);
    progress->measured = progress->done;
    progress->measured_us = time_us;
}

/* "12 of 40 tables"; NULL where it is not said whole. */
static char *take_beside(const json_t *payload)
{
    const json_t *beside = json_object_get(payload, "beside");
    const json_t *done = json_object_get(beside, "done"), *total = json_object_get(beside, "total");
    char *unit = rh_payload_shown(beside, "unit");
    rh_buffer text = {0};
    if (unit && json_is_number(done) && json_is_number(total))
        rh_buffer_addf(&text, "%.0f of %.0f %s", json_number_value(done), json_number_value(total),
                       unit);
    free(unit);
    return text.data;
}

void rh_progress_take(rh_progress *progress, const json_t *payload, int64_t time_us)
{
    const double done = json_number_value(json_object_get(payload, "done"));
    const double total = json_number_value(json_object_get(payload, "total"));
    char *unit = rh_payload_shown(payload, "unit");
    const bool goes_on = progress->measured_us && done >= progress->done &&
                         total == progress->total && same(unit, progress->unit);
    if (!goes_on)
        *progress = (rh_progress){.unit = progress->unit,
                                  .beside = progress->beside,
                                  .total = total,
                                  .measured = done,
                                  .measured_us = time_us,
                                  .begun_us = time_us,
                                  .told_us = progress->told_us ? progress->told_us : time_us};
    free(progress->unit);
    progress->unit = unit;
    free(progress->beside);
    progress->beside = take_beside(payload);
    progress->done = done;
    if (goes_on)
        measure(progress, time_us);
}

bool rh_progress_is_due(rh_progress *progress, int64_t time_us, int64_t interval_us)
{
    if (time_us - progress->told_us < interval_us)
        return false;
    progress->told_us = time_us;
    return true;
}

bool rh_progress_is_known(const rh_progress *progress)
{
    return progress->total > 0 || progress->done > 0;
}

static void add_amount(rh_buffer *out, const rh_progress *progress, double amount)
{
    if (progress->unit && strcmp(progress->unit, "bytes") == 0)
        rh_text_size(out, amount);
    else
        rh_buffer_addf(out, "%.0f", amount);
}

static void add_time_left(rh_buffer *out, const rh_progress *progress)
{
    const double left = (progress->total - progress->done) / progress->rate;
    if (left < 0 || left > 1e8) /* years are a guess */
        return;
    rh_buffer_adds(out, "  ");
    if (left < 60)
        rh_buffer_addf(out, "%.0fs", left);
    else
        rh_text_duration(out, (int64_t)(left * 1000));
    rh_buffer_adds(out, " left");
}

void rh_progress_show(rh_buffer *out, const rh_progress *progress)
{
    const bool bytes = progress->unit && strcmp(progress->unit, "bytes") == 0;
    if (progress->total > 0) {
        const double part = progress->done < progress->total ? progress->done / progress->total : 1;
        rh_buffer_addf(out, "%3.0f%%  ", part * 100);
    }
    add_amount(out, progress, progress->done);
    if (progress->total > 0) {
        rh_buffer_adds(out, " of ");
        add_amount(out, progress, progress->total);
    }
    if (!bytes && progress->unit)
        rh_buffer_addf(out, " %s", progress->unit);
    if (progress->beside)
        rh_buffer_addf(out, ", %s", progress->beside);
    if (progress->rate <= 0)
        return;
    rh_buffer_adds(out, "  ");
    if (!bytes && progress->rate < 10)
        rh_buffer_addf(out, "%.1f", progress->rate);
    else
        add_amount(out, progress, progress->rate);
    rh_buffer_adds(out, "/s");
    if (progress->total > progress->done)
        add_time_left(out, progress);
}

void rh_progress_clear(rh_progress *progress)
{
    free(progress->unit);
    free(progress->beside);
    *progress = (rh_progress){0};
}
