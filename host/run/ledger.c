#include "run/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_file(int dir, const char *name, rh_buffer *text)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size;
    do {
        rh_buffer_reserve(text, 16 << 10);
        size = read(fd, text->data + text->size, text->capacity - text->size - 1);
        if (size > 0)
            text->size += (size_t)size;
    } while (size > 0 || (size < 0 && errno == EINTR));
    text->data[text->size] = '\0';
    close(fd);
    return size == 0;
}

static void boot_id(char *id, size_t room)
{
    rh_buffer text = {0};
    const char *path = getenv("ROLLOUTHOST_BOOT_ID_FILE");
    read_file(AT_FDCWD, path ? path : "/proc/sys/kernel/random/boot_id", &text);
    rh_buffer_add(&text, "", 1);
    snprintf(id, room, "%.*s", (int)strcspn(text.data, " \n"), text.data);
    rh_buffer_free(&text);
}

/* Does the process live that had this pid and start time? A zombie does not. */
static bool is_alive(int64_t pid, uint64_t start_time)
{
    char path[40], state = '\0';
    rh_buffer text = {0};
    uint64_t time = 0;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    bool alive = false;
    if (read_file(AT_FDCWD, path, &text)) {
        const char *at = strrchr(text.data, ')');
        alive =
            at &&
            sscanf(
                at + 1,
                " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
                &state, &time) == 2 &&
            state != 'Z' && state != 'X' && time == start_time;
    }
    rh_buffer_free(&text);
    return alive;
}

/* The line's next word; *size is 0 at its end. */
static const char *word(const char **at, const char *end, size_t *size)
{
    while (*at < end && **at == ' ')
        ++*at;
    const char *begin = *at;
    while (*at < end && **at != ' ')
        ++*at;
    *size = (size_t)(*at - begin);
    return begin;
}

static bool is(const char *text, size_t size, const char *other)
{
    return strlen(other) == size && memcmp(text, other, size) == 0;
}

/* What was read of a command so far. */
struct look {
    rh_ledger_entry entry;
    bool known, same_boot, any_other_boot;
    int64_t owner;
};

static void read_line(struct look *look, const char *line, const char *end, const char *id,
                      const char *boot)
{
    size_t size;
    const char *at = line, *verb = word(&at, end, &size);
    size_t verb_size = size;
    const char *second = word(&at, end, &size);
    if (is(verb, verb_size, "guardian")) {
        look->owner = strtoll(second, NULL, 10);
        const char *its_boot = word(&at, end, &size);
        look->same_boot = is(its_boot, size, boot);
        look->any_other_boot |= !look->same_boot;
        return;
    }
    if (!is(second, size, id))
        return;
    rh_ledger_entry *entry = &look->entry;
    if (is(verb, verb_size, "start")) {
        *entry = (rh_ledger_entry){.state = RH_COMMAND_LOST};
        look->known = true;
    } else if (is(verb, verb_size, "failed"))
        entry->state = RH_COMMAND_NEVER;
    else if (is(verb, verb_size, "pid") &&
             sscanf(at, "%" SCNd64 " %" SCNu64, &entry->pid, &entry->start_time) == 2)
        entry->state = look->same_boot ? RH_COMMAND_ALIVE : RH_COMMAND_LOST;
    else if (is(verb, verb_size, "exit") &&
             sscanf(at,
                    "%d %d %u %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                    " %zu %" SCNd64,
                    &entry->code, &entry->signal, &entry->flags, &entry->ms, &entry->out_raw,
                    &entry->err_raw, &entry->out, &entry->err, &entry->capture,
                    &entry->shared) == 10)
        entry->state = RH_COMMAND_ENDED;
}

rh_ledger_entry rh_ledger_look(int dir, const char *id, int64_t guardian)
{
    struct look look = {.entry = {.state = RH_COMMAND_NEVER}};
    int64_t owner = 0;
    rh_buffer text = {0};
    char boot[64];
    boot_id(boot, sizeof boot);
    read_file(dir, "ledger", &text);
    /* A last line without its end was cut by a power failure, or is being written. */
    for (char *line = text.data, *stop; line && (stop = strchr(line, '\n')); line = stop + 1) {
        *stop = '\0';
        bool starts = strncmp(line, "start ", 6) == 0 && strcmp(line + 6, id) == 0;
        read_line(&look, line, stop, id, boot);
        if (starts)
            owner = look.owner;
    }
    rh_buffer_free(&text);
    if (!look.known && look.any_other_boot)
        look.entry.state = RH_COMMAND_LOST;
    look.entry.ours = look.known && guardian && owner == guardian && look.same_boot;
    if (look.entry.state == RH_COMMAND_ALIVE && !look.entry.ours &&
        !is_alive(look.entry.pid, look.entry.start_time))
        look.entry.state = RH_COMMAND_LOST;
    return look.entry;
}

static uint64_t hash_of(const char *id, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)id[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t *rh_ledger_ids(int dir, size_t *count)
{
    uint64_t *ids = NULL;
    size_t room = 0;
    rh_buffer text = {0};
    *count = 0;
    read_file(dir, "ledger", &text);
    for (const char *line = text.data, *stop; line && (stop = strchr(line, '\n')); line = stop + 1)
        if (strncmp(line, "start ", 6) == 0) {
            if (*count == room)
                ids = rh_realloc(ids, (room = room ? room * 2 : 64) * sizeof *ids);
            ids[(*count)++] = hash_of(line + 6, (size_t)(stop - line - 6));
        }
    rh_buffer_free(&text);
    if (*count)
        qsort(ids, *count, sizeof *ids, compare);
    return ids;
}

bool rh_ledger_has(const uint64_t *ids, size_t count, const char *id)
{
    const uint64_t hash = hash_of(id, strlen(id));
    return count && bsearch(&hash, ids, count, sizeof hash, compare);
}

static bool read_at(int fd, rh_buffer *out, uint64_t size, uint64_t offset)
{
    rh_buffer_reserve(out, (size_t)size);
    while (size) {
        ssize_t got = pread(fd, out->data + out->size, (size_t)size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        out->size += (size_t)got;
        out->data[out->size] = '\0';
        size -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return true;
}

/* How many bytes at the end of the text begin a UTF-8 character that it does not hold whole. */
static size_t cut_character(const char *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        unsigned char byte = (unsigned char)text[size - back];
        if ((byte & 0xc0) != 0x80)
            return (byte >= 0xc0 && back < (byte >= 0xf0 ? 4u : byte >= 0xe0 ? 3u : 2u)) ? back : 0;
    }
    return 0;
}

static bool read_own(int dir, const char *id, const char *name, uint64_t total, size_t capture,
                     rh_buffer *out)
{
    if (total == 0)
        return true;
    char *file = rh_format("%s.%s", id, name);
    int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    free(file);
    if (fd < 0)
        return false;
    const uint64_t half = capture / 2;
    bool ok = half > 0; /* a ledger that was tampered with has others */
    if (!ok)
        errno = EINVAL;
    else if (total <= 2 * half)
        ok = read_at(fd, out, total, 0);
    else {
        rh_buffer tail = {0};
        const uint64_t turn = (total - half) % half;
        ok = read_at(fd, out, half, 0) && read_at(fd, &tail, half - turn, half + turn) &&
             read_at(fd, &tail, turn, half);
        if (ok) {
            size_t skip = 0;
            while (skip < 3 && skip < tail.size && ((unsigned char)tail.data[skip] & 0xc0) == 0x80)
                skip++;
            out->size -= cut_character(out->data, out->size);
            rh_buffer_addf(out, "\n[%" PRIu64 " bytes are left out here]\n", total - 2 * half);
            rh_buffer_add(out, tail.data + skip, tail.size - skip);
        }
        rh_buffer_free(&tail);
    }
    close(fd);
    return ok;
}

bool rh_spool_read(int dir, const char *id, const rh_ledger_entry *end, rh_buffer *out,
                   rh_buffer *err)
{
    if (end->shared < 0)
        return read_own(dir, id, "out", end->out, end->capture, out) &&
               read_own(dir, id, "err", end->err, end->capture, err);
    int fd = openat(dir, "output", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool ok = fd >= 0 && read_at(fd, out, end->out, (uint64_t)end->shared) &&
              read_at(fd, err, end->err, (uint64_t)end->shared + end->out);
    if (fd >= 0)
        close(fd);
    return ok;
}
