#include "cli/runs.h"
#include "core/buffer.h"
#include "run/journal.h"
#include "show/checklist.h"
#include "show/payload.h"
#include "show/summary.h"
#include "show/text.h"
#include "show/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_change(void *data, const rh_change *change, const rh_event *event)
{
    rh_checklist_change(data, change, event);
}

static void add_fact(void *data, const char *label, const char *text)
{
    rh_buffer gutter = {0};
    rh_buffer_addf(&gutter, "%-9s", label);
    rh_pen_wrap(data, 1, gutter.data, "         ", RH_PLAIN, text, 8);
    rh_buffer_free(&gutter);
}

static void add_armed(const rh_pen *pen, const rh_model *model)
{
    const char *key;
    json_t *name;
    rh_buffer text = {0};
    json_object_foreach(model->armed, key, name)
    {
        rh_buffer_adds(&text, text.size ? ", " : "");
        rh_payload_show(&text, json_is_string(name) ? name : NULL);
    }
    if (text.size && !model->ended)
        add_fact((void *)(uintptr_t)pen, "undoable", text.data);
    rh_buffer_free(&text);
}

/* What is still open, and how the run stands: what its last summary said is history by now. */
static void add_standing(rh_pen *pen, const rh_run_ref *ref, const rh_model *model)
{
    rh_buffer text = {0};
    rh_buffer_adds(pen->out, "\n");
    rh_buffer_addf(&text, "%s, begun ", rh_run_standing(ref->dir, model));
    for (char *at = text.data; (at = strchr(at, '_'));)
        *at = ' ';
    rh_text_time(&text, model->begun_us);
    if (model->left_us) {
        rh_buffer_adds(&text, model->ended ? ", ended " : ", left ");
        rh_text_time(&text, model->left_us);
    }
    if (model->turns > 1)
        rh_buffer_addf(&text, ", %d processes", model->turns);
    add_fact(pen, "state", text.data);
    rh_buffer_free(&text);
    add_armed(pen, model);
    if (!model->status)
        rh_summary_each(model, add_fact, pen);
}

static int show_text(const rh_run_ref *ref, bool effects)
{
    rh_buffer out = {0};
    rh_error error = {0};
    rh_model model;
    rh_checklist list = {
        .pen = rh_pen_for(STDOUT_FILENO, &out), .model = &model, .detail = effects};
    if (!rh_run_read(ref, &model, on_change, &list, &error))
        return rh_cli_not_found(&error);
    if (rh_journal_is_live(ref->dir))
        rh_checklist_open(&list.pen, &model.root, 0);
    else
        rh_checklist_left(&list.pen, &model.root);
    add_standing(&list.pen, ref, &model);
    fwrite(out.data, 1, out.size, stdout);
    rh_buffer_free(&out);
    rh_model_free(&model);
    return RH_EXIT_OK;
}

static int show_json(const rh_run_ref *ref)
{
    rh_error error = {0};
    rh_journal *journal = rh_journal_read(ref->dir, &error);
    if (!journal)
        return rh_cli_not_found(&error);
    rh_event event;
    for (int64_t seq = 1; seq <= rh_journal_last(journal); seq++) {
        if (!rh_journal_at(journal, seq, &event))
            continue;
        rh_buffer line = {0};
        rh_lines_format(&line, &event);
        fwrite(line.data, 1, line.size, stdout);
        rh_buffer_free(&line);
    }
    rh_journal_close(journal);
    return RH_EXIT_OK;
}

static int verify(const rh_run_ref *ref)
{
    rh_error error = {0};
    int code = RH_EXIT_OK;
    rh_journal *journal = rh_journal_read(ref->dir, &error);
    if (!journal)
        return rh_complain(RH_EXIT_BROKEN, &error);
    if (rh_journal_verify(journal, &error))
        printf("%s: the journal is whole, %lld events\n", ref->id,
               (long long)rh_journal_last(journal));
    else
        code = rh_complain(RH_EXIT_BROKEN, &error);
    rh_journal_close(journal);
    return code;
}

static int run(const rh_args *args)
{
    const char *output = rh_arg(args, "output");
    if (output && strcmp(output, "json") != 0 && strcmp(output, "plain") != 0)
        return rh_complainf(RH_EXIT_USAGE, "--output %s: there is no such mode. Use plain or json",
                            output);
    rh_run_ref ref;
    rh_error error = {0};
    if (!rh_run_ref_find(&ref, args, rh_word(args, 0), false, &error))
        return rh_cli_not_found(&error);
    const int code = rh_flag(args, "verify") ? verify(&ref)
                     : output && strcmp(output, "json") == 0
                         ? show_json(&ref)
                         : show_text(&ref, rh_flag(args, "detail"));
    rh_run_ref_clear(&ref);
    return code;
}

const rh_command_def rh_command_show = {
    .name = "show",
    .summary = "a run as its journal tells it: steps, measurements, approvals, what is open",
    .usage = "[RUN] [--detail] [--verify]",
    .options =
        (const rh_option[]){
            {.name = "detail",
             .letter = 'd',
             .help = "each effect and each measurement with its limit too"},
            {.name = "verify",
             .help = "check the journal's chain instead; 8 if it was damaged or edited"},
            {.name = "output",
             .value = "MODE",
             .help = "plain, or json: the journal, one event a line"},
            {0},
        },
    .most = 1,
    .run = run,
};
