#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AHEAD = 64 << 10 }; /* bytes reserved, so that a full disk does not lose an exit */

static int ledger = -1;
static off_t reserved, size;
static rh_buffer unwritten;

static void reserve(void)
{
    if (size + AHEAD / 2 > reserved && fallocate(ledger, FALLOC_FL_KEEP_SIZE, reserved, AHEAD) == 0)
        reserved += AHEAD;
}

/* One write a line, so that a killed guardian leaves whole lines. */
static bool append(const rh_buffer *line)
{
    reserve();
    ssize_t written = write(ledger, line->data, line->size);
    if (written == (ssize_t)line->size) {
        size += written;
        return true;
    }
    if (written >= 0) {
        if (ftruncate(ledger, size) == 0)
            errno = ENOSPC;
        else
            size += written;
    }
    return false;
}

bool rh_guard_ledger_flush(void)
{
    if (unwritten.size == 0)
        return true;
    if (!append(&unwritten))
        return false;
    rh_buffer_free(&unwritten);
    return true;
}

/* A line that must not be lost: it is kept until there is room. */
static void note(rh_buffer *line)
{
    if (!rh_guard_ledger_flush() || !append(line))
        rh_buffer_add(&unwritten, line->data, line->size);
    rh_buffer_free(line);
}

static void boot_id(char *id, size_t room)
{
    const char *path = getenv("ROLLOUTHOST_BOOT_ID_FILE");
    int fd = open(path ? path : "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, id, room - 1);
    if (fd >= 0)
        close(fd);
    id[length > 0 ? length : 0] = '\0';
    id[strcspn(id, " \n")] = '\0';
}

bool rh_guard_ledger_open(bool made)
{
    char boot[64], last = '\n';
    struct stat about;
    ledger = openat(rh_guard_spool_dir, "ledger", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (ledger < 0 || fstat(ledger, &about) < 0)
        return false;
    size = reserved = about.st_size;
    boot_id(boot, sizeof boot);
    rh_buffer line = {0};
    if (size > 0 && pread(ledger, &last, 1, size - 1) == 1 && last != '\n')
        rh_buffer_adds(&line, "\n"); /* a line that a power failure cut */
    rh_buffer_addf(&line, "guardian %d %s\n", (int)getpid(), *boot ? boot : "-");
    /* On disk before anything starts: after a reboot its absence must not read as "nothing was started". A
     * folder that was there is the host's, whose first commit makes the run's folder durable. */
    bool ok = append(&line) && fdatasync(ledger) == 0 && fsync(rh_guard_spool_dir) == 0 &&
              (!made || fsync(rh_guard_run_dir) == 0);
    rh_buffer_free(&line);
    return ok;
}

bool rh_guard_ledger_start(const char *id)
{
    rh_buffer line = {0};
    rh_buffer_addf(&line, "start %s\n", id);
    bool ok = rh_guard_ledger_flush() && append(&line);
    rh_buffer_free(&line);
    return ok;
}

void rh_guard_ledger_failed(const char *id)
{
    rh_buffer line = {0};
    rh_buffer_addf(&line, "failed %s\n", id);
    note(&line);
}

void rh_guard_ledger_pid(const char *id, pid_t pid)
{
    rh_buffer line = {0};
    rh_buffer_addf(&line, "pid %s %d %llu\n", id, (int)pid,
                   (unsigned long long)rh_guard_start_time(pid));
    note(&line);
}

void rh_guard_ledger_exit(const rh_guarded *command)
{
    rh_buffer line = {0};
    int status = command->status;
    rh_buffer_addf(
        &line, "exit %s %d %d %u %lld %llu %llu %llu %llu %zu %lld\n", command->id,
        WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        command->flags, (long long)command->ms, (unsigned long long)command->out.raw,
        (unsigned long long)command->err.raw, (unsigned long long)command->out.kept,
        (unsigned long long)command->err.kept, command->out.capture, (long long)command->shared);
    note(&line);
}
