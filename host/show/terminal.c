/* The live checklist. What is finished scrolls into the terminal's history; only the block below it, what runs
 * and what is waited for, is drawn again, at most ten times a second and only if something changed:
 *
 *      Deploy                                  history
 *        ✔ back up                    41.0s
 *        ⠹ migrate                   1m 12s    live block: erased and drawn again
 *          npx prisma migrate deploy
 *          │ Applying migration …              the command's last lines
 */
#include "core/loop.h"
#include "show/checklist.h"
#include "show/payload.h"
#include "show/text.h"
#include "show/view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { FRAME_MS = 100, TICK_MS = 1000, LIVE_ROWS = 64, REPLAYED_LINES = 40 };

typedef struct rh_terminal {
    rh_view view;
    rh_checklist list; /* its pen writes to `history` */
    rh_buffer history; /* finished lines that are not drawn yet */
    uv_timer_t timer;
    uv_signal_t resize;
    int handles;
    int rows;
    bool dirty;                            /* a frame is due */
    bool asking;                           /* a question is on the screen: no drawing */
    bool ended;                            /* no live block any more */
    int live_width[LIVE_ROWS], live_count; /* the block on the screen */
    int64_t drawn_us;
    unsigned spin;
    size_t replayed; /* where what an earlier process did begins in `history`; 0: it is told */
    char *notice;
} rh_terminal;

static void measure(rh_terminal *terminal)
{
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    terminal->list.pen.columns = size.ws_col < 20 ? 20 : size.ws_col;
    terminal->rows = size.ws_row < 4 ? 4 : size.ws_row;
}

/* Moves to the block's first column and row, and erases. A terminal that became narrower has folded the lines
 * that were wider, so each counts for as many rows as it has now. */
static void erase(rh_terminal *terminal, rh_buffer *out)
{
    int rows = 0;
    for (int i = 0; i < terminal->live_count; i++)
        rows += terminal->live_width[i] > terminal->list.pen.columns
                    ? (terminal->live_width[i] + terminal->list.pen.columns - 1) /
                          terminal->list.pen.columns
                    : 1;
    terminal->live_count = 0;
    if (rows > 0)
        rh_buffer_addf(out, "\033[%dA", rows);
    rh_buffer_adds(out, "\r\033[J");
}

/* Copies at most `room` whole lines of the block and remembers how wide they are. */
static void add_live(rh_terminal *terminal, rh_buffer *out, const rh_buffer *block, int room)
{
    const char *line = block->data;
    if (!line)
        return;
    for (int i = 0; *line && i < room && i < LIVE_ROWS; i++) {
        const char *end = strchrnul(line, '\n');
        const char *next = *end ? end + 1 : end;
        rh_buffer clean = {0};
        rh_text_clean(&clean, line, (size_t)(end - line)); /* without the colours */
        terminal->live_width[terminal->live_count++] = clean.data ? rh_text_width(clean.data) : 0;
        rh_buffer_free(&clean);
        rh_buffer_add(out, line, (size_t)(next - line));
        line = next;
    }
}

static void plan_frame(rh_terminal *terminal, uint64_t ms);

static void draw(rh_terminal *terminal)
{
    rh_view *view = &terminal->view;
    terminal->dirty = false;
    if (rh_sink_is_gone(view->sink))
        return;
    terminal->drawn_us = rh_mono_us();
    terminal->spin++;
    rh_buffer block = {0}, out = {0};
    rh_pen pen = terminal->list.pen;
    pen.out = &block;
    const bool ticks =
        !terminal->ended && rh_checklist_open(&pen, &view->model.root, terminal->spin);
    if (terminal->notice && !terminal->ended)
        rh_pen_wrap(&pen, 1, "", "", RH_YELLOW, terminal->notice, 2);
    rh_buffer_adds(&out, "\033[?25l");
    erase(terminal, &out);
    rh_buffer_add(&out, terminal->history.data ? terminal->history.data : "",
                  terminal->history.size);
    rh_buffer_clear(&terminal->history);
    add_live(terminal, &out, &block, terminal->rows - 1);
    rh_buffer_adds(&out, "\033[?25h");
    rh_sink_write(view->sink, out.data, out.size);
    rh_buffer_free(&out);
    rh_buffer_free(&block);
    if (ticks)
        plan_frame(terminal, TICK_MS);
}

static void on_timer(uv_timer_t *timer)
{
    rh_terminal *terminal = timer->data;
    /* A terminal that does not read (Ctrl-S) gets no more frames until it has taken the last. */
    if (terminal->asking || rh_sink_is_behind(terminal->view.sink))
        plan_frame(terminal, TICK_MS);
    else
        draw(terminal);
}

static void plan_frame(rh_terminal *terminal, uint64_t ms)
{
    uv_timer_start(&terminal->timer, on_timer, ms, 0);
    uv_unref((uv_handle_t *)&terminal->timer);
}

/* Draws now, or as soon as the last frame is old enough. */
static void touch(rh_terminal *terminal)
{
    if (terminal->asking || terminal->dirty)
        return;
    const int64_t age = (rh_mono_us() - terminal->drawn_us) / 1000;
    if (age >= FRAME_MS && !rh_sink_is_behind(terminal->view.sink)) {
        draw(terminal);
        return;
    }
    terminal->dirty = true;
    uv_update_time(rh_loop());
    plan_frame(terminal, age < FRAME_MS ? (uint64_t)(FRAME_MS - age) : FRAME_MS);
}

static void on_resize(uv_signal_t *signal, int number)
{
    (void)number;
    rh_terminal *terminal = signal->data;
    measure(terminal);
    touch(terminal);
}

/* A question stays on the screen with the cursor behind it until it is answered: nothing is drawn meanwhile. */
static void ask(rh_terminal *terminal, const rh_change *change, const rh_event *event)
{
    if (strcmp(event->type, "ask") != 0) {
        terminal->asking = false;
        return;
    }
    char *hint = rh_payload_shown(change->payload, "hint");
    if (hint)
        rh_pen_wrap(&terminal->list.pen, 3, "", "", RH_YELLOW, hint, 3);
    else
        rh_checklist_question(&terminal->list, change->node, change->payload);
    free(hint);
    terminal->ended = true; /* no live block below the question */
    draw(terminal);
    terminal->ended = false;
    char *prompt = rh_payload_shown(change->payload, "prompt");
    rh_sink_write(terminal->view.sink, prompt ? prompt : "> ", prompt ? strlen(prompt) : 2);
    free(prompt);
    terminal->asking = true;
}

/* Of what an earlier process did the end is enough: `show` has it all. */
static void end_replay(rh_terminal *terminal)
{
    rh_buffer *history = &terminal->history;
    size_t lines = 0, at = history->size;
    for (size_t i = history->size; terminal->replayed && i > terminal->replayed; i--)
        if (history->data[i - 1] == '\n' && ++lines == REPLAYED_LINES + 1)
            at = i;
    if (lines > REPLAYED_LINES) {
        rh_buffer kept = {0};
        rh_buffer_add(&kept, history->data, terminal->replayed);
        rh_buffer_addf(&kept, "\n … %zu lines, see `rollouthost show`\n", lines - REPLAYED_LINES);
        rh_buffer_add(&kept, history->data + at, history->size - at);
        rh_buffer_free(history);
        *history = kept;
    }
    terminal->replayed = 0;
}

static void on_change(rh_view *view, const rh_change *change, const rh_event *event)
{
    rh_terminal *terminal = (rh_terminal *)view;
    if (strncmp(event->type, "ask", 3) == 0)
        ask(terminal, change, event);
    else {
        /* Whatever answers ends the question too: an approval by somebody else, a pause. */
        if (terminal->asking &&
            (change->kind != RH_CHANGE_UPDATED || strstr(event->type, ".answer")))
            terminal->asking = false;
        if (change->kind == RH_CHANGE_RUN)
            terminal->ended = view->model.status != NULL;
        if (!event->replayed)
            end_replay(terminal);
        rh_checklist_change(&terminal->list, change, event);
        if (event->replayed && !terminal->replayed)
            terminal->replayed = terminal->history.size;
    }
    if (!event->replayed)
        touch(terminal);
}

static void on_notice(rh_view *view, const char *text)
{
    rh_terminal *terminal = (rh_terminal *)view;
    free(terminal->notice);
    terminal->notice = rh_strdup(text);
    touch(terminal);
}

static void on_closed(uv_handle_t *handle)
{
    rh_terminal *terminal = handle->data;
    if (--terminal->handles == 0)
        free(terminal);
}

static void on_close(rh_view *view)
{
    rh_terminal *terminal = (rh_terminal *)view;
    terminal->ended = true;
    draw(terminal);
    rh_sink_close(view->sink);
    rh_model_free(&view->model);
    rh_buffer_free(&terminal->history);
    free(terminal->notice);
    uv_close((uv_handle_t *)&terminal->timer, on_closed);
    uv_close((uv_handle_t *)&terminal->resize, on_closed);
}

rh_view *rh_terminal_open(void)
{
    static const rh_view_class class = {

        .replays = true, .change = on_change, .notice = on_notice, .close = on_close};
    rh_terminal *terminal = rh_alloc(sizeof *terminal);
    terminal->view.class = &class;
    terminal->list = (rh_checklist){.pen = rh_pen_for(STDOUT_FILENO, &terminal->history),
                                    .model = &terminal->view.model};
    terminal->handles = 2;
    terminal->drawn_us = rh_mono_us() - FRAME_MS * 1000;
    measure(terminal);
    uv_timer_init(rh_loop(), &terminal->timer);
    terminal->timer.data = terminal;
    uv_signal_init(rh_loop(), &terminal->resize);
    terminal->resize.data = terminal;
    uv_signal_start(&terminal->resize, on_resize, SIGWINCH);
    uv_unref((uv_handle_t *)&terminal->resize);
    return &terminal->view;
}
