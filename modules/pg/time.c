#include "pg.h"

#include <stdio.h>
#include <string.h>

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back; years begin in March, so that the leap day is
 * the last of its year. */
static long days_of(long year, long month, long day)
{
    long y = month <= 2 ? year - 1 : year, of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

static void date_of(long days, long *year, long *month, long *day)
{
    long z = days + 719468, era = z / 146097, of_era = z - era * 146097;
    long y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    long of_year = of_era - (365 * y + y / 4 - y / 100), shifted = (5 * of_year + 2) / 153;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = y + era * 400 + (*month <= 2);
    *day = of_year - (153 * shifted + 2) / 5 + 1;
}

void rh_pg_add_time(rh_buffer *out, const char *text, size_t size)
{
    long year, month, day, hour, minute, second, offset[3] = {0};
    int at = 0, fraction = 0;
    char sign = 0;
    bool whole = size > 0 && size < 64 && text[size - 1] != 'C' && /* BC */
                 sscanf(text, "%6ld-%2ld-%2ld %2ld:%2ld:%2ld%n", &year, &month, &day, &hour,
                        &minute, &second, &at) == 6;
    if (!whole) {
        rh_buffer_add(out, text, size);
        return;
    }
    if (text[at] == '.')
        fraction = (int)strspn(text + at + 1, "0123456789") + 1;
    sscanf(text + at + fraction, "%c%2ld:%2ld:%2ld", &sign, &offset[0], &offset[1], &offset[2]);
    if (sign == '+' || sign == '-') {
        long ahead = (offset[0] * 60 + offset[1]) * 60 + offset[2];
        long seconds = (hour * 60 + minute) * 60 + second + (sign == '+' ? -ahead : ahead);
        long days = days_of(year, month, day);
        for (; seconds < 0; seconds += 86400)
            days--;
        days += seconds / 86400;
        seconds %= 86400;
        date_of(days, &year, &month, &day);
        hour = seconds / 3600;
        minute = seconds / 60 % 60;
        second = seconds % 60;
    }
    rh_buffer_addf(out, "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld%.*s%s", year, month, day, hour, minute,
                   second, fraction, text + at, sign == '+' || sign == '-' ? "Z" : "");
}
