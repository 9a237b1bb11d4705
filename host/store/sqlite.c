#include "store/store.h"

#include "core/module.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION = 0x726f6c6c, /* "roll" */
    SCHEMA = 1,
    BUSY_MS = 5000,
    CHECKPOINT_PAGES = 16384, /* 64 MiB of write-ahead log */
};

struct sqlite {
    rh_store base;
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit; /* prepared with the first append */
    char *path;
    int wal_pages;
    bool begun;     /* there was a commit */
    bool immutable; /* nobody writes it, as far as could be seen when it was opened */
};

/* What is to be said to somebody whose disk is full, or broken: whether there is something to go on from. */
static bool disk_failed(const struct sqlite *s, rh_error *error, const char *what,
                        const char *reason, const char *cure)
{
    return s->begun
               ? rh_fail(
                     error, "journal",
                     "cannot %s the journal %s: %s. What was recorded before is safe: %s, then resume "
                     "the run",
                     what, s->path, reason, cure)
               : rh_fail(error, "journal",
                         "cannot %s the journal %s: %s. Nothing was begun: %s, then start it again",
                         what, s->path, reason, cure);
}

static bool failed(struct sqlite *s, rh_error *error, const char *what)
{
    int code = s->db ? sqlite3_errcode(s->db) : SQLITE_NOMEM;
    int os = s->db ? sqlite3_system_errno(s->db) : 0;
    const char *reason = s->db ? sqlite3_errmsg(s->db) : "out of memory";
    if (code == SQLITE_FULL || (code == SQLITE_IOERR && os == ENOSPC))
        return disk_failed(s, error, what, "the disk is full", "make room");
    if (code == SQLITE_IOERR)
        return disk_failed(s, error, what, os ? strerror(os) : reason, "mend the disk");
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return rh_fail(error, "journal", "the journal %s is damaged (%s): nothing was changed",
                       s->path, reason);
    return rh_fail(error, "journal", "cannot %s the journal %s: %s%s%s. Nothing was changed", what,
                   s->path, reason, os ? ": " : "", os ? strerror(os) : "");
}

static bool run_sql(struct sqlite *s, const char *sql, rh_error *error)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK || failed(s, error, "write");
}

/* The first column of the first row as text (free() it), or NULL. */
static char *value_of(struct sqlite *s, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    char *value = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0))
        value = rh_strdup((const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return value;
}

/* A pragma that decides whether a commit survives a power failure is read back, not believed. */
static bool demand(struct sqlite *s, const char *set, const char *get, const char *expected,
                   rh_error *error)
{
    if (!run_sql(s, set, error))
        return false;
    char *value = value_of(s, get);
    bool same = value && strcmp(value, expected) == 0;
    if (!same)
        rh_fail(error, "journal", "the journal %s cannot be written durably: %s gives %s, not %s",
                s->path, get, value ? value : "nothing", expected);
    free(value);
    return same;
}

static int note_wal(void *data, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    ((struct sqlite *)data)->wal_pages = pages;
    return SQLITE_OK;
}

static bool prepare_writing(struct sqlite *s, rh_error *error)
{
    if (!demand(s, "PRAGMA journal_mode=WAL", "PRAGMA journal_mode", "wal", error) ||
        !demand(s, "PRAGMA synchronous=FULL", "PRAGMA synchronous", "2", error))
        return false;
    sqlite3_wal_hook(s->db, note_wal, s); /* ends SQLite's own checkpoints, which come in mid-run */
    return true;
}

/* Nothing is promised before the first append, whose sync covers all of the write-ahead log: of what goes
 * before it only the database file itself needs a sync of its own. That saves four, a millisecond of a start. */
static bool create(struct sqlite *s, const char *run, rh_error *error)
{
    char *sql = sqlite3_mprintf(
        "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY; PRAGMA journal_mode=WAL;"
        "BEGIN;"
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE event(seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, time INTEGER NOT NULL,"
        " type TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, hash BLOB NOT NULL);"
        "PRAGMA application_id=%d; PRAGMA user_version=%d;"
        "INSERT INTO meta VALUES('host', %Q), ('run', %Q);"
        "COMMIT",
        APPLICATION, SCHEMA, RH_HOST_VERSION, run);
    bool ok = run_sql(s, sql, error);
    sqlite3_free(sql);
    s->base.run = rh_strdup(run);
    sqlite3_file *file = NULL;
    /* Through SQLite: closing a descriptor of our own would drop the locks of its. */
    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (ok && file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK)
        ok = failed(s, error, "create");
    return ok && prepare_writing(s, error);
}

static bool recognise(struct sqlite *s, rh_error *error)
{
    char *application = value_of(s, "PRAGMA application_id");
    if (!application)
        return failed(s, error, "read");
    char *schema = value_of(s, "PRAGMA user_version");
    char *host = value_of(s, "SELECT value FROM meta WHERE name='host'");
    s->base.run = value_of(s, "SELECT value FROM meta WHERE name='run'");
    bool ok = false;
    if (atoi(application) == 0 && !host)
        rh_fail(error, "journal", "the journal %s is empty: its run never began", s->path);
    else if (atoi(application) != APPLICATION)
        rh_fail(error, "journal", "%s is not a journal of rollouthost", s->path);
    else if (schema && atoi(schema) > SCHEMA)
        rh_fail(
            error, "journal",
            "the journal %s was written by rollouthost %s (schema %s); this is %s (schema %d): use the newer "
            "one",
            s->path, host ? host : "of a newer version", schema, RH_HOST_VERSION, SCHEMA);
    else if (!s->base.run)
        rh_fail(error, "journal", "the journal %s is damaged: it does not name its run", s->path);
    else
        ok = true;
    free(application);
    free(schema);
    free(host);
    return ok;
}

/* Whether all of the journal is in the file itself: no write-ahead log, or nothing in it yet. */
static bool is_settled(const struct sqlite *s)
{
    char *wal = rh_format("%s-wal", s->path);
    struct stat status;
    bool settled = stat(wal, &status) != 0 ? errno == ENOENT : status.st_size == 0;
    free(wal);
    return settled;
}

/* To look at it. A settled journal is read as an immutable file: SQLite would leave two files beside it, or
 * refuse where the folder cannot be written. */
static int open_reading(struct sqlite *s)
{
    rh_buffer uri = {0};
    rh_buffer_adds(&uri, "file:");
    for (const char *c = s->path; *c; c++)
        rh_buffer_addf(&uri, strchr("?#%", *c) ? "%%%02x" : "%c", (unsigned char)*c);
    s->immutable = is_settled(s);
    rh_buffer_adds(&uri, s->immutable ? "?immutable=1" : "");
    int status = sqlite3_open_v2(
        uri.data, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    rh_buffer_free(&uri);
    return status;
}

/* What a host that died has left in the write-ahead log goes into the file itself, and the log begins anew: should
 * a page of the old one not be on disk after all, nothing that comes after it is lost with it. */
static bool settle(struct sqlite *s, rh_error *error)
{
    int status = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return status == SQLITE_OK || status == SQLITE_BUSY /* somebody looks at it for long */
           || failed(s, error, "settle");
}

static bool open_database(struct sqlite *s, const char *run, rh_store_mode mode, rh_error *error)
{
    if (mode == RH_STORE_CREATE) {
        int fd = open(s->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
            return rh_fail(error, "journal", "cannot create the journal %s: %s", s->path,
                           strerror(errno));
        (void)fchmod(
            fd, 0660); /* the folder says who may: its group resumes, too, where it is shared */
        close(fd);
    }
    int status =
        mode == RH_STORE_READ
            ? open_reading(s)
            : sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (status != SQLITE_OK)
        return failed(s, error, "open");
    sqlite3_busy_timeout(s->db, BUSY_MS);
    if (mode == RH_STORE_CREATE)
        return create(s, run, error);
    s->begun = true;
    return recognise(s, error) &&
           (mode == RH_STORE_READ || (prepare_writing(s, error) && settle(s, error)));
}

static void sqlite_close(rh_store *store)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->insert);
    sqlite3_finalize(s->commit);
    sqlite3_close(s->db); /* the last connection that may write checkpoints */
    free(s->path);
    free(s->base.run);
    free(s);
}

static bool prepare(struct sqlite *s, const char *sql, sqlite3_stmt **statement)
{
    return *statement || sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement,
                                            NULL) == SQLITE_OK;
}

static bool run(sqlite3_stmt *statement)
{
    return sqlite3_step(statement) == SQLITE_DONE && sqlite3_reset(statement) == SQLITE_OK;
}

static bool insert_row(struct sqlite *s, const rh_store_row *row)
{
    sqlite3_stmt *insert = s->insert;
    sqlite3_bind_int64(insert, 1, row->seq);
    sqlite3_bind_int64(insert, 2, row->epoch);
    sqlite3_bind_int64(insert, 3, row->time_us);
    sqlite3_bind_text(insert, 4, row->type, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 5, row->key, -1, SQLITE_STATIC);
    sqlite3_bind_text64(insert, 6, row->payload, row->payload_size, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_blob(insert, 7, row->hash, RH_STORE_HASH, SQLITE_STATIC);
    return run(insert);
}

/* After a sync that failed, the kernel holds pages that it takes for written and the disk does not have: a
 * second sync would be believed. Closing would make one. */
static bool give_up(struct sqlite *s, rh_error *error)
{
    failed(s, error, "write");
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return false;
}

static bool sqlite_append(rh_store *store, bool (*next)(void *data, rh_store_row *row), void *data,
                          rh_error *error)
{
    struct sqlite *s = (struct sqlite *)store;
    if (!prepare(s, "BEGIN IMMEDIATE", &s->begin) ||
        !prepare(s, "INSERT INTO event VALUES(?,?,?,?,?,?,?)", &s->insert) ||
        !prepare(s, "COMMIT", &s->commit) || !run(s->begin))
        return give_up(s, error);
    rh_store_row row;
    while (next(data, &row))
        if (!insert_row(s, &row))
            return give_up(s, error);
    if (!run(s->commit))
        return give_up(s, error);
    s->begun = true;
    if (s->wal_pages >= CHECKPOINT_PAGES &&
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
        return give_up(s, error);
    return true;
}

/* The columns of a select as a row, valid until the next step. */
static bool read_row(struct sqlite *s, sqlite3_stmt *select, rh_store_row *row, rh_error *error)
{
    *row = (rh_store_row){
        .seq = sqlite3_column_int64(select, 0),
        .epoch = sqlite3_column_int64(select, 1),
        .time_us = sqlite3_column_int64(select, 2),
        .type = (const char *)sqlite3_column_text(select, 3),
        .key = (const char *)sqlite3_column_text(select, 4),
        .payload = (const char *)sqlite3_column_text(select, 5),
        .payload_size = (size_t)sqlite3_column_bytes(select, 5),
    };
    if (sqlite3_column_bytes(select, 6) == RH_STORE_HASH)
        memcpy(row->hash, sqlite3_column_blob(select, 6), RH_STORE_HASH);
    return (row->type && row->key && row->payload) ||
           rh_fail(error, "journal", "the journal %s is damaged: event %lld is incomplete", s->path,
                   (long long)row->seq);
}

static bool sqlite_read(rh_store *store, int64_t seq,
                        bool (*fn)(void *data, const rh_store_row *row), void *data,
                        rh_error *error)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *select = NULL;
    if (s->immutable && seq > 0) { /* somebody may have gone on with the run since */
        sqlite3_close(s->db);
        if (open_reading(s) != SQLITE_OK)
            return failed(s, error, "open");
    }
    if (sqlite3_prepare_v2(
            s->db,
            "SELECT seq, epoch, time, type, key, payload, hash FROM event WHERE seq > ? ORDER BY seq",
            -1, &select, NULL) != SQLITE_OK)
        return failed(s, error, "read");
    sqlite3_bind_int64(select, 1, seq);
    int status = SQLITE_DONE;
    bool more = true, ok = true;
    while (ok && more && (status = sqlite3_step(select)) == SQLITE_ROW) {
        rh_store_row row;
        ok = read_row(s, select, &row, error);
        more = ok && fn(data, &row);
    }
    if (ok && more && status != SQLITE_DONE)
        ok = failed(s, error, "read");
    sqlite3_finalize(select);
    return ok;
}

#define COLUMNS                                                                                    \
    "SELECT seq, epoch, time, type, key, payload, hash,"                                           \
    " (SELECT hash FROM event p WHERE p.seq = e.seq - 1) FROM event e "

static bool sqlite_find(rh_store *store, const rh_store_query *query,
                        void (*fn)(void *data, const rh_store_row *row, const uint8_t *previous),
                        void *data, rh_error *error)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *select = NULL;
    const char *sql = query->seq ? COLUMNS "WHERE seq = ?"
                      : query->newest
                          ? COLUMNS "WHERE type IN (?,?,?,?) AND key = '' ORDER BY seq DESC LIMIT 1"
                          : COLUMNS "WHERE type IN (?,?,?,?) AND key = '' ORDER BY seq LIMIT 1";
    if (sqlite3_prepare_v2(s->db, sql, -1, &select, NULL) != SQLITE_OK)
        return failed(s, error, "read");
    if (query->seq)
        sqlite3_bind_int64(select, 1, query->seq);
    for (int i = 0; !query->seq && query->types[i]; i++)
        sqlite3_bind_text(select, i + 1, query->types[i], -1, SQLITE_STATIC);
    const int status = sqlite3_step(select);
    bool ok = status == SQLITE_DONE || status == SQLITE_ROW || failed(s, error, "read");
    rh_store_row row;
    if (status == SQLITE_ROW && (ok = read_row(s, select, &row, error)))
        fn(data, &row,
           sqlite3_column_bytes(select, 7) == RH_STORE_HASH ? sqlite3_column_blob(select, 7)
                                                            : NULL);
    sqlite3_finalize(select);
    return ok;
}

static bool sqlite_payload(rh_store *store, int64_t seq, rh_buffer *out, rh_error *error)
{
    struct sqlite *s = (struct sqlite *)store;
    sqlite3_stmt *select = NULL;
    bool found = sqlite3_prepare_v2(s->db, "SELECT payload FROM event WHERE seq = ?", -1, &select,
                                    NULL) == SQLITE_OK &&
                 sqlite3_bind_int64(select, 1, seq) == SQLITE_OK &&
                 sqlite3_step(select) == SQLITE_ROW;
    if (found)
        rh_buffer_add(out, sqlite3_column_text(select, 0), (size_t)sqlite3_column_bytes(select, 0));
    else
        failed(s, error, "read");
    sqlite3_finalize(select);
    return found;
}

rh_store *rh_store_sqlite(const char *path, const char *run, rh_store_mode mode, rh_error *error)
{
    static const rh_store_class class = {sqlite_append, sqlite_read, sqlite_find, sqlite_payload,
                                         sqlite_close};
    struct sqlite *s = rh_alloc(sizeof *s);
    s->base.class = &class;
    s->path = rh_strdup(path);
    if (open_database(s, run, mode, error))
        return &s->base;
    sqlite_close(&s->base);
    return NULL;
}
