#include "core/mask_encode.h"

#include "core/buffer.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_plain(unsigned char byte, const char *also)
{
    return (byte < 0x80 && isalnum(byte)) || (byte != '\0' && strchr(also, byte));
}

static void put(rh_buffer *out, char byte)
{
    if (out->capacity - out->size < 2)
        rh_buffer_reserve(out, 64);
    out->data[out->size++] = byte;
}

static void put_text(rh_buffer *out, const char *text)
{
    while (*text)
        put(out, *text++);
}

static void put_hex(rh_buffer *out, unsigned value, int digits, bool upper)
{
    while (digits-- > 0)
        put(out, (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value >> (4 * digits) & 15]);
}

/* ── percent-encoding ─────────────────────────────────────────────────────────────────────────── */

static void percent(const char *value, size_t size, const char *keep, bool plus, bool upper,
                    rh_buffer *out)
{
    rh_buffer_clear(out);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (plus && byte == ' ')
            put(out, '+');
        else if (is_plain(byte, keep))
            put(out, (char)byte);
        else {
            put(out, '%');
            put_hex(out, byte, 2, upper);
        }
    }
}

static void percent_forms(const char *value, size_t size, rh_mask_form form, void *data,
                          rh_buffer *out)
{
    static const char *const keeps[] = {
        "-._~",                 /* RFC 3986, curl */
        "-._~!'()*",            /* encodeURIComponent */
        "-._*",                 /* HTML forms */
        "-._",                  /* PHP's urlencode */
        "-._~/",                /* Python's quote, paths */
        "-._~!'()*;,/?:@&=+$#", /* encodeURI */
        "-._~!'()*;,&=+$",      /* userinfo */
    };
    for (size_t i = 0; i < sizeof keeps / sizeof *keeps; i++)
        for (unsigned variant = 0; variant < 4; variant++) {
            percent(value, size, keeps[i], variant & 1, variant & 2, out);
            form(data, out->data, out->size);
        }
}

/* ── JSON ─────────────────────────────────────────────────────────────────────────────────────── */

enum {
    JSON_SLASH = 1,
    JSON_ASCII = 2,
    JSON_UPPER = 4,
    JSON_NUMERIC = 8,
    JSON_HTML = 16,
    JSON_APOSTROPHE = 32, /* with JSON_HTML only */
    JSON_ALL = 64,
};

/* The code point at `text`, or -1 where it is no UTF-8; *length is the bytes it takes. */
static int32_t decode(const unsigned char *text, size_t size, size_t *length)
{
    unsigned char lead = text[0];
    *length = 1;
    if (lead < 0x80)
        return lead;
    size_t more = lead >= 0xf0 && lead < 0xf8 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead >= 0xf8 || size <= more)
        return -1;
    int32_t point = lead & (0x3f >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return -1;
        point = point << 6 | (text[i] & 0x3f);
    }
    *length = more + 1;
    return point;
}

static void json_unit(rh_buffer *out, int32_t unit, unsigned flags)
{
    put_text(out, "\\u");
    put_hex(out, (unsigned)unit, 4, flags & JSON_UPPER);
}

static void json(const char *value, size_t size, unsigned flags, rh_buffer *out)
{
    static const char shorts[] = "\b\f\n\r\t", letters[] = "bfnrt";
    rh_buffer_clear(out);
    for (size_t i = 0, length; i < size; i += length) {
        int32_t point = decode((const unsigned char *)value + i, size - i, &length);
        const char *found = point > 0 && point < 0x80 ? strchr(shorts, point) : NULL;
        if (found && !(flags & JSON_NUMERIC)) {
            put(out, '\\');
            put(out, letters[found - shorts]);
        } else if (point == '"' || point == '\\' || (point == '/' && (flags & JSON_SLASH))) {
            put(out, '\\');
            put(out, (char)point);
        } else if ((point >= 0 && point < 0x20) ||
                   ((flags & JSON_HTML) && (point == '<' || point == '>' || point == '&')) ||
                   ((flags & JSON_APOSTROPHE) && point == '\'') ||
                   ((flags & JSON_ASCII) && point >= 0x7f && point < 0x10000))
            json_unit(out, point, flags);
        else if ((flags & JSON_ASCII) && point >= 0x10000) {
            json_unit(out, 0xd800 + ((point - 0x10000) >> 10), flags);
            json_unit(out, 0xdc00 + ((point - 0x10000) & 0x3ff), flags);
        } else
            for (size_t k = 0; k < length; k++)
                put(out, value[i + k]);
    }
}

static void json_forms(const char *value, size_t size, rh_mask_form form, void *data,
                       rh_buffer *out)
{
    for (unsigned flags = 0; flags < JSON_ALL; flags++) {
        if ((flags & JSON_APOSTROPHE) && !(flags & JSON_HTML))
            continue;
        json(value, size, flags, out);
        form(data, out->data, out->size);
    }
    /* JSON text within a JSON string: an API's request in an error message. */
    rh_buffer inner = {0};
    json(value, size, 0, &inner);
    json(inner.data, inner.size, 0, out);
    form(data, out->data, out->size);
    rh_buffer_free(&inner);
}

/* ── escapes that put something before or instead of single bytes ─────────────────────────────── */

struct escape {
    const char *bytes;       /* those that are escaped */
    const char *const *with; /* what each becomes; NULL: a backslash before it */
};

#define WITH(...) ((const char *const[]){__VA_ARGS__})

static void escape_forms(const char *value, size_t size, rh_mask_form form, void *data,
                         rh_buffer *out)
{
    static const char shell_special[] = " \t\n!\"#$&'()*,;<>?[\\]^`{|}~";
    const struct escape escapes[] = {
        {"'", WITH("'\\''")},   /* '…' in a shell */
        {"'", WITH("'\"'\"'")}, /* Python's shlex.quote */
        {"$`\"\\", NULL},       /* "…" in a shell */
        {"$`\"\\!", NULL},
        {shell_special, NULL},                                    /* printf %q */
        {"'\\\n\t\r", WITH("\\'", "\\\\", "\\n", "\\t", "\\r")},  /* $'…', Python's repr */
        {"'", WITH("''")},                                        /* SQL */
        {"'\\", WITH("''", "\\\\")},                              /* E'…', MySQL's dump */
        {"\"", WITH("\"\"")},                                     /* CSV, SQL identifiers */
        {"'\"\\\n\r", WITH("\\'", "\\\"", "\\\\", "\\n", "\\r")}, /* mysql_real_escape_string */
        {"&<>\"'", WITH("&amp;", "&lt;", "&gt;", "&quot;", "&#39;")},
        {"&<>\"'", WITH("&amp;", "&lt;", "&gt;", "&quot;", "&#039;")},
        {"&<>\"'", WITH("&amp;", "&lt;", "&gt;", "&#34;", "&#39;")},
        {"&<>\"'", WITH("&amp;", "&lt;", "&gt;", "&quot;", "&#x27;")},
        {"&<>", WITH("&amp;", "&lt;", "&gt;")},
        {"\n", WITH("\r\n")},
    };
    for (size_t e = 0; e < sizeof escapes / sizeof *escapes; e++) {
        rh_buffer_clear(out);
        for (size_t i = 0; i < size; i++) {
            const char *found = value[i] ? strchr(escapes[e].bytes, value[i]) : NULL;
            if (found && escapes[e].with)
                put_text(out, escapes[e].with[found - escapes[e].bytes]);
            else {
                if (found)
                    put(out, '\\');
                put(out, value[i]);
            }
        }
        form(data, out->data, out->size);
    }
}

/* \xHH for what is not printable, as web servers' logs have it. */
static void log_forms(const char *value, size_t size, rh_mask_form form, void *data, rh_buffer *out)
{
    for (int upper = 0; upper < 2; upper++) {
        rh_buffer_clear(out);
        for (size_t i = 0; i < size; i++) {
            unsigned char byte = (unsigned char)value[i];
            if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\')
                put(out, (char)byte);
            else {
                put_text(out, "\\x");
                put_hex(out, byte, 2, upper);
            }
        }
        form(data, out->data, out->size);
    }
}

void rh_mask_text_forms(const char *value, size_t size, rh_mask_form form, void *data)
{
    form(data, value, size);
    size_t plain = 0;
    while (plain < size && is_plain((unsigned char)value[plain], "-._"))
        plain++;
    if (plain == size) /* nobody escapes these */
        return;
    rh_buffer out = {0};
    percent_forms(value, size, form, data, &out);
    json_forms(value, size, form, data, &out);
    escape_forms(value, size, form, data, &out);
    log_forms(value, size, form, data, &out);
    rh_buffer_free(&out);
}

/* ── base64 and hex ───────────────────────────────────────────────────────────────────────────── */

/* The digits that `value` alone decides when it begins `offset` bytes after a group's start; with `last` also
 * the one after them that it has if nothing follows. */
static void base64(const char *value, size_t size, size_t offset, bool last, const char *digits,
                   rh_buffer *out)
{
    rh_buffer_clear(out);
    size_t first = offset * 8, end = (offset + size) * 8;
    for (size_t bit = (first + 5) / 6 * 6; bit + (last ? 1 : 6) <= end; bit += 6) {
        size_t at = (bit - first) / 8, shift = (bit - first) % 8;
        unsigned pair = (unsigned)(unsigned char)value[at] << 8;
        if (at + 1 < size)
            pair |= (unsigned char)value[at + 1];
        put(out, digits[pair >> (10 - shift) & 63]);
    }
}

static void base64_forms(const char *value, size_t size, rh_mask_form form, void *data,
                         rh_buffer *out)
{
    static const char *const alphabets[] = {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    };
    rh_buffer within = {0};
    for (unsigned variant = 0; variant < 12; variant++) {
        bool url = variant & 1, last = variant & 2;
        base64(value, size, variant / 4, last, alphabets[url], out);
        form(data, out->data, out->size);
        if (!url) { /* also within a URL and a JSON string */
            percent(out->data, out->size, "", false, true, &within);
            form(data, within.data, within.size);
            percent(out->data, out->size, "", false, false, &within);
            form(data, within.data, within.size);
            json(out->data, out->size, JSON_SLASH, &within);
            form(data, within.data, within.size);
        }
    }
    rh_buffer_free(&within);
}

void rh_mask_binary_forms(const char *value, size_t size, rh_mask_form form, void *data)
{
    rh_buffer out = {0};
    for (int upper = 0; upper < 2; upper++) {
        rh_buffer_clear(&out);
        for (size_t i = 0; i < size; i++)
            put_hex(&out, (unsigned char)value[i], 2, upper);
        form(data, out.data, out.size);
    }
    base64_forms(value, size, form, data, &out);
    rh_buffer_free(&out);
}
