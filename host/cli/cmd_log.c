#include "cli/message.h"
#include "core/buffer.h"
#include "core/digest.h"
#include "core/loop.h"
#include "run/journal.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* inotify tells of new output; that a step or its process ended is looked for this often. */
enum { LOOK_MS = 500, SLUG = 60 };

typedef struct log_reader {
    const rh_run_ref *ref;
    rh_journal *journal;
    int64_t seq; /* of the newest event in the model */
    rh_model model;
    const char *only; /* the key of the one unit that is asked for, or NULL */
    char *last;       /* whose lines were printed last */
    json_t *offsets;  /* key → bytes that are printed; -1: it ended, all of it is */
    bool any, stop;
    uv_fs_event_t watch;
    uv_timer_t timer;
} log_reader;

/* The file's name as the language makes it of the unit's key. */
static char *log_path(const char *dir, const char *key)
{
    char slug[SLUG + 1], hex[RH_SHA256_HEX];
    size_t size = 0;
    bool gap = false;
    for (const char *at = key; *at; at++) {
        const unsigned char c = (unsigned char)*at;
        const bool plain = c < 0x80 && isalnum(c);
        if (plain && gap && size > 0 && size < SLUG)
            slug[size++] = '-';
        if (plain && size < SLUG)
            slug[size++] = (char)tolower(c);
        gap = !plain;
    }
    slug[size] = '\0';
    rh_sha256_hex(key, strlen(key), hex);
    return rh_format("%s/log/%s-%.8s.log", dir, slug, hex);
}

static void print_from(log_reader *reader, const rh_node *node, int fd, int64_t *offset)
{
    char bytes[16384];
    ssize_t size;
    while ((size = pread(fd, bytes, sizeof bytes, *offset)) > 0) {
        if (!reader->only && (!reader->last || strcmp(reader->last, node->key) != 0)) {
            printf("%s==> %s <==\n", reader->last ? "\n" : "", node->key);
            free(reader->last);
            reader->last = rh_strdup(node->key);
        }
        fwrite(bytes, 1, (size_t)size, stdout);
        *offset += size;
        reader->any = true;
    }
}

static void print_node(log_reader *reader, const rh_node *node)
{
    int64_t offset = json_integer_value(json_object_get(reader->offsets, node->key));
    if (offset < 0)
        return;
    char *path = log_path(reader->ref->dir, node->key);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd >= 0) {
        print_from(reader, node, fd, &offset);
        close(fd);
    }
    json_object_set_new(reader->offsets, node->key,
                        json_integer(rh_node_is_open(node) ? offset : -1));
}

static void print_all(log_reader *reader, const rh_node *node)
{
    for (const rh_node *child = node->first; child; child = child->next) {
        if (!reader->only || strcmp(reader->only, child->key) == 0)
            print_node(reader, child);
        print_all(reader, child);
    }
}

/* Brings the model up to date, then prints what is new. False: the journal cannot be read. */
static bool look(log_reader *reader, rh_error *error)
{
    if (!rh_journal_refresh(reader->journal, error))
        return false;
    rh_event event;
    while (reader->seq < rh_journal_last(reader->journal))
        if (rh_journal_at(reader->journal, ++reader->seq, &event))
            rh_model_apply(&reader->model, &event, NULL, NULL);
    print_all(reader, &reader->model.root);
    fflush(stdout);
    const rh_node *one = reader->only ? rh_model_find(&reader->model, reader->only) : NULL;
    reader->stop = reader->stop || ferror(stdout) || (one && !rh_node_is_open(one)) ||
                   !rh_journal_is_live(reader->ref->dir);
    return true;
}

static void on_look(log_reader *reader)
{
    rh_error error = {0};
    if (!look(reader, &error)) {
        rh_complain(RH_EXIT_BROKEN, &error);
        reader->stop = true;
    }
}

static void on_output(uv_fs_event_t *watch, const char *name, int events, int status)
{
    (void)name, (void)events;
    log_reader *reader = watch->data;
    if (status == 0)
        print_all(reader, &reader->model.root);
    fflush(stdout);
}

static void on_timer(uv_timer_t *timer) { on_look(timer->data); }

static void follow(log_reader *reader)
{
    char *dir = rh_format("%s/log", reader->ref->dir);
    uv_fs_event_init(rh_loop(), &reader->watch);
    uv_timer_init(rh_loop(), &reader->timer);
    reader->watch.data = reader->timer.data = reader;
    uv_fs_event_start(&reader->watch, on_output, dir, 0);
    uv_timer_start(&reader->timer, on_timer, LOOK_MS, LOOK_MS);
    free(dir);
    rh_loop_run(&reader->stop);
    uv_close((uv_handle_t *)&reader->watch, NULL);
    uv_close((uv_handle_t *)&reader->timer, NULL);
    rh_loop_close();
}

static bool has_log(const rh_node *node)
{
    return rh_node_is(node, "step") || rh_node_is(node, "gate") || rh_node_is(node, "soak") ||
           rh_node_is(node, "hook") || rh_node_is(node, "compensation");
}

static bool read_log(const rh_args *args, log_reader *reader, rh_error *error)
{
    const char *step = rh_word(args, 1);
    if (!(reader->journal = rh_journal_read(reader->ref->dir, error)) || !look(reader, error))
        return false;
    if (step) {
        const rh_node *node = rh_cli_unit(&reader->model, step, "step", has_log, error);
        if (!node)
            return false;
        reader->only = node->key;
        reader->stop = !rh_node_is_open(node);
        print_node(reader, node);
    }
    if (rh_flag(args, "follow") && !reader->stop)
        follow(reader);
    if (!reader->any && step)
        fprintf(stderr, "rollouthost: \"%s\" printed nothing\n", step);
    return true;
}

static int run(const rh_args *args)
{
    rh_run_ref ref;
    rh_error error = {0};
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), false, &error))
        return rh_cli_not_found(&error);
    /* With a step nothing is printed before it is found: no key is the empty one. */
    log_reader reader = {
        .ref = &ref, .offsets = json_object(), .only = rh_word(args, 1) ? "" : NULL};
    rh_model_init(&reader.model, NULL, false);
    const int code = read_log(args, &reader, &error) ? RH_EXIT_OK : rh_cli_not_found(&error);
    rh_journal_close(reader.journal);
    rh_model_free(&reader.model);
    json_decref(reader.offsets);
    free(reader.last);
    rh_run_ref_clear(&ref);
    return code;
}

const rh_command_def rh_command_log = {
    .name = "log",
    .summary = "what the commands of a run printed",
    .usage = "[RUN] [STEP] [-f]",
    .about = "Secrets are masked in it. Without STEP: of every step, each under its name.",
    .options =
        (const rh_option[]){{.name = "follow",
                             .letter = 'f',
                             .help = "go on while it runs: until the step, or the run, ends"},
                            {0}},
    .most = 2,
    .run = run,
};
