#include "scan.h"

#include "core/buffer.h"

#include <string.h>

enum { WINDOW = 65536 };

static void keep(rh_log_line *line, const char *text, size_t size, int64_t ms)
{
    line->ms = ms;
    line->size = size < RH_LOG_LINE ? size : RH_LOG_LINE;
    while (line->size < size && line->size > 0 && (text[line->size] & 0xC0) == 0x80)
        line->size--; /* no half of a character */
    memcpy(line->text, text, line->size);
}

static void count_in_window(rh_log *log, int64_t ms)
{
    if (log->per_ms <= 0)
        return;
    if (!log->window)
        log->window = rh_alloc(WINDOW * sizeof *log->window);
    if (log->window_count > 0) {
        const int64_t last = log->window[(log->window_first + log->window_count - 1) % WINDOW];
        ms = ms < last ? last : ms; /* lines of several writers are not quite in order */
    }
    while (log->window_count > 0 &&
           (log->window_count == WINDOW || log->window[log->window_first] <= ms - log->per_ms)) {
        log->window_first = (log->window_first + 1) % WINDOW;
        log->window_count--;
    }
    log->window[(log->window_first + log->window_count++) % WINDOW] = ms;
    if ((int64_t)log->window_count > log->found.peak) {
        log->found.peak = (int64_t)log->window_count;
        log->found.peak_ms = ms;
    }
}

static bool matches(const regex_t *regex, const char *text, size_t size)
{
    regmatch_t span = {.rm_so = 0, .rm_eo = (regoff_t)size};
    return regexec(regex, text, 1, &span, REG_STARTEND) == 0;
}

void rh_log_take_line(rh_log *log, const char *text, size_t size)
{
    rh_log_found *found = &log->found;
    if (size > 0 && text[size - 1] == '\r')
        size--;
    const int64_t own = rh_log_stamp(text, size, log->zone, log->started_ms);
    if (own)
        log->line_ms = own;
    const int64_t ms = log->line_ms; /* a stack trace belongs to the line before it */
    if (log->from_ms && ms && ms < log->from_ms)
        return;
    keep(&found->tail[found->lines++ % RH_LOG_SAMPLES], text, size, ms);
    if (!matches(&log->match, text, size) || (log->has_except && matches(&log->except, text, size)))
        return;
    if (found->matches < RH_LOG_SAMPLES)
        keep(&found->first[found->matches], text, size, ms);
    keep(&found->last[found->matches++ % RH_LOG_SAMPLES], text, size, ms);
    if (ms) {
        found->stamped++;
        found->first_ms = found->first_ms ? found->first_ms : ms;
        found->last_ms = ms;
        count_in_window(log, ms);
    }
}

size_t rh_log_take_lines(rh_log *log, rh_log_stream *s, char *bytes, size_t size)
{
    size_t taken = 0;
    char *newline;
    while (taken < size && (newline = memchr(bytes + taken, '\n', size - taken))) {
        const size_t line = (size_t)(newline - (bytes + taken));
        *newline = '\0'; /* regexec() is told the size; some that stand in for it measure it */
        if (!s->skipping)
            rh_log_take_line(log, bytes + taken, line);
        s->skipping = false;
        taken += line + 1;
    }
    return taken;
}
