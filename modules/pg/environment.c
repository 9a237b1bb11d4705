#include "connection.h"

#include <string.h>

extern char **environ;

static char **shown, **hidden;

/* The pointer is replaced, not the environment changed: other threads may be reading it. It is copied once: this process
 * does not change its own. */
static void make_hidden(void)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    hidden = rh_alloc((count + 1) * sizeof *hidden);
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "PG", 2) != 0)
            hidden[kept++] = environ[i];
}

void rh_pg_environment_hide(void)
{
    if (!hidden)
        make_hidden();
    shown = environ;
    environ = hidden;
}

void rh_pg_environment_show(void) { environ = shown; }
