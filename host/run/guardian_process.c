#include "run/guardian_process.h"

#include "core/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HELLO_SIZE = 3 * sizeof(uint32_t) + 2 * sizeof(int64_t),
    HELLO_TIMEOUT = 10, /* s */
    LISTENER = 3,       /* RH_GUARD_LISTENER */
};

/* The folder goes by its descriptor: a socket's path may have 107 bytes, a state folder's more. */
static struct sockaddr_un address(int dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/guardian.sock", dir);
    return address;
}

static int try_connect(int dir)
{
    struct sockaddr_un to = address(dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

static void receive_timeout(int fd, int seconds)
{
    const struct timeval timeout = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

/* 1: it greets. 0: it has gone meanwhile. -1: an error is set. */
static int await_hello(int fd, int64_t *pid, rh_error *error)
{
    char bytes[HELLO_SIZE];
    rh_frame frame;
    receive_timeout(fd, HELLO_TIMEOUT);
    ssize_t size = recv(fd, bytes, sizeof bytes, MSG_WAITALL);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        rh_fail(error, "guardian",
                "the run's guardian is there, but it has not answered within %d s", HELLO_TIMEOUT);
        return -1;
    }
    if (size < (ssize_t)sizeof bytes)
        return 0;
    if (rh_frame_read(bytes, sizeof bytes, &frame) != HELLO_SIZE || frame.type != RH_FRAME_HELLO ||
        rh_frame_get(&frame) != RH_FRAME_PROTOCOL) {
        rh_fail(error, "guardian",
                "the run's guardian is of another version: resume the run with the rollouthost "
                "that started it");
        return -1;
    }
    *pid = rh_frame_get(&frame);
    return 1;
}

static char *program(rh_error *error)
{
    const char *given = getenv("ROLLOUTHOST_GUARDIAN");
    if (given && *given)
        return rh_strdup(given);
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size > 0 ? size : 0] = '\0';
    const char *folder = dirname(self);
    static const char *const places[] = {"", "../lib/rollouthost/"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *path = rh_format("%s/%srollouthost-guardian", folder, places[i]);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    rh_fail(error, "guardian", "rollouthost-guardian is neither in %s nor in %s/../lib/rollouthost",
            folder, folder);
    return NULL;
}

static int spawn(int64_t *pid, const char *path, const char *run_dir, int listener)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    pid_t child;
    /* Nothing of the host's environment: it may hold secrets. Commands get theirs with each start. */
    const char *boot = getenv("ROLLOUTHOST_BOOT_ID_FILE");
    char *boot_variable = boot ? rh_format("ROLLOUTHOST_BOOT_ID_FILE=%s", boot) : NULL;
    char *log = rh_format("%s/spool/stderr", run_dir);
    char *folder = rh_strdup(run_dir), name[] = "rollouthost-guardian";
    char *const argv[] = {name, folder, NULL}, *const env[] = {boot_variable, NULL};
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, listener, LISTENER);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_addclosefrom_np(&actions, LISTENER + 1);
    int err = posix_spawn(&child, path, &actions, &attributes, argv, env);
    *pid = child;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(boot_variable);
    free(log);
    free(folder);
    return err;
}

/* The host binds, listens and connects before the guardian runs, so there is nothing to wait for. */
static int start_new(int dir, const char *run_dir, int64_t *pid, rh_error *error)
{
    char *path = program(error);
    if (!path)
        return -1;
    struct sockaddr_un at = address(dir);
    int fd = -1, err = 0;
    unlinkat(dir, "guardian.sock", 0);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || fchmod(listener, 0600) < 0 ||
        bind(listener, (const struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 8) < 0 ||
        (fd = try_connect(dir)) < 0)
        rh_fail_errno(error, errno, "cannot make %s/guardian.sock", run_dir);
    else if ((err = spawn(pid, path, run_dir, listener)) != 0) {
        rh_fail_errno(error, err, "cannot start the guardian %s", path);
        close(fd);
        fd = -1;
    }
    if (listener >= 0)
        close(listener);
    free(path);
    return fd;
}

int rh_guardian_connect(int dir, const char *run_dir, int64_t *pid, rh_error *error)
{
    int fd = try_connect(dir);
    if (fd >= 0) {
        int greeted = await_hello(fd, pid, error);
        if (greeted > 0)
            return fd;
        close(fd);
        if (greeted < 0)
            return -1;
    } else if (errno != ENOENT && errno != ECONNREFUSED) {
        rh_fail_errno(error, errno, "cannot connect to %s/guardian.sock", run_dir);
        return -1;
    }
    return start_new(dir, run_dir, pid, error);
}

bool rh_guardian_await_end(int fd, const rh_buffer *queued, int timeout)
{
    char bytes[4096];
    ssize_t size;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    receive_timeout(fd, timeout);
    for (size_t done = 0; done < queued->size;) {
        ssize_t sent = send(fd, queued->data + done, queued->size - done, MSG_NOSIGNAL);
        if (sent <= 0)
            return true;
        done += (size_t)sent;
    }
    do
        size = recv(fd, bytes, sizeof bytes, 0);
    while (size > 0 || (size < 0 && errno == EINTR));
    return size == 0 || errno != EAGAIN;
}
