#include "log.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

enum { LOOKED_AT = 200, DAY_MS = 86400000 };

typedef struct reader {
    const char *at, *end;
} reader;

/* `count` digits as a number, or -1. */
static int digits(reader *r, int count)
{
    int value = 0;
    if (r->end - r->at < count)
        return -1;
    for (int i = 0; i < count; i++, r->at++) {
        if (!isdigit((unsigned char)*r->at))
            return -1;
        value = value * 10 + (*r->at - '0');
    }
    return value;
}

static bool one(reader *r, const char *of)
{
    if (r->at >= r->end || *r->at == '\0' || !strchr(of, *r->at))
        return false;
    r->at++;
    return true;
}

static int month_name(reader *r)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (r->end - r->at < 3)
        return -1;
    for (int i = 0; i < 12; i++)
        if (memcmp(names + 3 * i, r->at, 3) == 0) {
            r->at += 3;
            return i;
        }
    return -1;
}

static bool clock_time(reader *r, struct tm *tm)
{
    tm->tm_hour = digits(r, 2);
    if (tm->tm_hour < 0 || !one(r, ":"))
        return false;
    tm->tm_min = digits(r, 2);
    if (tm->tm_min < 0 || !one(r, ":"))
        return false;
    tm->tm_sec = digits(r, 2);
    return tm->tm_sec >= 0 && tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

static int64_t fraction(reader *r)
{
    int64_t ms = 0, scale = 100;
    reader saved = *r;
    if (!one(r, ".,"))
        return 0;
    if (r->at >= r->end || !isdigit((unsigned char)*r->at)) {
        *r = saved;
        return 0;
    }
    for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++, scale /= 10)
        ms += (*r->at - '0') * scale;
    return ms;
}

/* "Z", "+01:00", "-0530", " +01": as seconds; false where none follows. */
static bool zone(reader r, int64_t *offset)
{
    const bool apart = one(&r, " "); /* then a number is a zone only if it looks like one */
    *offset = 0;
    if (one(&r, "Z"))
        return r.at == r.end || !isalnum((unsigned char)*r.at);
    const bool west = r.at < r.end && *r.at == '-';
    if (!one(&r, "+-"))
        return false;
    const int hours = digits(&r, 2);
    one(&r, ":");
    const int minutes = digits(&r, 2);
    *offset = (hours * 3600 + (minutes > 0 ? minutes * 60 : 0)) * (west ? -1 : 1);
    return hours >= 0 && hours < 15 && (minutes >= 0 || !apart);
}

/* The seconds of `tm` in that zone, minutes east of UTC. */
static int64_t seconds_in(struct tm *tm, int minutes)
{
    tm->tm_isdst = -1;
    return minutes == RH_LOG_LOCAL ? (int64_t)mktime(tm) : (int64_t)timegm(tm) - minutes * 60;
}

/* In the zone that follows, or else in that one. */
static int64_t seconds(reader r, struct tm *tm, int minutes)
{
    int64_t offset;
    return zone(r, &offset) ? (int64_t)timegm(tm) - offset : seconds_in(tm, minutes);
}

/* 2026-11-20T09:30:00.123+01:00, 2026-11-20 09:30:00,123, 2026/11/20 09:30:00 */
static int64_t iso(reader r, int minutes)
{
    struct tm tm = {.tm_year = digits(&r, 4) - 1900};
    if (tm.tm_year < 70 || tm.tm_year > 1000 || !one(&r, "-/"))
        return 0;
    tm.tm_mon = digits(&r, 2) - 1;
    if (tm.tm_mon < 0 || tm.tm_mon > 11 || !one(&r, "-/"))
        return 0;
    tm.tm_mday = digits(&r, 2);
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || !one(&r, "T ") || !clock_time(&r, &tm))
        return 0;
    const int64_t ms = fraction(&r);
    return seconds(r, &tm, minutes) * 1000 + ms;
}

/* 20/Nov/2026:09:30:00 +0100 */
static int64_t web(reader r, int minutes)
{
    struct tm tm = {.tm_mday = digits(&r, 2)};
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || !one(&r, "/"))
        return 0;
    tm.tm_mon = month_name(&r);
    if (tm.tm_mon < 0 || !one(&r, "/"))
        return 0;
    tm.tm_year = digits(&r, 4) - 1900;
    if (tm.tm_year < 70 || !one(&r, ":") || !clock_time(&r, &tm))
        return 0;
    return seconds(r, &tm, minutes) * 1000;
}

/* Nov 20 09:30:00, at the line's beginning. A date that lies ahead is last year's. */
static int64_t syslog(reader r, int minutes, int64_t now_ms)
{
    struct tm tm = {.tm_mon = month_name(&r)}, today;
    const time_t now = (time_t)(now_ms / 1000);
    if (tm.tm_mon < 0 || !one(&r, " ") || !localtime_r(&now, &today))
        return 0;
    tm.tm_mday = one(&r, " ") ? digits(&r, 1) : digits(&r, 2);
    if (tm.tm_mday < 1 || tm.tm_mday > 31 || !one(&r, " ") || !clock_time(&r, &tm))
        return 0;
    const struct tm given = tm;
    for (int back = 0; back < 2; back++) {
        tm = given;
        tm.tm_year = today.tm_year - back;
        const int64_t ms = seconds_in(&tm, minutes) * 1000;
        if (ms <= now_ms + DAY_MS)
            return ms;
    }
    return 0;
}

/* Seconds (10 digits, with or without a fraction) or milliseconds (13 digits). */
static int64_t epoch(reader r)
{
    int64_t value = 0;
    int count = 0;
    for (; r.at < r.end && isdigit((unsigned char)*r.at) && count < 14; r.at++, count++)
        value = value * 10 + (*r.at - '0');
    if (count == 13)
        return value;
    return count == 10 ? value * 1000 + fraction(&r) : 0;
}

static int64_t json_epoch(const char *line, size_t size)
{
    static const char *const keys[] = {"\"time\":", "\"ts\":", "\"timestamp\":"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *found = memmem(line, size, keys[i], strlen(keys[i]));
        if (!found)
            continue;
        reader r = {found + strlen(keys[i]), line + size};
        one(&r, " ");
        const int64_t ms = epoch(r);
        if (ms)
            return ms;
    }
    return 0;
}

int64_t rh_log_stamp(const char *line, size_t size, int minutes, int64_t now_ms)
{
    if (size > LOOKED_AT)
        size = LOOKED_AT;
    const reader start = {line, line + size};
    int64_t ms =
        size > 0 && isdigit((unsigned char)*line) ? epoch(start) : syslog(start, minutes, now_ms);
    for (size_t i = 0; !ms && i + 19 <= size; i++) {
        if (!isdigit((unsigned char)line[i]) || (i > 0 && isdigit((unsigned char)line[i - 1])))
            continue;
        const reader r = {line + i, line + size};
        ms = line[i + 2] == '/'                         ? web(r, minutes)
             : line[i + 4] == '-' || line[i + 4] == '/' ? iso(r, minutes)
                                                        : 0;
    }
    return ms ? ms : json_epoch(line, size);
}
