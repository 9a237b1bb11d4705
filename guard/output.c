/* What a command prints: masked, kept in a spool of bounded size, appended to the step's log, and, where
 * the host keeps up, sent for display. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, LIVE_LIMIT = 16 << 10 };

void rh_guard_output_open(rh_output *output, int fd, size_t capture)
{
    output->fd = fd;
    output->capture = capture;
    output->mask = rh_mask_stream_new(rh_guard_mask);
}

static void lost(rh_guarded *command)
{
    if (!(command->flags & RH_EXIT_OUTPUT_LOST))
        command->failure = errno;
    command->flags |= RH_EXIT_OUTPUT_LOST;
}

static bool write_all(int fd, const char *bytes, size_t size, off_t at)
{
    while (size) {
        ssize_t written = at < 0 ? write(fd, bytes, size) : pwrite(fd, bytes, size, at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        size -= (size_t)written;
        at += at < 0 ? 0 : written;
    }
    return true;
}

/* A stream's own file: its first half, then a ring with the last of it (run/ledger.c reads it). `at`: how much
 * of the stream comes before these bytes. */
static bool spool(const rh_guarded *command, rh_output *output, const char *bytes, size_t size,
                  uint64_t at)
{
    if (output->spool < 0) {
        char *name = rh_format("%s.%s", command->id, output == &command->out ? "out" : "err");
        output->spool = openat(rh_guard_spool_dir, name,
                               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        free(name);
        if (output->spool < 0)
            return false;
    }
    const uint64_t half = output->capture / 2;
    while (size) {
        uint64_t offset = at < half ? at : half + (at - half) % half;
        uint64_t room = (at < half ? half : 2 * half) - offset;
        size_t part = size < room ? size : (size_t)room;
        if (!write_all(output->spool, bytes, part, (off_t)offset))
            return false;
        bytes += part;
        size -= part;
        at += part;
    }
    return true;
}

static bool append_log(rh_guarded *command, const char *bytes, size_t size)
{
    if (!command->log_path)
        return true;
    if (command->log < 0)
        command->log =
            open(command->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
    return command->log >= 0 && write_all(command->log, bytes, size, -1);
}

/* All of the stream is still in memory. */
static bool is_whole(const rh_output *output) { return output->kept == output->first.size; }

static bool move_to_file(const rh_guarded *command, rh_output *output)
{
    if (output->spool >= 0 || !is_whole(output))
        return true;
    bool ok = spool(command, output, output->first.data, output->first.size, 0);
    rh_buffer_free(&output->first);
    return ok;
}

/* Short output goes into one file for all commands: a file for each would cost more than the rest of it.
 * Returns where it begins, or -1. */
static int64_t share(const rh_guarded *command)
{
    static int fd = -1;
    static off_t size;
    const rh_buffer *out = &command->out.first, *err = &command->err.first;
    struct stat about;
    if (fd < 0) {
        fd = openat(rh_guard_spool_dir, "output",
                    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || fstat(fd, &about) < 0)
            return -1;
        size = about.st_size;
    }
    if (!write_all(fd, out->data, out->size, -1) || !write_all(fd, err->data, err->size, -1)) {
        int err_number = errno;
        close(fd); /* to be measured again */
        fd = -1;
        errno = err_number;
        return -1;
    }
    size += (off_t)(out->size + err->size);
    return size - (off_t)(out->size + err->size);
}

static void keep(rh_guarded *command, rh_output *output, const rh_buffer *text)
{
    if (text->size == 0)
        return;
    if (!append_log(command, text->data, text->size))
        lost(command);
    if (is_whole(output) && output->kept + text->size <= RH_FRAME_SHORT &&
        output->kept + text->size <= output->capture)
        rh_buffer_add(&output->first, text->data, text->size);
    else if (!move_to_file(command, output) ||
             !spool(command, output, text->data, text->size, output->kept))
        lost(command);
    output->kept += text->size;
    /* What display misses is in the log. */
    if (output->live.size + text->size <= LIVE_LIMIT && rh_guard_host >= 0)
        rh_buffer_add(&output->live, text->data, text->size);
    if (output->live.size && !command->live_at)
        command->live_at = rh_guard_now() + RH_GUARD_LIVE;
}

void rh_guard_output_read(rh_guarded *command, rh_output *output)
{
    static char chunk[CHUNK];
    rh_buffer text = {0};
    ssize_t size = read(output->fd, chunk, sizeof chunk);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        close(output->fd);
        output->fd = -1;
        return;
    }
    output->raw += (uint64_t)size;
    rh_buffer_reserve(&text, (size_t)size);
    rh_mask_stream_feed(output->mask, chunk, (size_t)size, &text);
    explicit_bzero(chunk, (size_t)size);
    keep(command, output, &text);
    rh_buffer_free(&text);
}

static void end(rh_guarded *command, rh_output *output)
{
    rh_buffer text = {0};
    if (output->fd >= 0) {
        command->flags |= RH_EXIT_HELD;
        close(output->fd);
        output->fd = -1;
    }
    rh_mask_stream_end(output->mask, &text);
    keep(command, output, &text);
    rh_buffer_free(&text);
    rh_mask_stream_free(output->mask);
    output->mask = NULL;
}

void rh_guard_output_end(rh_guarded *command)
{
    rh_output *const both[] = {&command->out, &command->err};
    end(command, both[0]);
    end(command, both[1]);
    command->shared = -1;
    if (rh_guard_output_is_short(command)) {
        if (both[0]->kept + both[1]->kept > 0 && (command->shared = share(command)) < 0)
            lost(command);
    } else
        for (int i = 0; i < 2; i++)
            if (both[i]->kept && !move_to_file(command, both[i]))
                lost(command);
    for (int i = 0; i < 2; i++) {
        if (both[i]->spool >= 0)
            close(both[i]->spool);
        both[i]->spool = -1;
    }
}

void rh_guard_output_free(rh_output *output)
{
    rh_mask_stream_free(output->mask);
    rh_buffer_free(&output->first);
    rh_buffer_free(&output->live);
    output->mask = NULL;
}

bool rh_guard_output_is_short(const rh_guarded *command)
{
    const rh_output *out = &command->out, *err = &command->err;
    return is_whole(out) && is_whole(err) && out->kept + err->kept <= RH_FRAME_SHORT;
}
