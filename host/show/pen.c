#include "show/pen.h"

#include "show/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

rh_pen rh_pen_for(int fd, rh_buffer *out)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool dumb = !term || !*term || strcmp(term, "dumb") == 0;
    struct winsize size = {0};
    const bool terminal = isatty(fd) == 1;
    if (!terminal || ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size.ws_col = 100;
    return (rh_pen){
        .out = out,
        .columns = size.ws_col < 20 ? 20 : size.ws_col,
        .colour = terminal && !dumb && !(no_color && *no_color),
    };
}

void rh_pen_paint(const rh_pen *pen, rh_ink ink, const char *text)
{
    static const char *const inks[] = {"",           "\033[1m",  "\033[2m",  "\033[32m",
                                       "\033[1;31m", "\033[33m", "\033[36m", "\033[1;37;41m"};
    const bool painted = pen->colour && ink != RH_PLAIN && *text;
    if (painted)
        rh_buffer_adds(pen->out, inks[ink]);
    rh_buffer_adds(pen->out, text);
    if (painted)
        rh_buffer_adds(pen->out, "\033[0m");
}

void rh_pen_spaces(const rh_pen *pen, int count)
{
    if (count > 0)
        rh_buffer_addf(pen->out, "%*s", count, "");
}

void rh_pen_line(const rh_pen *pen, const rh_line *line)
{
    const int width = pen->columns - 1;
    const int right = line->right ? rh_text_width(line->right) : 0;
    const int room = width - line->indent - 2 - (right ? right + 2 : 0);
    rh_buffer name = {0}, note = {0};
    int used = rh_text_fit(&name, line->name, room);
    int column = width * 2 / 5 - line->indent - 2;
    if (line->note && *line->note) {
        if (column < used + 2)
            column = used + 2;
        if (room - column >= 8) {
            const int taken = rh_text_fit(&note, line->note, room - column);
            rh_buffer_addf(&name, "%*s", column - used, "");
            used = column + taken;
        }
    }
    rh_pen_spaces(pen, line->indent);
    rh_pen_paint(pen, line->mark_ink, line->mark);
    rh_buffer_adds(pen->out, " ");
    rh_pen_paint(pen, line->name_ink, name.data ? name.data : "");
    if (note.size)
        rh_pen_paint(pen, RH_DIM, note.data);
    if (right) {
        rh_pen_spaces(pen, width - line->indent - 2 - used - right);
        rh_pen_paint(pen, RH_DIM, line->right);
    }
    rh_buffer_adds(pen->out, "\n");
    rh_buffer_free(&name);
    rh_buffer_free(&note);
}

void rh_pen_wrap(const rh_pen *pen, int indent, const char *first, const char *gutter, rh_ink ink,
                 const char *text, int rows)
{
    int width = pen->columns - 1 - indent - rh_text_width(gutter);
    if (width < 4)
        width = 4;
    for (int row = 0; *text && row < rows; row++) {
        char *line = rh_strndup(text, strcspn(text, "\n"));
        const size_t size = rh_text_wrap(line, width);
        rh_buffer piece = {0};
        if (row == rows - 1)
            rh_text_fit(&piece, line, width);
        else
            rh_buffer_add(&piece, line, size);
        rh_pen_spaces(pen, indent);
        rh_pen_paint(pen, row == 0 ? RH_PLAIN : RH_DIM, row == 0 ? first : gutter);
        rh_pen_paint(pen, ink, piece.data ? piece.data : "");
        rh_buffer_adds(pen->out, "\n");
        rh_buffer_free(&piece);
        free(line);
        text += size;
        if (*text == '\n')
            text++;
        else
            while (*text == ' ')
                text++;
    }
}

void rh_pen_row(const rh_pen *pen, int indent, rh_ink ink, const char *text)
{
    rh_buffer fit = {0};
    rh_text_fit(&fit, text, pen->columns - 1 - indent);
    rh_pen_spaces(pen, indent);
    rh_pen_paint(pen, ink, fit.data ? fit.data : "");
    rh_buffer_adds(pen->out, "\n");
    rh_buffer_free(&fit);
}

rh_line rh_pen_look(rh_node_status status)
{
    static const rh_line looks[] = {
        [RH_NODE_RUNNING] = {.mark = "⠿", .mark_ink = RH_CYAN},
        [RH_NODE_WAITING] = {.mark = "◷", .mark_ink = RH_YELLOW},
        [RH_NODE_OK] = {.mark = "✔", .mark_ink = RH_GREEN},
        [RH_NODE_FAILED] = {.mark = "✘", .mark_ink = RH_RED, .name_ink = RH_RED},
        [RH_NODE_SKIPPED] = {.mark = "↷", .mark_ink = RH_DIM, .name_ink = RH_DIM},
        [RH_NODE_CANCELLED] = {.mark = "■", .mark_ink = RH_YELLOW},
        [RH_NODE_DOUBT] = {.mark = "?", .mark_ink = RH_RED, .name_ink = RH_RED},
    };
    return looks[status];
}
