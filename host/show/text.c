#include "show/text.h"

#include <locale.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* Widths come from the C library in a UTF-8 locale of our own: the process keeps the C locale, on which
 * Lua's patterns and number formats depend. */
static locale_t utf8(void)
{
    static locale_t locale;
    if (!locale)
        locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return locale;
}

/* Decodes one character; a byte that is not UTF-8 counts as U+FFFD of one byte. */
static size_t decode(const char *text, size_t size, wchar_t *wide)
{
    const unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        *wide = (wchar_t)first;
        return 1;
    }
    const size_t need = first >= 0xf0 && first < 0xf5 ? 4
                        : first >= 0xe0               ? 3
                        : first >= 0xc2               ? 2
                                                      : 0;
    *wide = 0xfffd;
    if (!need || first >= 0xf5 || size < need)
        return 1;
    uint32_t code = first & (need == 4 ? 0x07u : need == 3 ? 0x0fu : 0x1fu);
    for (size_t i = 1; i < need; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 1;
        code = code << 6 | ((unsigned char)text[i] & 0x3fu);
    }
    const uint32_t least = need == 4 ? 0x10000 : need == 3 ? 0x800 : 0x80;
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 1;
    *wide = (wchar_t)code;
    return need;
}

/* Bytes of the terminal escape sequence at text[0] == ESC. */
static size_t escape_size(const char *text, size_t size)
{
    if (size < 2)
        return 1;
    size_t i = 2;
    if (text[1] == '[') {
        while (i < size && !((unsigned char)text[i] >= 0x40 && (unsigned char)text[i] <= 0x7e))
            i++;
        return i < size ? i + 1 : size;
    }
    if (text[1] == ']' || text[1] == 'P' || text[1] == '_' || text[1] == '^' || text[1] == 'X') {
        while (i < size && text[i] != 7 && text[i] != 27)
            i++;
        if (i >= size)
            return size;
        return text[i] == 27 && i + 1 < size ? i + 2 : i + 1;
    }
    return 2;
}

/* Characters that would change how the text around them reads. */
static bool is_hidden(wchar_t c)
{
    return (c >= 0x80 && c < 0xa0) || c == 0x200b || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void rh_text_clean(rh_buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        const unsigned char byte = (unsigned char)text[i];
        if (byte == 27) {
            i += escape_size(text + i, size - i);
            continue;
        }
        if (byte < 0x20 || byte == 0x7f) {
            if (byte == '\n' || byte == '\t')
                rh_buffer_add(out, " ", 1);
            i++;
            continue;
        }
        wchar_t wide;
        const size_t used = decode(text + i, size - i, &wide);
        if (wide == 0xfffd && used == 1)
            rh_buffer_adds(out, "\xef\xbf\xbd");
        else if (!is_hidden(wide))
            rh_buffer_add(out, text + i, used);
        i += used;
    }
}

void rh_text_clean_lines(rh_buffer *out, const char *text, size_t size)
{
    const char *const end = text + size;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop)
            stop = end;
        rh_buffer line = {0};
        rh_text_clean(&line, text, (size_t)(stop - text));
        while (line.size && line.data[line.size - 1] == ' ')
            line.data[--line.size] = '\0';
        if (line.size)
            rh_buffer_addf(out, "%s%s", out->size ? "\n" : "", line.data);
        rh_buffer_free(&line);
        text = stop + 1;
    }
}

char *rh_text_first_line(const char *text)
{
    size_t size = strcspn(text, "\n");
    if (text[size] && size > 0 && text[size - 1] == ':')
        size--;
    return rh_strndup(text, size);
}

static int char_width(wchar_t wide)
{
    if (wide < 0x80)
        return wide >= 0x20 && wide != 0x7f;
    if (!utf8())
        return 1;
    const locale_t before = uselocale(utf8());
    const int width = wcwidth(wide);
    uselocale(before);
    return width < 0 ? 0 : width;
}

int rh_text_width(const char *text)
{
    int columns = 0;
    const size_t size = strlen(text);
    for (size_t i = 0; i < size;) {
        wchar_t wide;
        i += decode(text + i, size - i, &wide);
        columns += char_width(wide);
    }
    return columns;
}

/* Bytes of text that fit into the columns; *used is how many of those they take. */
static size_t prefix(const char *text, int columns, int *used)
{
    const size_t size = strlen(text);
    size_t i = 0;
    *used = 0;
    while (i < size) {
        wchar_t wide;
        const size_t bytes = decode(text + i, size - i, &wide);
        const int width = char_width(wide);
        if (*used + width > columns)
            break;
        *used += width;
        i += bytes;
    }
    return i;
}

int rh_text_fit(rh_buffer *out, const char *text, int columns)
{
    int used = 0;
    if (columns <= 0)
        return 0;
    const size_t whole = prefix(text, columns, &used);
    if (!text[whole]) {
        rh_buffer_add(out, text, whole);
        return used;
    }
    rh_buffer_add(out, text, prefix(text, columns - 1, &used));
    rh_buffer_adds(out, "…");
    return used + 1;
}

size_t rh_text_wrap(const char *text, int columns)
{
    int used = 0;
    const size_t whole = prefix(text, columns, &used);
    if (!text[whole])
        return whole;
    for (size_t i = whole; i > 0; i--)
        if (text[i] == ' ')
            return i;
    if (whole > 0)
        return whole;
    wchar_t wide;
    return decode(text, strlen(text), &wide);
}

void rh_text_duration(rh_buffer *out, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    const long long seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
    if (seconds < 60)
        rh_buffer_addf(out, "%lld.%llds", seconds, (long long)(ms / 100 % 10));
    else if (minutes < 60)
        rh_buffer_addf(out, "%lldm %02llds", minutes, seconds % 60);
    else if (hours < 48)
        rh_buffer_addf(out, "%lldh %02lldm", hours, minutes % 60);
    else
        rh_buffer_addf(out, "%lldd %lldh", hours / 24, hours % 24);
}

void rh_text_size(rh_buffer *out, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    rh_buffer_addf(out, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void rh_text_time(rh_buffer *out, int64_t us)
{
    const time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];
    localtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    rh_buffer_adds(out, text);
}

void rh_text_clock(rh_buffer *out, int64_t us)
{
    const time_t now = time(NULL), then = (time_t)(us / 1000000);
    struct tm today, day;
    char text[32];
    localtime_r(&now, &today);
    localtime_r(&then, &day);
    if (today.tm_yday != day.tm_yday || today.tm_year != day.tm_year)
        strftime(text, sizeof text, "%a %d %b %H:%M", &day);
    else if (then - now < 120 && now - then < 120) /* minutes would say nothing */
        strftime(text, sizeof text, "%H:%M:%S", &day);
    else
        strftime(text, sizeof text, "%H:%M", &day);
    rh_buffer_adds(out, text);
}
