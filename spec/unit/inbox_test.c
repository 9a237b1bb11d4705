#include "core/buffer.h"
#include "core/event.h"
#include "core/loop.h"
#include "run/inbox.h"
#include "spec/unit/folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#define RUN "shop-20260101-000000-0001"

static char *run_dir;
static rh_inbox *inbox;
static rh_buffer warnings;

static void hear(void *data, const rh_event *event)
{
    (void)data;
    if (strcmp(event->type, "warning") == 0)
        rh_buffer_addf(&warnings, "%s\n", event->payload);
}

static int make_inbox(void **state)
{
    if (folder_make(state) != 0)
        return -1;
    run_dir = rh_format("%s/%s", (char *)*state, RUN);
    char *path = rh_format("%s/inbox", run_dir);
    int status = mkdir(run_dir, 0700) || mkdir(path, 01700);
    free(path);
    inbox = status ? NULL : rh_inbox_open(run_dir, NULL);
    rh_buffer_clear(&warnings);
    rh_buffer_adds(&warnings, "");
    return inbox ? 0 : -1;
}

static int remove_inbox(void **state)
{
    rh_inbox_close(inbox);
    int left = rh_loop_close();
    free(run_dir);
    rh_buffer_free(&warnings);
    return folder_remove(state) || left;
}

static char *in_inbox(const char *name) { return rh_format("%s/inbox/%s", run_dir, name); }

static void put(const char *name, const char *text, mode_t mode)
{
    char *path = in_inbox(name);
    int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    free(path);
}

static void list(void *data, const rh_inbox_message *message)
{
    rh_buffer_addf(data, "%s %s %u;", message->kind, message->data, message->uid);
}

static void assert_messages(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *expected = rh_vformat(format, args);
    va_end(args);
    rh_buffer found = {0};
    rh_buffer_adds(&found, "");
    assert_true(rh_inbox_scan(inbox, list, &found, NULL));
    assert_string_equal(found.data, expected);
    rh_buffer_free(&found);
    free(expected);
}

static void drop(const char *kind, const char *json)
{
    rh_error error = {0};
    if (!rh_inbox_drop(run_dir, kind, json, &error))
        fail_msg("%s", error.message);
}

static void messages_come_in_order(void **state)
{
    (void)state;
    assert_messages("");
    drop("pause", NULL);
    drop("approve", "{\"name\": \"Go\", \"n\": 1}");
    assert_messages("pause {} %u;approve {\"n\":1,\"name\":\"Go\"} %u;", geteuid(), geteuid());
    assert_string_equal(warnings.data, "");
}

static void note_file(void *data, const rh_inbox_message *message)
{
    *(char **)data = rh_strdup(message->file);
}

static void a_message_is_removed(void **state)
{
    (void)state;
    char *file = NULL;
    drop("pause", NULL);
    assert_true(rh_inbox_scan(inbox, note_file, &file, NULL));
    assert_true(rh_inbox_remove(inbox, file));
    assert_messages("");
    free(file);
}

/* The name inside is ignored: who owns the file is who said it. */
static void the_owner_is_the_identity(void **state)
{
    (void)state;
    put("1.json",
        "{\"kind\":\"approve\",\"run\":\"" RUN "\",\"by\":\"dana\",\"uid\":7,\"data\":{}}", 0644);
    if (geteuid() == 0) {
        char *path = in_inbox("1.json");
        assert_int_equal(chown(path, 4321, 4321), 0);
        free(path);
        assert_messages("approve {} 4321;");
    } else {
        assert_messages("approve {} %u;", geteuid());
    }
}

static void assert_ignored(const char *why)
{
    assert_messages("");
    if (!strstr(warnings.data, why))
        fail_msg("\"%s\" is not in: %s", why, warnings.data);
    rh_buffer_clear(&warnings);
    assert_messages(""); /* told once */
    assert_string_equal(warnings.data, "");
}

static void what_is_no_message_is_told_once_and_ignored(void **state)
{
    static const char good[] = "{\"kind\":\"approve\",\"run\":\"" RUN "\",\"data\":{}}";
    put("garbage", "{{{", 0644);
    assert_ignored("garbage, which is ignored: it is not JSON");
    put("empty", "", 0644);
    assert_ignored("not JSON");
    put("array", "[]", 0644);
    assert_ignored("it is no message");
    put("kindless", "{\"run\":\"" RUN "\",\"data\":{}}", 0644);
    assert_ignored("it is no message");
    put("other", "{\"kind\":\"approve\",\"run\":\"shop-20260101-000000-0002\",\"data\":{}}", 0644);
    assert_ignored("another run");
    put("open", good, 0664);
    assert_ignored("others than its owner can write it");
    put("twice", "{\"kind\":\"approve\",\"kind\":\"pause\",\"run\":\"" RUN "\",\"data\":{}}", 0644);
    assert_ignored("not JSON");
    char *large = malloc(1200000);
    memset(large, ' ', 1199999);
    large[1199999] = '\0';
    put("large", large, 0644);
    assert_ignored("too large");
    free(large);

    char *target = rh_format("%s/elsewhere", (char *)*state), *link_path = in_inbox("link");
    int fd = open(target, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write(fd, good, sizeof good - 1), sizeof good - 1);
    close(fd);
    assert_int_equal(symlink(target, link_path), 0);
    assert_ignored("link, which is ignored: it cannot be read");
    unlink(link_path);
    char *hard_path = in_inbox("hard");
    assert_int_equal(link(target, hard_path), 0);
    assert_ignored("it has another name elsewhere");
    char *pipe_path = in_inbox("pipe");
    assert_int_equal(mkfifo(pipe_path, 0644), 0);
    assert_ignored("no regular file");
    char *folder_path = in_inbox("folder");
    assert_int_equal(mkdir(folder_path, 0755), 0);
    assert_ignored("no regular file");
    put(".partial", good, 0644);
    assert_messages("");
    assert_string_equal(warnings.data, "");
    free(target);
    free(link_path);
    free(hard_path);
    free(pipe_path);
    free(folder_path);
}

/* Runs the loop until the op is done or nothing more comes. */
static bool woken(rh_op *op)
{
    for (int turns = 0; turns < 50 && !op->done; turns++)
        uv_run(rh_loop(), UV_RUN_ONCE);
    return op->done;
}

static void who_waits_is_woken_by_a_file(void **state)
{
    (void)state;
    rh_op *one = rh_inbox_wait(inbox), *two = rh_inbox_wait(inbox);
    rh_op_retain(one);
    rh_op_retain(two);
    uv_run(rh_loop(), UV_RUN_NOWAIT);
    assert_false(one->done);
    drop("pause", NULL);
    assert_true(woken(one));
    assert_true(two->done);
    assert_messages("pause {} %u;", geteuid());
    rh_op_release(one);
    rh_op_release(two);

    one = rh_inbox_wait(inbox);
    rh_op_retain(one);
    char *file = NULL;
    assert_true(rh_inbox_scan(inbox, note_file, &file, NULL));
    rh_inbox_remove(inbox, file); /* going away is no news */
    put(".half-written", "", 0644);
    for (int i = 0; i < 3; i++)
        uv_run(rh_loop(), UV_RUN_NOWAIT);
    assert_false(one->done);
    rh_op_cancel(one);
    assert_true(one->done);
    assert_string_equal(one->error.code, "cancelled");
    rh_op_release(one);
    free(file);
}

static void a_drop_where_there_is_no_run_is_an_error(void **state)
{
    rh_error error = {0};
    assert_false(rh_inbox_drop(*state, "pause", NULL, &error));
    assert_string_equal(error.code, "io");
    rh_error_clear(&error);
    assert_null(rh_inbox_open(*state, &error));
    assert_non_null(strstr(error.message, "cannot watch the inbox"));
    rh_error_clear(&error);
}

#define SPEC(name) cmocka_unit_test_setup_teardown(name, make_inbox, remove_inbox)

int main(void)
{
    rh_event_subscribe(hear, NULL);
    const struct CMUnitTest tests[] = {
        SPEC(messages_come_in_order),       SPEC(a_message_is_removed),
        SPEC(the_owner_is_the_identity),    SPEC(what_is_no_message_is_told_once_and_ignored),
        SPEC(who_waits_is_woken_by_a_file), SPEC(a_drop_where_there_is_no_run_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
