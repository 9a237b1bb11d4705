/* A step's four events in the journal, committed, against four rows in a table of SQLite's; both in turns. */
#include "run/journal.h"
#include "spec/bench/bench.h"

#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

enum { TURNS = 20, STEPS = 50, EVENTS = 4 };

static const char PAYLOAD[] = "{\"status\":\"ok\",\"name\":\"sh.run\",\"value\":{\"code\":0,"
                              "\"out\":\"\",\"err\":\"\",\"ms\":1},\"ms\":1}";

static double with_journal(rh_journal *journal)
{
    static int number;
    rh_error error = {0};
    const int64_t began = rh_mono_us();
    for (int step = 0; step < STEPS; step++) {
        char key[32];
        snprintf(key, sizeof key, "step %d", ++number);
        for (int i = 0; i < EVENTS; i++)
            rh_journal_append(journal, i % 2 ? "step.end" : "step.begin", key, PAYLOAD,
                              sizeof PAYLOAD - 1, &error);
        check(rh_journal_commit(journal, &error), "commit");
    }
    return (double)(rh_mono_us() - began) / STEPS;
}

static double with_sqlite(sqlite3 *db, sqlite3_stmt *insert)
{
    const int64_t began = rh_mono_us();
    for (int step = 0; step < STEPS; step++) {
        check(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK, "begin");
        for (int i = 0; i < EVENTS; i++) {
            check(sqlite3_step(insert) == SQLITE_DONE, "insert");
            sqlite3_reset(insert);
        }
        check(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "commit");
    }
    return (double)(rh_mono_us() - began) / STEPS;
}

int main(void)
{
    char folder[] = "/tmp/rollouthost-bench-XXXXXX";
    check(mkdtemp(folder) && chdir(folder) == 0, "mkdtemp");
    rh_error error = {0};
    rh_journal *journal = rh_journal_create(folder, "bench-20260101-000000-0001", &error);
    check(journal, error.message);
    sqlite3 *db;
    sqlite3_stmt *insert;
    check(
        sqlite3_open("floor.db", &db) == SQLITE_OK &&
            sqlite3_exec(db,
                         "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                         "CREATE TABLE event(seq INTEGER PRIMARY KEY, epoch INTEGER, time INTEGER,"
                         " type TEXT, key TEXT, payload TEXT, hash BLOB)",
                         NULL, NULL, NULL) == SQLITE_OK,
        "create");
    sqlite3_prepare_v2(db,
                       "INSERT INTO event (epoch, time, type, key, payload, hash)"
                       " VALUES (1, 1, 'step.begin', 'step 1000', ?1, zeroblob(32))",
                       -1, &insert, NULL);
    sqlite3_bind_text(insert, 1, PAYLOAD, -1, SQLITE_STATIC);
    double ours[TURNS], least[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        ours[turn] = with_journal(journal);
        least[turn] = with_sqlite(db, insert);
    }
    sqlite3_finalize(insert);
    sqlite3_close(db);
    rh_journal_close(journal);
    row("four events, one commit", median(ours, TURNS), median(least, TURNS), "µs", 1.5);
    check(chdir("/") == 0, "chdir");
    char *remove = rh_format("rm -rf '%s'", folder);
    const int status = system(remove);
    free(remove);
    return status != 0;
}
