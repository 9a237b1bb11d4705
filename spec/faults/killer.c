/* For LD_PRELOAD: kills the host (SIGKILL) around a commit of its journal, where a power cut or the kernel could.
 *
 *   RH_KILL=MODE:N   at the N-th commit of this process that says more than "run.resume":
 *                    before  nothing of it is written yet        within  a frame's head is written, its page is not
 *                    after   it is on disk                       never   only count
 *                    resume  a commit of "run.resume" alone is on disk
 *   RH_KILL_LOG=FILE each such commit appends a line: what was done, and the types of its events
 *   RH_KILL=MODE:N!  does not count the first commit if it only says "effect.begin" once more
 *
 * The host's children do not inherit it: both variables and LD_PRELOAD are taken out of the environment. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { TYPE_COLUMN = 4, LOG_HEAD = 32 };

static struct {
    char mode[8];
    long at;
    char again; /* '!': what the first commit repeats is not counted */
    int log;
    long commits; /* that were done */
    int writes;   /* of frames since */
    char types[4096];
} killer = {.log = -1};

__attribute__((constructor)) static void begin(void)
{
    const char *kill_at = getenv("RH_KILL"), *log = getenv("RH_KILL_LOG");
    if (kill_at)
        (void)sscanf(kill_at, "%7[a-z]:%ld%c", killer.mode, &killer.at, &killer.again);
    if (log)
        killer.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    unsetenv("RH_KILL");
    unsetenv("RH_KILL_LOG");
    unsetenv("LD_PRELOAD");
}

static void note(const char *what)
{
    if (killer.log >= 0)
        dprintf(killer.log, "%s %s\n", what, killer.types);
}

static void die_if(const char *mode)
{
    if (killer.again == '!' && strcmp(killer.types, "effect.begin") == 0)
        return;
    const char *wanted = killer.types[0] ? mode : strcmp(mode, "after") == 0 ? "resume" : "";
    if (strcmp(killer.mode, wanted) != 0 || killer.commits + 1 != killer.at)
        return;
    note(wanted);
    kill(getpid(), SIGKILL);
}

static int is_wal(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    const char *name = strrchr(path, '/');
    return name && strcmp(name, "/journal.db-wal") == 0;
}

/* The host binds an event's type once for each row that it inserts. */
int sqlite3_bind_text(sqlite3_stmt *statement, int column, const char *text, int size,
                      void (*fini)(void *))
{
    static int (*next)(sqlite3_stmt *, int, const char *, int, void (*)(void *));
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sqlite3_bind_text");
    size_t used = strlen(killer.types);
    if (column == TYPE_COLUMN && used == 0)
        killer.writes = 0; /* what was written before, without a sync, is no commit of events */
    if (column == TYPE_COLUMN && strcmp(text, "run.resume") != 0)
        snprintf(killer.types + used, sizeof killer.types - used, "%s%s", used ? "," : "", text);
    return next(statement, column, text, size, fini);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    if (offset >= LOG_HEAD && is_wal(fd)) {
        if (killer.writes++ == 0)
            die_if("before");
        else
            die_if("within");
    }
    return next(fd, bytes, size, offset);
}

int fdatasync(int fd)
{
    static int (*next)(int);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    int status = next(fd);
    if (killer.writes > 0 && is_wal(fd)) {
        die_if("after");
        if (killer.types[0]) {
            if (killer.again != '!' || strcmp(killer.types, "effect.begin") != 0)
                killer.commits++;
            killer.again = 0;
            note("done");
        }
        killer.writes = 0;
        killer.types[0] = 0;
    }
    return status;
}
