/* The least that each thing can cost.
 *   floor once FILE      posix_spawn of /bin/true with its output captured, one fdatasync of a small file
 *   floor steps N FILE   N times that, each with one commit of four rows in WAL mode with synchronous=FULL
 *   floor read FILE      every row of a journal read, its hash computed */
#include <fcntl.h>
#include <nettle/sha2.h>
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
    int out[2], err[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    check(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    check(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) == 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    while (read(out[0], bytes, sizeof bytes) > 0)
        continue;
    while (read(err[0], bytes, sizeof bytes) > 0)
        continue;
    close(out[0]);
    close(err[0]);
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

static void sql(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK)
        return;
    fprintf(stderr, "floor: %s: %s\n", text, sqlite3_errmsg(db));
    exit(1);
}

static void steps(int count, const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *insert;
    check(sqlite3_open(path, &db) == SQLITE_OK, path);
    sql(db,
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE event(seq INTEGER PRIMARY KEY, type TEXT, key TEXT, payload TEXT, hash BLOB)");
    sqlite3_prepare_v2(db,
                       "INSERT INTO event (type, key, payload, hash)"
                       " VALUES ('step.begin', 'step 1000', ?1, zeroblob(32))",
                       -1, &insert, NULL);
    sqlite3_bind_text(insert, 1,
                      "{\"status\":\"ok\",\"name\":\"sh.run\",\"value\":{\"code\":0,\"out\":\"\","
                      "\"err\":\"\",\"ms\":1},\"ms\":1}",
                      -1, SQLITE_STATIC);
    for (int i = 0; i < count; i++) {
        sql(db, "BEGIN");
        for (int row = 0; row < 4; row++) {
            check(sqlite3_step(insert) == SQLITE_DONE, "insert");
            sqlite3_reset(insert);
        }
        sql(db, "COMMIT"); /* before the command, as an intent is */
        run_true();
    }
    sqlite3_finalize(insert);
    sqlite3_close(db);
}

static void read_all(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *rows;
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    check(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK, path);
    sqlite3_prepare_v2(db, "SELECT type, key, payload, hash FROM event ORDER BY seq", -1, &rows,
                       NULL);
    int count = 0;
    for (; sqlite3_step(rows) == SQLITE_ROW; count++) {
        sha256_init(&hash);
        for (int column = 0; column < 4; column++)
            sha256_update(&hash, (size_t)sqlite3_column_bytes(rows, column),
                          sqlite3_column_blob(rows, column));
        sha256_digest(&hash, sizeof digest, digest);
    }
    check(count > 0, "no rows");
    sqlite3_finalize(rows);
    sqlite3_close(db);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 3 && strcmp(what, "once") == 0)
        once(argv[2]);
    else if (argc == 4 && strcmp(what, "steps") == 0)
        steps(atoi(argv[2]), argv[3]);
    else if (argc == 3 && strcmp(what, "read") == 0)
        read_all(argv[2]);
    else
        return 2;
    return 0;
}
