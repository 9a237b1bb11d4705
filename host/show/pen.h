/* Composes lines for people: colours, columns, wrapping. Used by the live checklist and by `show`. */
#ifndef RH_SHOW_PEN_H
#define RH_SHOW_PEN_H

#include "core/buffer.h"
#include "show/model.h"

typedef enum { RH_PLAIN, RH_BOLD, RH_DIM, RH_GREEN, RH_RED, RH_YELLOW, RH_CYAN, RH_ALARM } rh_ink;

typedef struct rh_pen {
    rh_buffer *out;
    int columns;
    bool colour;
} rh_pen;

typedef struct rh_line {
    int indent;
    const char *mark;
    rh_ink mark_ink;
    const char *name;
    rh_ink name_ink;
    const char *note, *right; /* may be NULL */
} rh_line;

/* A pen for a file descriptor: its width and whether colours are wanted there (NO_COLOR, no terminal). */
rh_pen rh_pen_for(int fd, rh_buffer *out);

void rh_pen_paint(const rh_pen *pen, rh_ink ink, const char *text);
void rh_pen_spaces(const rh_pen *pen, int count);
/* "  ✔ name            note …            41.0s": the note gives way first, then the name. */
void rh_pen_line(const rh_pen *pen, const rh_line *line);
/* Wrapped text, its own line breaks kept, `first` before its first row and `gutter` before the others; at most `rows` rows. */
void rh_pen_wrap(const rh_pen *pen, int indent, const char *first, const char *gutter, rh_ink ink,
                 const char *text, int rows);
/* One row, cut to the width. */
void rh_pen_row(const rh_pen *pen, int indent, rh_ink ink, const char *text);

/* Mark and inks of a node's status. */
rh_line rh_pen_look(rh_node_status status);

#endif
