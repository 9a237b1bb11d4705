#include "core/buffer.h"
#include "core/event.h"
#include "core/loop.h"
#include "run/journal.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define RUN "shop-20260101-000000-0001"

static rh_journal *create(void **state)
{
    rh_error error = {0};
    rh_journal *journal = rh_journal_create(*state, RUN, &error);
    if (!journal)
        fail_msg("%s", error.message);
    return journal;
}

static rh_journal *reopen(void **state)
{
    rh_error error = {0};
    rh_journal *journal = rh_journal_open(*state, &error);
    if (!journal)
        fail_msg("%s", error.message);
    return journal;
}

static void append(rh_journal *journal, const char *type, const char *key, const char *payload)
{
    rh_error error = {0};
    if (!rh_journal_append(journal, type, key, payload, strlen(payload), &error))
        fail_msg("%s", error.message);
}

static void commit(rh_journal *journal)
{
    rh_error error = {0};
    if (!rh_journal_commit(journal, &error))
        fail_msg("%s", error.message);
    assert_false(rh_journal_is_pending(journal));
}

static void recorded(void **state, unsigned steps)
{
    rh_journal *journal = create(state);
    for (unsigned i = 0; i < steps; i++) {
        char key[40];
        snprintf(key, sizeof key, "Deploy/step %u", i);
        append(journal, "step.begin", key, "{\"line\":1}");
        append(journal, "step.end", key, "{\"status\":\"ok\"}");
        commit(journal);
    }
    rh_journal_close(journal);
}

/* What a person with an editor does to a journal that nobody holds. */
static void edit(void **state, const char *sql)
{
    char *path = rh_format("%s/journal.db", (char *)*state);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
    free(path);
}

static void assert_refused(void **state, const char *expected)
{
    rh_error error = {0};
    assert_null(rh_journal_open(*state, &error));
    assert_string_equal(error.code, "journal");
    if (!strstr(error.message, expected))
        fail_msg("%s", error.message);
    rh_error_clear(&error);
}

static void a_journal_is_read_back(void **state)
{
    rh_journal *journal = create(state);
    rh_event event;
    append(journal, "step.begin", "A", "{\"n\":1}");
    append(journal, "step.end", "A", "{\"n\":2}");
    append(journal, "step.end", "A", "{\"n\":3}");
    assert_true(rh_journal_recall(journal, "step.end", "A", &event)); /* before it is durable */
    assert_string_equal(event.payload, "{\"n\":3}");
    assert_false(event.replayed);
    commit(journal);
    rh_journal_close(journal);
    journal = reopen(state);
    assert_int_equal(rh_journal_last(journal), 3);
    assert_int_equal(rh_journal_epoch(journal), 2);
    assert_string_equal(rh_journal_run(journal), RUN);
    assert_true(rh_journal_recall(journal, "step.end", "A", &event));
    assert_int_equal(event.seq, 3);
    assert_string_equal(event.payload, "{\"n\":3}");
    assert_true(event.replayed);
    assert_false(rh_journal_recall(journal, "step.end", "B", &event));
    assert_false(rh_journal_recall(journal, "gate.end", "A", &event));
    append(journal, "step.end", "A", "{}");
    assert_true(rh_journal_recall(journal, "step.end", "A", &event));
    assert_false(event.replayed);
    rh_journal_close(journal);
}

static void what_is_not_committed_is_gone(void **state)
{
    rh_journal *journal = create(state);
    append(journal, "run.start", "", "{}");
    commit(journal);
    append(journal, "step.begin", "A", "{}");
    assert_true(rh_journal_is_pending(journal));
    rh_journal_close(journal);
    journal = reopen(state);
    assert_int_equal(rh_journal_last(journal), 1);
    rh_journal_close(journal);
}

static void long_payloads_stay_on_disk(void **state)
{
    rh_journal *journal = create(state);
    char *payload = malloc(300001);
    memset(payload, 'x', 300000);
    payload[300000] = '\0';
    append(journal, "effect.end", "A", payload);
    append(journal, "effect.end", "B", "{}");
    commit(journal);
    rh_event event;
    assert_true(rh_journal_recall(journal, "effect.end", "A", &event));
    assert_string_equal(event.payload, payload);
    rh_journal_close(journal);
    journal = reopen(state);
    assert_true(rh_journal_recall(journal, "effect.end", "A", &event));
    assert_string_equal(event.payload, payload);
    free(payload);
    rh_journal_close(journal);
}

static void the_settings_are_those_that_are_durable(void **state)
{
    recorded(state, 1);
    char *path = rh_format("%s/journal.db", (char *)*state);
    sqlite3 *db;
    sqlite3_stmt *mode;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &mode, NULL);
    assert_int_equal(sqlite3_step(mode), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(mode, 0), "wal");
    sqlite3_finalize(mode);
    sqlite3_close(db);
    free(path);
}

static void an_edit_is_seen(void **state)
{
    recorded(state, 3);
    edit(state, "UPDATE event SET payload='{\"status\":\"failed\"}' WHERE seq=4");
    assert_refused(state, "event 4 does not fit");
    rh_error error = {0};
    rh_journal *journal = rh_journal_read(*state, &error); /* it can still be looked at */
    assert_non_null(journal);
    assert_int_equal(rh_journal_last(journal), 6);
    assert_false(rh_journal_verify(journal, &error));
    rh_error_clear(&error);
    rh_journal_close(journal);
}

static void a_cut_at_the_end_is_seen(void **state)
{
    recorded(state, 3);
    rh_error error = {0};
    rh_journal_glance glance;
    assert_true(rh_journal_glance_at(*state, &glance, &error));
    rh_journal_glance_clear(&glance);
    edit(state, "DELETE FROM event WHERE seq=6");
    assert_refused(state, "ends with event 5, and 6 were written");
    assert_false(rh_journal_glance_at(*state, &glance, &error));
    assert_string_equal(error.code, "journal");
    rh_error_clear(&error);
}

static void a_glance_sees_how_a_run_stands(void **state)
{
    rh_journal *journal = create(state);
    append(journal, "source", "x.lua", "{}");
    append(journal, "run.start", "", "{\"name\":\"shop\"}");
    append(journal, "run.end", "of another key", "{}");
    append(journal, "run.pause", "", "{\"exit\":5}");
    append(journal, "run.resume", "", "{}");
    commit(journal);
    rh_error error = {0};
    rh_journal_glance glance;
    assert_true(rh_journal_glance_at(*state, &glance, &error)); /* while it is written */
    assert_string_equal(glance.start, "{\"name\":\"shop\"}");
    assert_string_equal(glance.type, "run.resume");
    assert_true(glance.begun_us > 0 && glance.last_us >= glance.begun_us);
    rh_journal_glance_clear(&glance);
    append(journal, "run.end", "", "{\"exit\":0}");
    commit(journal);
    rh_journal_close(journal);
    assert_true(rh_journal_glance_at(*state, &glance, &error));
    assert_string_equal(glance.last, "{\"exit\":0}");
    rh_journal_glance_clear(&glance);
    edit(state, "UPDATE event SET payload='{}' WHERE seq=6");
    assert_false(rh_journal_glance_at(*state, &glance, &error));
    rh_error_clear(&error);
}

static void every_column_is_in_the_chain(void **state)
{
    static const char *const edits[] = {
        "UPDATE event SET time=time+1 WHERE seq=2",
        "UPDATE event SET key='x' WHERE seq=2",
        "UPDATE event SET type='x' WHERE seq=2",
        "UPDATE event SET epoch=9 WHERE seq=2",
        "UPDATE event SET hash=zeroblob(32) WHERE seq=2",
        "UPDATE event SET hash=x'00' WHERE seq=2",
        "UPDATE event SET seq=20 WHERE seq=2",
        "DELETE FROM event WHERE seq=2",
        "UPDATE event SET type='step.endD', key='eploy/step 0' WHERE seq=2",
        "UPDATE meta SET value='another' WHERE name='run'",
    };
    recorded(state, 2);
    char *path = rh_format("%s/journal.db", (char *)*state), *copy = rh_format("%s.copy", path);
    char *command = rh_format("cp '%s' '%s'", path, copy),
         *back = rh_format("cp '%s' '%s'", copy, path);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        edit(state, edits[i]);
        assert_refused(state, "does not fit");
        assert_int_equal(system(back), 0);
    }
    rh_journal_close(reopen(state));
    free(path);
    free(copy);
    free(command);
    free(back);
}

static void a_newer_version_is_refused_by_name(void **state)
{
    recorded(state, 1);
    edit(state, "PRAGMA user_version=7; UPDATE meta SET value='9.8.7' WHERE name='host'");
    assert_refused(state, "written by rollouthost 9.8.7 (schema 7)");
}

static void a_damaged_file_is_an_error(void **state)
{
    recorded(state, 300);
    char *path = rh_format("%s/journal.db", (char *)*state);
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    for (off_t page = 2; page < 8; page++)
        assert_int_equal(pwrite(fd, junk, sizeof junk, page * 4096), sizeof junk);
    close(fd);
    assert_refused(state, "damaged");
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
    close(fd);
    assert_refused(state, "damaged");
    fd = open(path, O_WRONLY | O_TRUNC);
    close(fd);
    assert_refused(state, "never began");
    free(path);
    edit(state, "CREATE TABLE t(x)");
    assert_refused(state, "never began");
    edit(state, "PRAGMA application_id=5");
    assert_refused(state, "not a journal of rollouthost");
}

static void only_one_process_holds_a_run(void **state)
{
    rh_journal *journal = create(state);
    append(journal, "run.start", "", "{}");
    commit(journal);
    assert_true(rh_journal_is_live(*state));
    rh_error error = {0};
    assert_null(rh_journal_open(*state, &error));
    assert_string_equal(error.code, "locked");
    char pid[32];
    snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_non_null(strstr(error.message, pid));
    rh_error_clear(&error);
    rh_journal_close(journal);
    assert_false(rh_journal_is_live(*state));
}

static void others_read_while_it_is_written(void **state)
{
    rh_journal *journal = create(state);
    append(journal, "run.start", "", "{}");
    commit(journal);
    rh_error error = {0};
    rh_journal *reader = rh_journal_read(*state, &error);
    assert_non_null(reader);
    assert_int_equal(rh_journal_last(reader), 1);
    assert_false(rh_journal_append(reader, "x", "", "{}", 2, &error));
    rh_error_clear(&error);
    append(journal, "step.begin", "A", "{}");
    assert_true(rh_journal_refresh(reader, &error));
    assert_int_equal(rh_journal_last(reader), 1);
    commit(journal);
    assert_true(rh_journal_refresh(reader, &error));
    assert_int_equal(rh_journal_last(reader), 2);
    assert_true(rh_journal_verify(reader, &error));
    rh_journal_close(journal); /* the reader keeps it from checkpointing, not from closing */
    rh_journal_close(reader);
    journal = reopen(state);
    assert_int_equal(rh_journal_last(journal), 2);
    rh_journal_close(journal);
}

static void looking_at_a_finished_journal_leaves_nothing_behind(void **state)
{
    recorded(state, 2);
    rh_error error = {0};
    rh_journal *reader = rh_journal_read(*state, &error);
    assert_int_equal(rh_journal_last(reader), 4);
    char *shared = rh_format("%s/journal.db-shm", (char *)*state);
    assert_int_equal(access(shared, F_OK), -1);
    rh_journal *journal = reopen(state); /* somebody resumes meanwhile */
    append(journal, "run.resume", "", "{}");
    commit(journal);
    assert_true(rh_journal_refresh(reader, &error));
    assert_int_equal(rh_journal_last(reader), 5);
    rh_journal_close(reader);
    rh_journal_close(journal);
    free(shared);
}

static void a_finished_journal_is_read_where_nothing_can_be_written(void **state)
{
    recorded(state, 2);
    char *path = rh_format("%s/journal.db", (char *)*state);
    assert_int_equal(chmod(path, 0444) || chmod(*state, 0555), 0);
    free(path);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(4321) != 0) /* root writes everywhere */
            _exit(1);
        rh_journal *journal = rh_journal_read(*state, NULL);
        _exit(journal && rh_journal_last(journal) == 4 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(*state, 0700), 0);
    assert_int_equal(status, 0);
}

/* The child tells each seq after its commit; it is killed in the middle of the next one or two. */
static void nothing_committed_is_lost_by_a_kill(void **state)
{
    for (int round = 0; round < 20; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            rh_journal *journal =
                round ? rh_journal_open(*state, NULL) : rh_journal_create(*state, RUN, NULL);
            for (;;) {
                if (!journal || !rh_journal_append(journal, "step.end", "A", "{}", 2, NULL) ||
                    !rh_journal_commit(journal, NULL))
                    _exit(1);
                int64_t seq = rh_journal_last(journal);
                if (write(ends[1], &seq, sizeof seq) != sizeof seq)
                    _exit(1);
            }
        }
        close(ends[1]);
        int64_t told = 0, seq;
        for (int i = 0; i < 5 + round; i++) {
            assert_int_equal(read(ends[0], &seq, sizeof seq), sizeof seq);
            told = seq;
        }
        kill(child, SIGKILL);
        while (read(ends[0], &seq, sizeof seq) == sizeof seq)
            told = seq;
        close(ends[0]);
        waitpid(child, NULL, 0);
        rh_journal *journal = reopen(state);
        assert_true(rh_journal_last(journal) == told || rh_journal_last(journal) == told + 1);
        assert_int_equal(rh_journal_epoch(journal), round + 2);
        rh_journal_close(journal);
    }
}

/* A file that cannot grow stands for the full disk; the kernel's signal for it is ignored. */
static void a_full_disk_is_final_and_loses_nothing(void **state)
{
    rh_journal *journal = create(state);
    append(journal, "run.start", "", "{}");
    commit(journal);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 64 * 1024;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rh_error error = {0};
    int64_t durable = 1;
    for (;;) {
        append(journal, "step.end", "A",
               "{\"text\":\"some text that takes a little room in the file\"}");
        if (!rh_journal_commit(journal, &error))
            break;
        durable = rh_journal_last(journal);
        assert_true(durable < 10000);
    }
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_string_equal(error.code, "journal");
    assert_non_null(strstr(error.message, "What was recorded before is safe"));
    assert_string_equal(rh_journal_failure(journal), error.message);
    rh_error_clear(&error);
    assert_false(
        rh_journal_commit(journal, &error)); /* never retried, though there is room again */
    assert_false(rh_journal_append(journal, "x", "", "{}", 2, NULL));
    rh_error_clear(&error);
    rh_journal_close(journal);
    journal = reopen(state);
    assert_int_equal(rh_journal_last(journal), durable);
    rh_journal_close(journal);
}

static void collect(void *data, const rh_event *event)
{
    rh_buffer_addf(data, "%lld %s %s %s\n", (long long)event->seq, event->type, event->key,
                   event->payload);
}

static void subscribers_are_told_of_what_is_durable(void **state)
{
    static rh_buffer seen;
    rh_event_subscribe(collect, &seen);
    rh_journal *journal = create(state);
    append(journal, "run.start", "", "{}");
    append(journal, "step.begin", "A", "{\"line\":3}");
    rh_event_say("output", "A", "{\"text\":\"hello\"}");
    append(journal, "step.end", "A", "{}");
    assert_int_equal(seen.size, 0);
    commit(journal);
    assert_string_equal(seen.data, "1 run.start  {}\n2 step.begin A {\"line\":3}\n"
                                   "0 output A {\"text\":\"hello\"}\n3 step.end A {}\n");
    rh_buffer_clear(&seen);
    rh_event_say("output", "A", "{\"text\":\"nothing is waited for\"}");
    assert_string_equal(seen.data, "0 output A {\"text\":\"nothing is waited for\"}\n");
    rh_buffer_free(&seen);
    rh_journal_close(journal);
}

static void ten_thousand_steps_are_recalled_quickly(void **state)
{
    rh_journal *journal = create(state);
    for (unsigned i = 0; i < 40000; i++) {
        static const char *const types[] = {"step.begin", "effect.begin", "effect.end", "step.end"};
        char key[60], payload[300];
        snprintf(key, sizeof key, "Deploy/step number %u", i / 4);
        snprintf(payload, sizeof payload, "{\"line\":%u,\"text\":\"%0200u\"}", i, i);
        append(journal, types[i % 4], key, payload);
    }
    commit(journal);
    rh_journal_close(journal);
    clock_t start = clock();
    journal = reopen(state);
    for (unsigned i = 0; i < 10000; i++) {
        char key[60];
        rh_event event;
        snprintf(key, sizeof key, "Deploy/step number %u", i);
        assert_true(rh_journal_recall(journal, "step.end", key, &event));
        assert_int_equal(event.seq, i * 4 + 4);
    }
    /* The processor's time: others may be using the machine. The limit is generous to sanitizers. */
    double ms = 1000.0 * (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("40,000 events verified, loaded, 10,000 recalled: %.1f ms\n", ms);
    assert_true(ms < 2000);
    rh_journal_close(journal);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPEC(a_journal_is_read_back),
        SPEC(what_is_not_committed_is_gone),
        SPEC(long_payloads_stay_on_disk),
        SPEC(the_settings_are_those_that_are_durable),
        SPEC(an_edit_is_seen),
        SPEC(a_cut_at_the_end_is_seen),
        SPEC(a_glance_sees_how_a_run_stands),
        SPEC(every_column_is_in_the_chain),
        SPEC(a_newer_version_is_refused_by_name),
        SPEC(a_damaged_file_is_an_error),
        SPEC(only_one_process_holds_a_run),
        SPEC(others_read_while_it_is_written),
        SPEC(looking_at_a_finished_journal_leaves_nothing_behind),
        SPEC(a_finished_journal_is_read_where_nothing_can_be_written),
        SPEC(nothing_committed_is_lost_by_a_kill),
        SPEC(a_full_disk_is_final_and_loses_nothing),
        SPEC(ten_thousand_steps_are_recalled_quickly),
        SPEC(subscribers_are_told_of_what_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
