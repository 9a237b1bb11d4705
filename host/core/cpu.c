#include "core/cpu.h"

#include "core/event.h"
#include "core/luaerror.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FATAL_TIMES 3

static int budget_ms;
static timer_t timer;
static bool timer_made;
static lua_State *volatile current;
static atomic_int fired;

static void hook(lua_State *L, lua_Debug *ar)
{
    if (!atomic_load(&fired))
        return;
    /* The host's own Lua is to record what the playbook's did; it is left alone. */
    bool own = !lua_getinfo(L, "Sl", ar) || ar->source[0] != '@';
    lua_sethook(L, hook, LUA_MASKCOUNT,
                own ? 100 : 1); /* again, also if a pcall catches this one */
    if (own)
        return;
    rh_error error = {0};
    rh_fail(&error, "cpu",
            "this computed for more than %d ms without an effect or a wait in between: "
            "an endless loop? Move the work into a command or a query",
            budget_ms);
    rh_error_push(L, &error);
    lua_pushfstring(L, "%s:%d", ar->source + 1, ar->currentline);
    lua_setfield(L, -2, "where");
    lua_error(L);
}

static void complain(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(8);
}

static void on_signal(int number)
{
    (void)number;
    lua_State *L = current;
    if (!L)
        return;
    int times = atomic_fetch_add(&fired, 1) + 1;
    lua_sethook(L, hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    if (times >= FATAL_TIMES) {
        const char *key =
            rh_event_held_begin(); /* what is shown tells no more than the turn before */
        complain("rollouthost: the playbook's Lua does not come back");
        complain(key ? " from \"" : "");
        complain(key ? key : "");
        complain(key ? "\"" : "");
        complain(
            " (a pattern match over a long text?). The run is kept: mend the playbook or resume\n");
        _exit(8);
    }
}

void rh_cpu_budget(int ms)
{
    budget_ms = ms;
    if (timer_made || ms <= 0)
        return;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGRTMIN + 3, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
    timer_made = timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) == 0;
}

static void set(int ms)
{
    struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000L},
                              .it_interval = {ms / 1000, ms % 1000 * 1000000L}};
    timer_settime(timer, 0, &when, NULL);
}

void rh_cpu_begin(lua_State *L)
{
    if (!timer_made || budget_ms <= 0)
        return;
    atomic_store(&fired, 0);
    current = L;
    set(budget_ms);
}

void rh_cpu_end(void)
{
    if (!timer_made || budget_ms <= 0)
        return;
    set(0);
    lua_State *L = current;
    current = NULL;
    if (L && atomic_load(&fired))
        lua_sethook(L, NULL, 0, 0);
}

void rh_cpu_adopt(lua_State *co)
{
    if (timer_made && budget_ms > 0)
        lua_sethook(co, hook, LUA_MASKCOUNT, 100000);
}
