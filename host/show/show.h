/* What people see of a run while it happens: a live checklist on a terminal, lines in a pipe, JSON lines. */
#ifndef RH_SHOW_SHOW_H
#define RH_SHOW_SHOW_H

#include <stdbool.h>

typedef enum {
    RH_SHOW_TERMINAL,
    RH_SHOW_PLAIN,
    RH_SHOW_JSON,
    RH_SHOW_PLAN_TEXT,
    RH_SHOW_PLAN_MARKDOWN,
    RH_SHOW_PLAN_JSON
} rh_show_mode;

/* The mode that "auto", "plain" or "json" (NULL: auto) means for this standard output; false: no such mode. */
bool rh_show_mode_parse(const char *name, rh_show_mode *mode);

/* The same for a plan's format: "text" (NULL too), "md" or "json". */
bool rh_show_format_parse(const char *name, rh_show_mode *mode);

/* Subscribes to the event stream. One for the life of the process. */
void rh_show_open(rh_show_mode mode, const char *state_option);
/* One line of the host's own, outside the event stream: "Pausing after …". On a terminal it stays in the live
 * block, in a pipe it is a line, in JSON nothing. */
void rh_show_notice(const char *text);
void rh_show_detach(void); /* SIGHUP: nothing is shown any more; the run goes on */
/* Shows what is left and closes the loop's handles; the loop has to turn once more. */
void rh_show_close(void);

#endif
