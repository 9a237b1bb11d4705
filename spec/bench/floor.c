/* The least a durable step can cost: posix_spawn of /bin/true with its output captured, and one commit of an
 * SQLite file in WAL mode with synchronous=FULL a step; or, for one step, one fdatasync of a small file.
 *   floor once FILE      floor steps N FILE */
#include <fcntl.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void run_true(void)
{
    static char name[] = "/bin/true";
    static char *const argv[] = {name, NULL};
    char bytes[4096];
    int fds[2];
    int status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    check(pipe2(fds, O_CLOEXEC) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    check(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) == 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    while (read(fds[0], bytes, sizeof bytes) > 0)
        continue;
    close(fds[0]);
    check(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
}

static void once(const char *path)
{
    const int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    check(fd >= 0, path);
    run_true();
    check(write(fd, "true 0\n", 7) == 7 && fdatasync(fd) == 0, "fdatasync");
    close(fd);
}

static void steps(int count, const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *insert;
    check(sqlite3_open(path, &db) == SQLITE_OK, path);
    sqlite3_exec(db,
                 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                 "CREATE TABLE event (seq INTEGER PRIMARY KEY, payload TEXT)",
                 NULL, NULL, NULL);
    sqlite3_prepare_v2(db, "INSERT INTO event (payload) VALUES ('step')", -1, &insert, NULL);
    for (int i = 0; i < count; i++) {
        run_true();
        check(sqlite3_step(insert) == SQLITE_DONE, "insert"); /* a commit of its own */
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    sqlite3_close(db);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "once") == 0)
        once(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "steps") == 0)
        steps(atoi(argv[2]), argv[3]);
    else
        return 2;
    return 0;
}
