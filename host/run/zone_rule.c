#include "run/zone_rule.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { HOUR = 3600, DAY = 86400 };

static const char *read_name(const char *p, char out[RH_ZONE_NAME])
{
    const char *start = p, *end;
    if (*p == '<') {
        start = p + 1;
        end = strchr(start, '>');
        if (!end)
            return NULL;
        p = end + 1;
    } else {
        while (isalpha((unsigned char)*p))
            p++;
        end = p;
    }
    size_t size = (size_t)(end - start);
    if (size < 3 || size >= RH_ZONE_NAME)
        return NULL;
    memcpy(out, start, size);
    out[size] = '\0';
    return p;
}

static const char *read_number(const char *p, int *out, int low, int high)
{
    if (!isdigit((unsigned char)*p))
        return NULL;
    int value = 0;
    for (; isdigit((unsigned char)*p); p++) {
        value = value * 10 + (*p - '0');
        if (value > high)
            return NULL;
    }
    *out = value;
    return value >= low ? p : NULL;
}

/* [+-]hh[:mm[:ss]] */
static const char *read_time(const char *p, int32_t *out)
{
    int sign = *p == '-' ? -1 : 1, hours = 0, minutes = 0, seconds = 0;
    if (*p == '-' || *p == '+')
        p++;
    p = read_number(p, &hours, 0, 167);
    if (p && *p == ':')
        p = read_number(p + 1, &minutes, 0, 59);
    if (p && *p == ':')
        p = read_number(p + 1, &seconds, 0, 59);
    *out = sign * (hours * HOUR + minutes * 60 + seconds);
    return p;
}

static const char *read_change(const char *p, rh_zone_change *change)
{
    if (*p++ != ',')
        return NULL;
    change->form = *p == 'M' || *p == 'J' ? *p++ : '0';
    if (change->form == 'M') {
        p = read_number(p, &change->month, 1, 12);
        if (!p || *p != '.')
            return NULL;
        p = read_number(p + 1, &change->week, 1, 5);
        if (!p || *p != '.')
            return NULL;
        p = read_number(p + 1, &change->day, 0, 6);
    } else {
        p = read_number(p, &change->day, change->form == 'J' ? 1 : 0, 365);
    }
    change->time = 2 * HOUR;
    return p && *p == '/' ? read_time(p + 1, &change->time) : p;
}

bool rh_zone_rule_parse(const char *text, rh_zone_rule *rule)
{
    *rule = (rh_zone_rule){0};
    const char *p = read_name(text, rule->standard);
    if (p)
        p = read_time(p, &rule->standard_offset);
    if (!p)
        return false;
    rule->standard_offset = -rule->standard_offset;
    if (!*p)
        return true;
    p = read_name(p, rule->summer);
    if (!p)
        return false;
    rule->summer_offset = rule->standard_offset + HOUR;
    if (*p && *p != ',') {
        p = read_time(p, &rule->summer_offset);
        rule->summer_offset = -rule->summer_offset;
    }
    if (p)
        p = read_change(p, &rule->start);
    if (p)
        p = read_change(p, &rule->end);
    return p && !*p;
}

/* Days since 1970 of a date (Howard Hinnant's civil calendar arithmetic). */
static int64_t days_from_date(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int64_t year_of(int64_t seconds)
{
    int64_t days = floor_div(seconds, DAY);
    int64_t year = 1970 + floor_div(days * 400, 146097);
    while (days_from_date(year, 1, 1) > days)
        year--;
    while (days_from_date(year + 1, 1, 1) <= days)
        year++;
    return year;
}

/* Local seconds since 1970 at which the change happens in that year. */
static int64_t change_in(const rh_zone_change *change, int64_t year)
{
    int64_t first = days_from_date(year, 1, 1), day;
    if (change->form == 'M') {
        int64_t month = days_from_date(year, change->month, 1);
        int64_t next = change->month == 12 ? days_from_date(year + 1, 1, 1)
                                           : days_from_date(year, change->month + 1, 1);
        int64_t weekday = ((month + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        day = month + (change->day - weekday + 7) % 7 + (change->week - 1) * 7;
        while (day >= next)
            day -= 7;
    } else if (change->form == 'J') {
        bool leap = days_from_date(year, 3, 1) - first == 60;
        day = first + change->day - 1 + (leap && change->day >= 60);
    } else {
        day = first + change->day;
    }
    return day * DAY + change->time;
}

void rh_zone_rule_at(const rh_zone_rule *rule, int64_t when, int32_t *offset,
                     char abbreviation[RH_ZONE_NAME])
{
    bool summer = false;
    if (rule->summer[0]) {
        int64_t year = year_of(when + rule->standard_offset);
        int64_t start = change_in(&rule->start, year) - rule->standard_offset;
        int64_t end = change_in(&rule->end, year) - rule->summer_offset;
        summer = start < end ? when >= start && when < end : when >= start || when < end;
    }
    *offset = summer ? rule->summer_offset : rule->standard_offset;
    snprintf(abbreviation, RH_ZONE_NAME, "%s", summer ? rule->summer : rule->standard);
}
