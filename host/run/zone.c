#include "run/zone.h"

#include "core/buffer.h"
#include "run/zone_rule.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 44, LARGEST = 1 << 20, CACHED = 4 };

typedef struct {
    char *name; /* NULL: an empty place in the cache */
    unsigned char *data;
    size_t size;
    /* Into `data`, of the 64-bit block. */
    const unsigned char *times, *indices, *types;
    const char *names;
    uint32_t times_count, types_count, names_size;
    bool has_rule;
    rh_zone_rule rule; /* what holds after the last transition */
} zone;

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t get64(const unsigned char *p)
{
    return (int64_t)((uint64_t)get32(p) << 32 | get32(p + 4));
}

typedef struct {
    uint32_t isut, isstd, leap, time, type, chars;
} counts;

static counts read_counts(const unsigned char *header)
{
    return (counts){get32(header + 20), get32(header + 24), get32(header + 28),
                    get32(header + 32), get32(header + 36), get32(header + 40)};
}

static uint64_t block_size(counts c, unsigned width)
{
    return (uint64_t)c.time * (width + 1) + (uint64_t)c.type * 6 + c.chars +
           (uint64_t)c.leap * (width + 4) + c.isstd + c.isut;
}

static bool parse(zone *z)
{
    if (z->size < 2 * HEADER || memcmp(z->data, "TZif", 4) != 0 || z->data[4] < '2')
        return false;
    uint64_t at = HEADER + block_size(read_counts(z->data), 4);
    if (at + HEADER > z->size || memcmp(z->data + at, "TZif", 4) != 0)
        return false;
    counts c = read_counts(z->data + at);
    at += HEADER;
    uint64_t end = at + block_size(c, 8);
    if (end > z->size || c.type == 0 || c.chars == 0 || c.leap != 0)
        return false;
    z->times = z->data + at;
    z->indices = z->times + (size_t)c.time * 8;
    z->types = z->indices + c.time;
    z->names = (const char *)(z->types + (size_t)c.type * 6);
    z->times_count = c.time;
    z->types_count = c.type;
    z->names_size = c.chars;
    for (uint32_t i = 0; i < c.time; i++)
        if (z->indices[i] >= c.type)
            return false;
    for (uint32_t i = 0; i < c.type; i++)
        if (z->types[i * 6 + 5] >= c.chars)
            return false;
    if (z->names[c.chars - 1] != '\0')
        return false;
    const char *footer = (const char *)z->data + end, *stop = (const char *)z->data + z->size;
    if (footer + 2 > stop || footer[0] != '\n')
        return true;
    const char *newline = memchr(footer + 1, '\n', (size_t)(stop - footer - 1));
    if (!newline || newline == footer + 1)
        return true;
    char *text = rh_strndup(footer + 1, (size_t)(newline - footer - 1));
    z->has_rule = rh_zone_rule_parse(text, &z->rule);
    free(text);
    return z->has_rule;
}

static void zone_clear(zone *z)
{
    free(z->name);
    free(z->data);
    *z = (zone){0};
}

static bool read_file(int fd, zone *z)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > LARGEST)
        return false;
    z->data = rh_alloc((size_t)info.st_size + 1);
    while (z->size < (size_t)info.st_size) {
        ssize_t got = read(fd, z->data + z->size, (size_t)info.st_size - z->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        z->size += (size_t)got;
    }
    return true;
}

static bool safe_name(const char *name)
{
    if (!*name || *name == '/' || *name == '.' || strstr(name, ".."))
        return false;
    return name[strspn(
               name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/")] == '\0';
}

static const char *folder(void)
{
    const char *given = getenv("TZDIR");
    return given && *given ? given : "/usr/share/zoneinfo";
}

static bool load(const char *name, zone *z, rh_error *error)
{
    char *path = *name ? rh_format("%s/%s", folder(), name) : rh_strdup("/etc/localtime");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    if (ok && !(read_file(fd, z) && parse(z)))
        ok = rh_fail(error, "zone", "%s is no time zone file that can be read", path);
    else if (!ok && access(folder(), R_OK) != 0)
        rh_fail(error, "zone", "there are no time zone files in %s: install the package tzdata",
                folder());
    else if (!ok)
        rh_fail(error, "zone",
                "there is no time zone \"%s\": it is named like \"America/New_York\" or \"UTC\"",
                name);
    if (fd >= 0)
        close(fd);
    free(path);
    if (ok)
        z->name = rh_strdup(name);
    else
        zone_clear(z);
    return ok;
}

/* The machine's own zone is cached as "". */
static const zone *find(const char *name, rh_error *error)
{
    static zone cache[CACHED];
    static unsigned next;
    for (unsigned i = 0; i < CACHED; i++)
        if (cache[i].name && strcmp(cache[i].name, name) == 0)
            return &cache[i];
    zone fresh = {0};
    if (!load(name, &fresh, error))
        return NULL;
    zone *place = &cache[next++ % CACHED];
    zone_clear(place);
    *place = fresh;
    return place;
}

static const char *own_zone(void)
{
    const char *name = getenv("TZ");
    if (name && *name == ':')
        name++;
    if (name && safe_name(name))
        return name;
    return access("/etc/localtime", R_OK) == 0 ? "" : "UTC";
}

bool rh_zone_offset(const char *name, int64_t when, int32_t *offset,
                    char abbreviation[RH_ZONE_NAME], rh_error *error)
{
    if (!name)
        name = own_zone();
    else if (!safe_name(name))
        return rh_fail(error, "zone", "\"%s\" is no name of a time zone", name);
    const zone *z = find(name, error);
    if (!z)
        return false;
    /* The last transition that is not after `when`. */
    uint32_t low = 0, high = z->times_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (get64(z->times + (size_t)middle * 8) <= when)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == z->times_count && z->has_rule) {
        rh_zone_rule_at(&z->rule, when, offset, abbreviation);
        return true;
    }
    const unsigned char *type = z->types + (low == 0 ? 0 : z->indices[low - 1]) * 6;
    *offset = (int32_t)get32(type);
    snprintf(abbreviation, RH_ZONE_NAME, "%s", z->names + type[5]);
    return true;
}
