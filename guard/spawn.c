#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a start has opened for the child; all of it is closed again in the guardian. */
struct files {
    int cwd, in, out, err; /* out, err: the child's ends */
    int out_read, err_read;
};

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

static rh_frame_failure fail(rh_frame_failure what, rh_buffer *error, const char *doing,
                             const char *name, int err)
{
    rh_buffer_addf(error, "%s %s: %s", doing, name, strerror(err));
    return what;
}

static const char *variable(const char *const *env, const char *name)
{
    size_t length = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
            return *env + length + 1;
    return NULL;
}

static bool is_program(int cwd, const char *path)
{
    struct stat about;
    return fstatat(cwd, path, &about, 0) == 0 && S_ISREG(about.st_mode) &&
           faccessat(cwd, path, X_OK, AT_EACCESS) == 0;
}

/* The program's path (free() it), or NULL with a message. */
static char *find_program(int cwd, const rh_guard_start *start, rh_buffer *error)
{
    const char *name = start->argv[0];
    struct stat about;
    if (strchr(name, '/')) {
        if (is_program(cwd, name))
            return rh_strdup(name);
        if (fstatat(cwd, name, &about, 0) == 0)
            rh_buffer_addf(error, "\"%s\" is not an executable file", name);
        else
            rh_buffer_addf(error, "\"%s\" is not there (working directory: %s)", name,
                           start->cwd ? start->cwd : "where the run started");
        return NULL;
    }
    const char *path = variable((const char *const *)start->env, "PATH");
    if (!path)
        path = "/usr/local/bin:/usr/bin:/bin";
    for (const char *at = path, *stop; *name; at = stop + 1) {
        stop = strchrnul(at, ':');
        char *candidate = rh_format("%.*s%s%s", (int)(stop - at), at, stop > at ? "/" : "./", name);
        if (is_program(cwd, candidate))
            return candidate;
        free(candidate);
        if (!*stop)
            break;
    }
    rh_buffer_addf(error, "\"%s\" is not installed: it is in none of PATH's folders (%s)", name,
                   path);
    return NULL;
}

/* Bytes as a file in memory: the child reads them at its own pace, and there is nothing to write later. 0600: what
 * keeps passwords in files (libpq) refuses one that others may read, and can be given /dev/fd/0. */
static int input_file(const char *bytes, size_t size)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR) != 0) {
        close(fd);
        return -1;
    }
    for (size_t done = 0; fd >= 0 && done < size;) {
        ssize_t written = write(fd, bytes + done, size - done);
        if (written <= 0) {
            close(fd);
            return -1;
        }
        done += (size_t)written;
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static int null_device(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return fd;
}

static bool open_pipe(int *read_end, int *write_end)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    *read_end = ends[0];
    *write_end = ends[1];
    return true;
}

static rh_frame_failure open_files(const rh_guard_start *start, struct files *files,
                                   rh_buffer *error)
{
    if (start->cwd) {
        files->cwd = open(start->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (files->cwd < 0)
            return fail(RH_FAILURE_CWD, error, "cannot work in", start->cwd, errno);
    }
    if (start->input_path)
        files->in = open(start->input_path, O_RDONLY | O_CLOEXEC);
    else
        files->in = start->input ? input_file(start->input, start->input_size) : dup(null_device());
    if (files->in < 0)
        return fail(RH_FAILURE_IO, error, "cannot read",
                    start->input_path ? start->input_path : "input", errno);
    if (start->output_path)
        files->out =
            open(start->output_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    else
        open_pipe(&files->out_read, &files->out);
    if (files->out < 0)
        return fail(RH_FAILURE_IO, error, "cannot write",
                    start->output_path ? start->output_path : "output", errno);
    if (!open_pipe(&files->err_read, &files->err))
        return fail(RH_FAILURE_IO, error, "cannot read", "its output", errno);
    return 0;
}

static int spawn(pid_t *pid, const char *program, const rh_guard_start *start,
                 const struct files *files)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, files->in, 0);
    posix_spawn_file_actions_adddup2(&actions, files->out, 1);
    posix_spawn_file_actions_adddup2(&actions, files->err, 2);
    if (files->cwd >= 0)
        posix_spawn_file_actions_addfchdir_np(&actions, files->cwd);
    int err = posix_spawn(pid, program, &actions, &attributes, (char *const *)start->argv,
                          (char *const *)start->env);
    if (err == ENOEXEC) { /* a script without its #! line, as a shell would run it */
        size_t count = 0;
        while (start->argv[count])
            count++;
        const char **argv = rh_alloc((count + 2) * sizeof *argv);
        argv[0] = "sh";
        argv[1] = program;
        memcpy(argv + 2, start->argv + 1, count * sizeof *argv);
        err = posix_spawn(pid, "/bin/sh", &actions, &attributes, (char *const *)argv,
                          (char *const *)start->env);
        free(argv);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return err;
}

rh_frame_failure rh_guard_spawn(rh_guarded *command, const rh_guard_start *start, rh_buffer *error)
{
    struct files files = {-1, -1, -1, -1, -1, -1};
    char *program = NULL;
    int err;
    bool created = false;
    rh_frame_failure failure = open_files(start, &files, error);
    created = start->output_path && files.out >= 0;
    if (!failure && !(program = find_program(files.cwd >= 0 ? files.cwd : AT_FDCWD, start, error)))
        failure = RH_FAILURE_NOT_FOUND;
    if (!failure && !rh_guard_ledger_start(start->id))
        failure = fail(RH_FAILURE_IO, error, "cannot write the run's", "spool/ledger", errno);
    if (!failure && (err = spawn(&command->pid, program, start, &files)) != 0) {
        rh_guard_ledger_failed(start->id);
        failure = err == ENOENT || err == EACCES ? RH_FAILURE_NOT_FOUND : RH_FAILURE_IO;
        fail(failure, error, "cannot start", program, err);
        if (err == ENOENT)
            rh_buffer_adds(error, " (the interpreter of its #! line?)");
    }
    if (!failure) {
        rh_guard_ledger_pid(start->id, command->pid);
        rh_guard_output_open(&command->out, files.out_read, command->out.capture);
        rh_guard_output_open(&command->err, files.err_read, command->err.capture);
    } else {
        close_if(files.out_read);
        close_if(files.err_read);
        if (created)
            unlink(start->output_path);
    }
    close_if(files.cwd);
    close_if(files.in);
    close_if(files.out);
    close_if(files.err);
    free(program);
    return failure;
}
