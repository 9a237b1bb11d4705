/* The terminal view's two halves: terminal.c draws, checklist.c says what the lines are. */
#ifndef RH_SHOW_TERMINAL_H
#define RH_SHOW_TERMINAL_H

#include "core/buffer.h"
#include "show/view.h"

#include <uv.h>

enum { RH_LIVE_ROWS = 64 };

typedef struct rh_terminal {
    rh_view view;
    uv_timer_t timer;
    uv_signal_t resize;
    int handles;
    int columns, rows;
    bool colour;
    bool dirty;                               /* a frame is due */
    bool asking;                              /* a question is on the screen: no drawing */
    bool ended;                               /* no live block any more */
    rh_buffer history;                        /* finished lines that are not drawn yet */
    int live_width[RH_LIVE_ROWS], live_count; /* the block on the screen */
    int64_t drawn_us;
    unsigned spin;
    char *notice;
} rh_terminal;

/* Appends to terminal->history what the change adds for good. */
void rh_terminal_history(rh_terminal *terminal, const rh_change *change, const rh_event *event);
/* Appends a question to the history, without its prompt. */
void rh_terminal_question(rh_terminal *terminal, const rh_node *node, const json_t *payload);
/* Composes the live block. True if it shows something that goes on by itself and should tick. */
bool rh_terminal_live(rh_terminal *terminal, rh_buffer *block);

#endif
