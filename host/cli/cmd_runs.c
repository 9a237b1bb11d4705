/* runs and status: tables out of the journals. */
#include "cli/runs.h"
#include "core/buffer.h"
#include "core/loop.h"
#include "run/lock.h"
#include "run/state.h"
#include "show/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS = 6 };

typedef struct table {
    char *(*rows)[COLUMNS];
    size_t count;
    bool unfinished; /* those only */
    bool json;
} table;

static void add_row(table *t, const char *const cells[COLUMNS])
{
    t->rows = rh_realloc(t->rows, (t->count + 1) * sizeof *t->rows);
    for (int i = 0; i < COLUMNS; i++)
        t->rows[t->count][i] = rh_strdup(cells[i]);
    t->count++;
}

static void print_table(const table *t)
{
    int widths[COLUMNS] = {0};
    for (size_t row = 0; row < t->count; row++)
        for (int i = 0; i < COLUMNS; i++) {
            const int width = rh_text_width(t->rows[row][i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    for (size_t row = 0; row < t->count; row++) {
        rh_buffer line = {0};
        for (int i = 0; i < COLUMNS; i++) {
            rh_buffer_adds(&line, t->rows[row][i]);
            if (i + 1 < COLUMNS)
                rh_buffer_addf(&line, "%*s", widths[i] - rh_text_width(t->rows[row][i]) + 2, "");
        }
        while (line.size && line.data[line.size - 1] == ' ')
            line.data[--line.size] = '\0';
        puts(line.data);
        rh_buffer_free(&line);
    }
}

static void print_json(const rh_state_run *run)
{
    json_t *row =
        json_pack("{ss ss ss ss ss sI sI sI sb sb}", "id", run->id, "status", run->status,
                  "playbook", run->playbook, "environment", run->environment, "by", run->by,
                  "begun_ms", (json_int_t)run->begun_ms, "ended_ms", (json_int_t)run->ended_ms,
                  "exit", (json_int_t)run->exit_code, "live", run->live, "finished", run->finished);
    char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;
    if (text)
        puts(text);
    free(text);
    json_decref(row);
}

static bool add_run(void *data, const rh_state_run *run)
{
    table *t = data;
    if (t->unfinished && run->finished && strcmp(run->status, "damaged") != 0)
        return true;
    if (t->json) {
        print_json(run);
        return true;
    }
    rh_buffer begun = {0}, took = {0};
    if (run->begun_ms)
        rh_text_time(&begun, run->begun_ms * 1000);
    if (run->ended_ms)
        rh_text_duration(&took, run->ended_ms - run->begun_ms);
    char *status = rh_strdup(run->status);
    for (char *at = status; (at = strchr(at, '_'));)
        *at = ' ';
    add_row(t,
            (const char *const[]){run->id, run->environment, status, begun.data ? begun.data : "",
                                  took.data ? took.data : "", run->by});
    free(status);
    rh_buffer_free(&begun);
    rh_buffer_free(&took);
    return true;
}

static const char *const heads[COLUMNS] = {"RUN", "ENVIRONMENT", "STATUS", "STARTED", "TOOK", "BY"};

/* Prints the table, or the words that stand for one without rows, and frees it. */
static void print_or(table *t, const char *empty)
{
    if (t->count > 1)
        print_table(t);
    else
        puts(empty);
    for (size_t row = 0; row < t->count; row++)
        for (int i = 0; i < COLUMNS; i++)
            free(t->rows[row][i]);
    free(t->rows);
}

/* Reads the runs; the state folder (free() it), or NULL after an error that is told. */
static char *list(const rh_args *args, table *t, size_t limit)
{
    rh_error error = {0};
    char *state = rh_cli_state(args, false, &error);
    if (state && !t->json)
        add_row(t, heads);
    if (state && rh_state_runs(state, limit, add_run, t, &error))
        return state;
    rh_complain(RH_EXIT_USAGE, &error);
    free(state);
    return NULL;
}

static int runs(const rh_args *args)
{
    const char *output = rh_arg(args, "output");
    if (output && strcmp(output, "plain") != 0 && strcmp(output, "json") != 0)
        return rh_complainf(RH_EXIT_USAGE, "--output %s: there is no such mode. Use plain or json",
                            output);
    const char *last = rh_arg(args, "last");
    char *end = NULL;
    const long limit = last ? strtol(last, &end, 10) : 20;
    if (last && (*end || limit < 1))
        return rh_complainf(RH_EXIT_USAGE, "--last %s: it takes a number of runs", last);
    table t = {.json = output && strcmp(output, "json") == 0};
    char *state = list(args, &t, rh_flag(args, "all") ? 0 : (size_t)limit);
    if (!state)
        return RH_EXIT_USAGE;
    char *empty = rh_format("no runs in %s", state);
    if (!t.json)
        print_or(&t, empty);
    free(empty);
    free(state);
    return RH_EXIT_OK;
}

static void add_lock(void *data, const char *playbook, const char *environment,
                     const rh_lock_info *info)
{
    table *t = data;
    rh_buffer since = {0};
    rh_text_time(&since, info->since_ms * 1000);
    char *name = rh_format("%s@%s", playbook, environment);
    add_row(t, (const char *const[]){name, info->reason ? "held" : "in use", since.data,
                                     info->by ? info->by : "", info->run ? info->run : "",
                                     info->reason ? info->reason : ""});
    free(name);
    rh_buffer_free(&since);
}

static int status(const rh_args *args)
{
    table t = {.unfinished = true};
    rh_error error = {0};
    char *state = list(args, &t, 0);
    if (!state)
        return RH_EXIT_USAGE;
    print_or(&t, "no unfinished runs");
    table locks = {0};
    add_row(&locks, (const char *const[]){"LOCK", "STATUS", "SINCE", "BY", "RUN", "REASON"});
    int code = RH_EXIT_OK;
    if (access(state, F_OK) == 0 && !rh_lock_each(state, add_lock, &locks, &error))
        code = rh_complain(RH_EXIT_STOPPED, &error);
    puts("");
    print_or(&locks, "no locked environments");
    free(state);
    return code;
}

const rh_command_def rh_command_runs = {
    .name = "runs",
    .summary = "the runs of this state folder, newest first",
    .usage = "[--last N | --all]",
    .options =
        (const rh_option[]){
            {.name = "last", .value = "N", .help = "so many of them (20)"},
            {.name = "all", .help = "all of them"},
            {.name = "output", .value = "MODE", .help = "plain, or json: one object a line"},
            {0},
        },
    .run = runs,
};

const rh_command_def rh_command_status = {
    .name = "status",
    .summary = "unfinished runs, and which environments are locked by whom",
    .usage = "",
    .run = status,
};
