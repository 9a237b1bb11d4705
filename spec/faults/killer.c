/* For LD_PRELOAD: kills the host (SIGKILL) around a commit of its journal, where a power cut or the kernel could.
 *
 *   RH_KILL=MODE:N   at the N-th commit of this process that was not killed in this way yet:
 *                    before  nothing of it is written            within  a frame's head is written, its page is not
 *                    after   it is on disk                       never   only take notes
 *                    fail    its sync fails with EIO; a later sync of that file is noted as "again"
 *                    resume  after a first commit that says nothing but "run.resume"
 *   RH_KILL_LOG=FILE what was killed, and how: a line each, MODE, TAB, the types and keys of the commit's events; "done"
 *                    where it was survived. Read at the start, so that a commit that a resumed run repeats (the intent
 *                    of an effect that is done again) is not killed for ever.
 *   RH_KILL_INTENT   set: also the repeated intent that comes first in a resumed run counts
 *
 * The host's children do not inherit it: these variables and LD_PRELOAD are taken out of the environment. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { TYPE_COLUMN = 4, KEY_COLUMN = 5, LOG_HEAD = 32, LONGEST = 1 << 16 };

static struct {
    char mode[8];
    long at;
    int log;
    char *known;          /* the log as it was at the start */
    int intent;           /* a repeated intent counts */
    long counted;         /* commits that could have been killed and were not yet to be */
    int first;            /* nothing but "run.resume" was committed */
    int writes;           /* of frames since the last commit */
    int failed;           /* a sync did */
    char events[LONGEST]; /* of the commit under way, without "run.resume" */
} killer = {.log = -1, .first = 1};

static char *whole(int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        return NULL;
    char *text = calloc(1, (size_t)status.st_size + 2);
    text[0] = '\n';
    if (pread(fd, text + 1, (size_t)status.st_size, 0) != status.st_size)
        abort();
    return text;
}

__attribute__((constructor)) static void begin(void)
{
    const char *kill_at = getenv("RH_KILL"), *log = getenv("RH_KILL_LOG");
    if (kill_at)
        (void)sscanf(kill_at, "%7[a-z]:%ld", killer.mode, &killer.at);
    if (log)
        killer.log = open(log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    killer.known = whole(killer.log);
    killer.intent = getenv("RH_KILL_INTENT") != NULL;
    unsetenv("RH_KILL");
    unsetenv("RH_KILL_LOG");
    unsetenv("RH_KILL_INTENT");
    unsetenv("LD_PRELOAD");
}

static void note(const char *what)
{
    if (killer.log >= 0)
        dprintf(killer.log, "%s\t%s\n", what, killer.events);
}

static int was_killed(const char *mode)
{
    static char line[LONGEST + 16];
    snprintf(line, sizeof line, "\n%s\t%s\n", mode, killer.events);
    return killer.known && strstr(killer.known, line);
}

static int is_repeated_intent(void)
{
    return killer.first && strncmp(killer.events, "effect.begin ", 13) == 0 &&
           !strchr(killer.events, ';');
}

/* Whether the commit under way is the one; `mode` says how far it is. */
static int is_due(const char *mode)
{
    const char *wanted = killer.events[0] ? mode : strcmp(mode, "after") == 0 ? "resume" : "";
    if (strcmp(killer.mode, wanted) != 0)
        return 0;
    if (killer.events[0] &&
        ((is_repeated_intent() && !killer.intent) || was_killed("after") ||
         (strcmp(mode, "after") != 0 && (was_killed("before") || was_killed("within")))))
        return 0;
    return ++killer.counted == killer.at;
}

static void die_if(const char *mode)
{
    if (!is_due(mode))
        return;
    note(killer.events[0] ? mode : "resume");
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

static void add(const char *before, const char *text)
{
    size_t used = strlen(killer.events);
    snprintf(killer.events + used, sizeof killer.events - used, "%s%s", before, text);
}

/* The host binds an event's type and key once for each row that it inserts. */
int sqlite3_bind_text(sqlite3_stmt *statement, int column, const char *text, int size,
                      void (*fini)(void *))
{
    static int (*next)(sqlite3_stmt *, int, const char *, int, void (*)(void *));
    static int left_out;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sqlite3_bind_text");
    if (column == TYPE_COLUMN) {
        left_out = strcmp(text, "run.resume") == 0;
        if (!left_out && !killer.events[0])
            killer.writes = 0; /* what was written before, without a sync, is no commit of events */
        if (!left_out)
            add(killer.events[0] ? ";" : "", text);
    } else if (column == KEY_COLUMN && !left_out)
        /* What is done at the end has a key of each process: it is the same that is done again. */
        add(" ", strncmp(text, "at end#", 7) == 0 ? "at end" : text);
    return next(statement, column, text, size, fini);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    if (offset >= LOG_HEAD && is_wal(fd)) {
        killer.writes++;
        if (killer.writes <= 2)
            die_if(killer.writes == 1 ? "before" : "within");
    }
    return next(fd, bytes, size, offset);
}

int fdatasync(int fd)
{
    static int (*next)(int);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    if (killer.failed && is_wal(fd))
        note("again");
    if (killer.writes > 0 && is_wal(fd) && is_due("fail")) {
        note("fail");
        killer.failed = 1;
        errno = EIO;
        return -1;
    }
    int status = next(fd);
    if (killer.writes > 0 && is_wal(fd)) {
        die_if("after");
        if (killer.events[0]) {
            note("done");
            killer.first = 0;
        }
        killer.writes = 0;
        killer.events[0] = 0;
    }
    return status;
}
