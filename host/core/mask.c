/* Every form of every secret is a pattern. A position of the text is looked at closely only if a filter,
 * one bit for each hash of four bytes, says that a pattern may begin there. So the set can grow at any
 * time, and its memory is that of the patterns (an automaton over a private key would take 1 KiB a byte). */
#include "core/mask.h"

#include "core/mask_encode.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORTEST = 6,
    PREFIX = 4,
    FILTER_BITS = 18,
    START_BITS = 16,
    HEADS = 4096,
};

struct pattern {
    const char *shown; /* "‹secret NAME›" */
    size_t size;
    bool wrapped; /* base64 and hex: tools break their lines anywhere */
    char bytes[];
};

struct head {
    struct head *next; /* of the same hash, the longest pattern first */
    struct pattern *pattern;
    bool owner;
};

struct secret {
    char *name, *user, *value, *shown;
    size_t size;
};

struct rh_mask {
    uint64_t filter[(1 << FILTER_BITS) / 64]; /* the first four bytes of patterns */
    uint64_t starts[(1 << START_BITS) / 64];  /* and the first one, two, three */
    struct head *heads[HEADS];
    struct secret *secrets;
    size_t count;
};

struct rh_mask_stream {
    const rh_mask *mask;
    rh_buffer held;    /* bytes that may be the beginning of a secret */
    size_t covered;    /* of the next bytes, those that belong to a secret already replaced */
    const char *shown; /* by this */
};

static uint32_t hash(const char *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, PREFIX);
    return (word * UINT32_C(0x9e3779b1)) >> (32 - FILTER_BITS);
}

static bool may_begin(const rh_mask *mask, uint32_t h)
{
    return mask->filter[h / 64] >> (h % 64) & 1;
}

/* Of fewer bytes than PREFIX. */
static uint32_t start_hash(const char *bytes, size_t size)
{
    uint32_t word = 0;
    memcpy(&word, bytes, size);
    return ((word << 2 | (uint32_t)size) * UINT32_C(0x9e3779b1)) >> (32 - START_BITS);
}

static bool may_start(const rh_mask *mask, const char *bytes, size_t size)
{
    uint32_t h = start_hash(bytes, size);
    return mask->starts[h / 64] >> (h % 64) & 1;
}

/* ── the set ──────────────────────────────────────────────────────────────────────────────────── */

rh_mask *rh_mask_new(void) { return rh_alloc(sizeof(rh_mask)); }

rh_mask *rh_mask_process(void)
{
    static rh_mask *process;
    if (!process)
        process = rh_mask_new();
    return process;
}

static void wipe(char *text, size_t size)
{
    if (text)
        explicit_bzero(text, size);
    free(text);
}

void rh_mask_free(rh_mask *mask)
{
    if (!mask)
        return;
    for (size_t i = 0; i < HEADS; i++)
        for (struct head *head = mask->heads[i], *next; head; head = next) {
            next = head->next;
            if (head->owner)
                wipe((char *)head->pattern, sizeof *head->pattern + head->pattern->size);
            free(head);
        }
    for (size_t i = 0; i < mask->count; i++) {
        struct secret *secret = &mask->secrets[i];
        wipe(secret->value, secret->size);
        free(secret->name);
        free(secret->user);
        free(secret->shown);
    }
    free(mask->secrets);
    free(mask);
}

struct adding {
    rh_mask *mask;
    const char *shown;
    bool wrapped;
};

/* A place to look at the pattern: where a text's next bytes are these. */
static void add_head(rh_mask *mask, const char *bytes, struct pattern *pattern, bool owner)
{
    uint32_t h = hash(bytes);
    struct head **at = &mask->heads[h % HEADS];
    while (*at && (*at)->pattern->size > pattern->size)
        at = &(*at)->next;
    struct head *head = rh_alloc(sizeof *head);
    *head = (struct head){*at, pattern, owner};
    *at = head;
    mask->filter[h / 64] |= UINT64_C(1) << (h % 64);
    for (size_t start = 1; start < PREFIX; start++) {
        h = start_hash(bytes, start);
        mask->starts[h / 64] |= UINT64_C(1) << (h % 64);
    }
}

static const char *const line_ends[] = {"\n", "\r\n", "\\n", "\\r\\n"};

/* The line may end within the first bytes, which are what it is found by. */
static void add_wrapped_heads(rh_mask *mask, struct pattern *pattern)
{
    for (size_t e = 0; e < sizeof line_ends / sizeof *line_ends; e++)
        for (size_t before = 1; before < PREFIX; before++) {
            char bytes[PREFIX];
            for (size_t i = 0, end = 0; i < PREFIX; i++) {
                bool in_end = i >= before && line_ends[e][end];
                bytes[i] = in_end ? line_ends[e][end] : pattern->bytes[i - end];
                end += in_end;
            }
            add_head(mask, bytes, pattern, false);
        }
}

static void add_pattern(void *data, const char *bytes, size_t size)
{
    const struct adding *adding = data;
    if (size < SHORTEST)
        return;
    for (const struct head *same = adding->mask->heads[hash(bytes) % HEADS]; same;
         same = same->next)
        if (same->owner && same->pattern->size == size &&
            memcmp(same->pattern->bytes, bytes, size) == 0) {
            if (adding->wrapped && !same->pattern->wrapped) {
                same->pattern->wrapped = true;
                add_wrapped_heads(adding->mask, same->pattern);
            }
            return;
        }
    struct pattern *pattern = rh_alloc(sizeof *pattern + size);
    pattern->shown = adding->shown;
    pattern->size = size;
    pattern->wrapped = adding->wrapped;
    memcpy(pattern->bytes, bytes, size);
    add_head(adding->mask, bytes, pattern, true);
    if (pattern->wrapped)
        add_wrapped_heads(adding->mask, pattern);
}

static void add_binary_forms(struct adding *adding, const char *value, size_t size)
{
    adding->wrapped = true;
    rh_mask_binary_forms(value, size, add_pattern, adding);
    adding->wrapped = false;
}

static void trim(const char **text, size_t *size)
{
    while (*size && strchr(" \t\r\n", **text) && **text)
        ++*text, --*size;
    while (*size && (*text)[*size - 1] && strchr(" \t\r\n", (*text)[*size - 1]))
        --*size;
}

static void add_lines(struct adding *adding, const char *value, size_t size)
{
    for (const char *line = value, *end = value + size, *stop; line < end; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        const char *text = line;
        size_t length = (size_t)(stop - line);
        trim(&text, &length);
        /* A PEM file's head and foot are no secret, and would be masked in every certificate. */
        if (length >= SHORTEST && length < size && strncmp(text, "-----", 5) != 0)
            rh_mask_text_forms(text, length, add_pattern, adding);
    }
}

/* The secret to fill, or NULL if the mask has it already. */
static struct secret *new_secret(rh_mask *mask, const char *name, const char *user,
                                 const char *value, size_t size)
{
    for (size_t i = 0; i < mask->count; i++) {
        const struct secret *old = &mask->secrets[i];
        if (old->size == size && memcmp(old->value, value, size) == 0 &&
            (user ? old->user && strcmp(old->user, user) == 0 : !old->user))
            return NULL;
    }
    mask->secrets = rh_realloc(mask->secrets, (mask->count + 1) * sizeof *mask->secrets);
    struct secret *secret = &mask->secrets[mask->count++];
    *secret = (struct secret){.name = rh_strdup(name), .size = size};
    secret->user = user ? rh_strdup(user) : NULL;
    secret->shown = rh_format("‹secret %s›", name);
    secret->value = rh_alloc(size + 1);
    memcpy(secret->value, value, size);
    return secret;
}

bool rh_mask_add(rh_mask *mask, const char *name, const char *value, size_t size)
{
    if (size < SHORTEST)
        return false;
    const struct secret *secret = new_secret(mask, name, NULL, value, size);
    if (!secret)
        return true;
    struct adding adding = {mask, secret->shown, false};
    rh_mask_text_forms(value, size, add_pattern, &adding);
    add_binary_forms(&adding, value, size);
    const char *core = value;
    size_t length = size;
    trim(&core, &length);
    if (length < size && length >= SHORTEST) { /* a file's value with its newline */
        rh_mask_text_forms(core, length, add_pattern, &adding);
        add_binary_forms(&adding, core, length);
    }
    if (memchr(value, '\n', size))
        add_lines(&adding, value, size);
    return true;
}

bool rh_mask_add_basic(rh_mask *mask, const char *name, const char *user, const char *value,
                       size_t size)
{
    if (size < SHORTEST)
        return false;
    const struct secret *secret = new_secret(mask, name, user, value, size);
    if (!secret)
        return true;
    struct adding adding = {mask, secret->shown, false};
    rh_buffer pair = {0};
    rh_buffer_addf(&pair, "%s:", user);
    rh_buffer_add(&pair, value, size);
    add_binary_forms(&adding, pair.data, pair.size);
    rh_buffer_free(&pair);
    return true;
}

bool rh_mask_is_empty(const rh_mask *mask) { return mask->count == 0; }

void rh_mask_each(const rh_mask *mask, rh_mask_each_fn fn, void *data)
{
    for (size_t i = 0; i < mask->count; i++)
        fn(data, mask->secrets[i].name, mask->secrets[i].user, mask->secrets[i].value,
           mask->secrets[i].size);
}

unsigned rh_mask_generation(const rh_mask *mask) { return (unsigned)mask->count; }

/* ── the text ─────────────────────────────────────────────────────────────────────────────────── */

/* The bytes that the end of a line takes here; 0: none. *open: the text ends within it. */
static size_t line_end(const char *text, size_t size, bool *open)
{
    for (size_t e = 0; e < sizeof line_ends / sizeof *line_ends; e++) {
        size_t length = strlen(line_ends[e]);
        if (memcmp(line_ends[e], text, size < length ? size : length) != 0)
            continue;
        if (length <= size)
            return length;
        *open = true;
    }
    return 0;
}

/* The bytes that the pattern takes at the beginning of the text; 0: none, or, with *open, not all of it is there. */
static size_t fits(const struct pattern *pattern, const char *text, size_t size, bool *open)
{
    size_t at = 0, done = 0;
    if (!pattern->wrapped) {
        if (memcmp(pattern->bytes, text, size < pattern->size ? size : pattern->size) != 0)
            return 0;
        *open |= size < pattern->size;
        return size < pattern->size ? 0 : pattern->size;
    }
    for (bool broken = true; done < pattern->size; at++, done++, broken = false) {
        if (at < size && text[at] == pattern->bytes[done])
            continue;
        bool within = false;
        size_t end = broken ? 0 : line_end(text + at, size - at, &within);
        at += end;
        if (at == size || within) {
            *open = true;
            return 0;
        }
        if (!end || text[at] != pattern->bytes[done])
            return 0;
    }
    return at;
}

/* The longest pattern at `text`, and the bytes that it takes there; *open: a longer one may begin here and the text
 * ends within it. */
static const struct pattern *match(const rh_mask *mask, const char *text, size_t size, bool *open,
                                   size_t *length)
{
    *open = false;
    for (const struct head *head = mask->heads[hash(text) % HEADS]; head; head = head->next)
        if ((*length = fits(head->pattern, text, size, open)) > 0)
            return head->pattern;
    return NULL;
}

/* Masks what is certain; returns how many bytes that was. A byte within a secret is dropped, and looked at
 * all the same: another secret may begin in the middle of this one and reach beyond its end. */
static size_t scan(rh_mask_stream *stream, const char *text, size_t size, bool last, rh_buffer *out,
                   bool *replaced)
{
    const rh_mask *mask = stream->mask;
    size_t at = 0, plain = 0; /* text[plain..at) is to be copied */
    while (at < size) {
        size_t left = size - at;
        if (left >= PREFIX) {
            uint32_t h = hash(text + at);
            if (may_begin(mask, h)) {
                bool open;
                size_t length;
                const struct pattern *found = match(mask, text + at, left, &open, &length);
                if (open && !last)
                    break;
                if (found && length > stream->covered) {
                    rh_buffer_add(out, text + plain, at - plain);
                    plain = at;
                    if (stream->covered == 0 || found->shown != stream->shown)
                        rh_buffer_adds(out, found->shown);
                    stream->covered = length;
                    stream->shown = found->shown;
                    *replaced = true;
                }
            }
        } else if (!last && may_start(mask, text + at, left))
            break;
        at++;
        if (stream->covered) {
            stream->covered--;
            plain = at;
        }
    }
    rh_buffer_add(out, text + plain, at - plain);
    return at;
}

bool rh_mask_text(const rh_mask *mask, const char *text, size_t size, rh_buffer *out)
{
    rh_mask_stream stream = {.mask = mask};
    bool replaced = false;
    if (rh_mask_is_empty(mask))
        rh_buffer_add(out, text, size);
    else
        scan(&stream, text, size, true, out, &replaced);
    return replaced;
}

rh_mask_stream *rh_mask_stream_new(const rh_mask *mask)
{
    rh_mask_stream *stream = rh_alloc(sizeof *stream);
    stream->mask = mask;
    return stream;
}

void rh_mask_stream_feed(rh_mask_stream *stream, const char *bytes, size_t size, rh_buffer *out)
{
    bool replaced;
    if (size == 0)
        return;
    if (stream->held.size) {
        rh_buffer_add(&stream->held, bytes, size);
        bytes = stream->held.data;
        size = stream->held.size;
    }
    size_t done = scan(stream, bytes, size, false, out, &replaced);
    if (bytes == stream->held.data) {
        memmove(stream->held.data, bytes + done, size - done);
        stream->held.size = size - done;
    } else if (done < size)
        rh_buffer_add(&stream->held, bytes + done, size - done);
}

void rh_mask_stream_end(rh_mask_stream *stream, rh_buffer *out)
{
    bool replaced;
    if (stream->held.size)
        scan(stream, stream->held.data, stream->held.size, true, out, &replaced);
    rh_buffer_clear(&stream->held);
    stream->covered = 0;
    stream->shown = NULL;
}

void rh_mask_stream_free(rh_mask_stream *stream)
{
    if (!stream)
        return;
    rh_buffer_free(&stream->held);
    free(stream);
}
